"""Hashes of records: what an audit record commits to."""

import hashlib
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import cast

from streams.engine.records import Headers, Record
from streams.engine.unreadable import raw_name

NO_HASH = "0" * 64
"""The `previous` of a lane's first audit record."""

_KEPT_LAYOUTS = 256
"""How many counts of headers are remembered; whoever writes records chooses the counts."""

_length = struct.Struct(">i").pack
_two_lengths = struct.Struct(">3i").pack
_position_and_two = struct.Struct(">q3i").pack
_position = struct.Struct(">q").pack


def partition_prefix(topic: str, partition: int) -> bytes:
    """The part of a record's hash input that is the same for a whole partition."""
    return _length(len(topic.encode())) + topic.encode() + _length(partition)


def input_hash(prefix: bytes, record: Record) -> bytes:
    """SHA-256 over topic, partition, offset, key, headers and value."""
    key, headers, value = record.key, record.headers, record.value
    if headers or key is None or value is None:
        image = output_image(prefix + _position(record.offset), key, headers, value)
    else:
        image = b"".join((prefix, _position_and_two(record.offset, 2, len(key), len(value)), key, value))
    return hashlib.sha256(image).digest()


def unreadable_hash(prefix: bytes, record: Record) -> bytes:
    """The input_hash of a record with header names that are not UTF-8, over their bytes."""
    fields = [record.key, record.value]
    for name, content in record.headers:
        fields += (raw_name(name), content)
    return hashlib.sha256(_image(prefix + _position(record.offset), fields)).digest()


def output_image(prefix: bytes, key: bytes | None, headers: Headers, value: bytes | None) -> bytes:
    """What the hash of an output is taken over: as an input's, without the offset, which only the broker gives.

    The prefix; the number of fields and the length of each (-1 for null), as 32-bit big-endian integers; then the
    fields: key, value, and name and content of each header. No two records have the same image.
    """
    if not headers and key is not None and value is not None:
        return b"".join((prefix, _two_lengths(2, len(key), len(value)), key, value))
    fields = [key, value]
    for name, content in headers:
        fields.append(name.encode())
        fields.append(content)
    return _image(prefix, fields)


def _image(prefix: bytes, fields: list[bytes | None]) -> bytes:
    if None in fields:
        sizes = [-1 if field is None else len(field) for field in fields]
        return b"".join((prefix, _lengths(len(sizes))(len(sizes), *sizes), *filter(None, fields)))
    whole = cast("list[bytes]", fields)
    return b"".join((prefix, _lengths(len(whole))(len(whole), *map(len, whole)), *whole))


@lru_cache(_KEPT_LAYOUTS)
def _lengths(count: int) -> Callable[..., bytes]:
    return struct.Struct(f">{count + 1}i").pack


def sha256(image: bytes) -> bytes:
    """The hash of a record, from its image."""
    return hashlib.sha256(image).digest()


def of_hashes(hashes: list[bytes]) -> str:
    """SHA-256 over concatenated hashes, in hexadecimal."""
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def of_bytes(value: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(value).hexdigest()
