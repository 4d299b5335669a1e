"""Hashes of records: what an audit record commits to."""

import hashlib
import struct

from streams.engine.records import Headers, Record

NO_HASH = "0" * 64
"""The `previous` of a lane's first audit record."""

_length = struct.Struct(">i").pack
_position = struct.Struct(">q").pack
_ABSENT = _length(-1)


def partition_prefix(topic: str, partition: int) -> bytes:
    """The part of a record's hash input that is the same for a whole partition."""
    return _prefixed(topic.encode()) + _length(partition)


def input_hash(prefix: bytes, record: Record) -> bytes:
    """SHA-256 over topic, partition, offset, key, headers and value, each length-prefixed."""
    image = output_image(prefix + _position(record.offset), record.key, record.headers, record.value)
    return hashlib.sha256(image).digest()


def output_image(prefix: bytes, key: bytes | None, headers: Headers, value: bytes | None) -> bytes:
    """What the hash of an output is taken over: as an input's, without the offset, which only the broker gives."""
    parts = [prefix, _ABSENT if key is None else _length(len(key)) + key, _length(len(headers))]
    for name, content in headers:
        encoded = name.encode()
        parts += (_length(len(encoded)), encoded)
        parts += (_ABSENT,) if content is None else (_length(len(content)), content)
    parts += (_ABSENT,) if value is None else (_length(len(value)), value)
    return b"".join(parts)


def of_hashes(hashes: list[bytes]) -> str:
    """SHA-256 over concatenated hashes, in hexadecimal."""
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def of_bytes(value: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(value).hexdigest()


def _prefixed(value: bytes) -> bytes:
    return _length(len(value)) + value
