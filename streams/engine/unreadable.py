"""Reading records that aiokafka cannot: a header's name is text in its API, but any bytes on the wire.

The broker stores such a record; aiokafka raises on it and would fetch it again for ever. Here its batch is read once
more with names in which each byte that is not UTF-8 stands as a lone surrogate (PEP 383). Nothing is lost, and such a
name cannot be encoded, which is how a turn knows the record and makes it a dead letter.
"""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# This module is about the client's insides, which have neither public names nor types.

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBase, _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy
from aiokafka.record.util import decode_varint

from streams.engine.records import Headers, ReadRecord

_ESCAPED = "surrogateescape"
_MAGIC_AT = _MemoryRecordsPy.MAGIC_OFFSET
_BATCHES_FROM = 2
_new = tuple.__new__

_Fetched: Any = MemoryRecords
_Unpacked: Any = fetcher.PartitionRecords
_PlainRecords: Any = _MemoryRecordsPy
_PlainBatch: Any = _DefaultRecordBatchPy


def install() -> None:
    """Lets every consumer of this process read such records. May be called again."""
    replaced: Any = fetcher
    replaced.MemoryRecords = KeptRecords
    replaced.PartitionRecords = PatientRecords


def raw_name(name: str) -> bytes:
    """A header's name as it is on the wire."""
    return name.encode("utf-8", _ESCAPED)


def readable(headers: Headers) -> Headers:
    """The headers with names that can be written again, in which bytes that are not UTF-8 stand in hexadecimal."""
    return tuple((raw_name(name).decode("utf-8", "backslashreplace"), content) for name, content in headers)


class KeptRecords(_Fetched):  # type: ignore[misc]  # the client's class is final or compiled
    """What one fetch returned for one partition, with its bytes, to be read a second time."""

    def __init__(self, fetched: bytes) -> None:
        super().__init__(fetched)
        self.fetched = fetched


class PatientRecords(_Unpacked):  # type: ignore[misc]  # the client's class is final or compiled
    """Unpacks a fetch as aiokafka does, and from the first record that it cannot read on in the way of this module."""

    def __init__(self, tp: object, records: KeptRecords, aborted: list[tuple[int, int]] | None, *rest: object) -> None:
        self._fetched, self._all_aborted = records.fetched, aborted or []
        super().__init__(tp, records, aborted, *rest)

    def __iter__(self) -> Iterator[Any]:
        """The records that are left; the client's own way is one more call for each."""
        return iter(self._records_iterator or ())

    def _consumer_record(self, tp: Any, record: Any) -> ReadRecord:  # noqa: ANN401  # the client's
        fields = (
            tp.topic,
            tp.partition,
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            tuple(record.headers),
            record.timestamp_type,
            record.checksum,
        )
        return _new(ReadRecord, fields)

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except (UnicodeDecodeError, CorruptRecordException):
            returned_before = self.next_fetch_offset
            self._records = _PatientMemory(self._fetched)
            self._aborted_transactions = sorted(self._all_aborted, key=lambda one: one[1])
            self._aborted_producers = set[int]()
            yield from (record for record in super()._unpack_records() if record.offset >= returned_before)


class _PatientMemory(_PlainRecords):  # type: ignore[misc]  # the client's class is final or compiled
    def next_batch(self) -> object:
        piece = self._next_slice
        batch = super().next_batch()
        return _PatientBatch(piece) if piece is not None and piece[_MAGIC_AT] >= _BATCHES_FROM else batch


class _PatientBatch(_PlainBatch):  # type: ignore[misc]  # the client's class is final or compiled
    """A batch of format 2, whose records are laid out as KIP-82 has them."""

    _buffer: bytearray
    _pos: int

    def _read_msg(self) -> object:
        length, at = decode_varint(self._buffer, self._pos)
        end = at + length
        _attributes, at = decode_varint(self._buffer, at)
        later, at = decode_varint(self._buffer, at)
        further, at = decode_varint(self._buffer, at)
        key, at = self._field(at)
        value, at = self._field(at)
        headers, at = self._headers(at)
        if at != end:
            raise CorruptRecordException(f"a record of {length} bytes ends {at - end} bytes off")
        self._pos = at
        by_broker = self.timestamp_type == DefaultRecordBase.LOG_APPEND_TIME
        timestamp = self.max_timestamp if by_broker else self.first_timestamp + later
        return _DefaultRecordPy(self.base_offset + further, timestamp, self.timestamp_type, key, value, headers)

    def _headers(self, at: int) -> tuple[list[tuple[str, bytes | None]], int]:
        count, at = decode_varint(self._buffer, at)
        headers: list[tuple[str, bytes | None]] = []
        for _ in range(count):
            name, at = self._field(at)
            content, at = self._field(at)
            headers.append(((name or b"").decode("utf-8", _ESCAPED), content))
        return headers, at

    def _field(self, at: int) -> tuple[bytes | None, int]:
        length, at = decode_varint(self._buffer, at)
        return (None, at) if length < 0 else (bytes(self._buffer[at : at + length]), at + length)
