"""Hashes of records: what an audit record commits to."""

import hashlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

from streams.engine.records import Headers, Record
from streams.engine.unreadable import raw_name

NO_HASH = "0" * 64
"""The `previous` of a lane's first audit record."""

_KEPT_LAYOUTS = 256
_MAX_KEPT_BYTES = 1_024
"""How many headers' names are remembered, and how long: whoever writes records chooses them."""

_length = struct.Struct(">i").pack
_three_numbers = struct.Struct(">3i").pack
_position_and_three = struct.Struct(">q3i").pack
_position = struct.Struct(">q").pack

_Layout = tuple[bytes, Callable[..., bytes]]
"""Of a record's headers: their names as hashed, and what packs the lengths of key, value and contents."""

_layouts: dict[tuple[str, ...], _Layout] = {}


def partition_prefix(topic: str, partition: int) -> bytes:
    """The part of a record's hash input that is the same for a whole partition."""
    return _length(len(topic.encode())) + topic.encode() + _length(partition)


def input_hash(prefix: bytes, record: Record) -> bytes:
    """SHA-256 over topic, partition, offset, key, headers and value."""
    key, headers, value = record.key, record.headers, record.value
    if headers or key is None or value is None:
        image = output_image(prefix + _position(record.offset), key, headers, value)
    else:
        image = b"".join((prefix, _position_and_three(record.offset, 0, len(key), len(value)), key, value))
    return hashlib.sha256(image).digest()


def unreadable_hash(prefix: bytes, record: Record) -> bytes:
    """The input_hash of a record with header names that are not UTF-8, over their bytes."""
    named, lengths = _layout_of([raw_name(name) for name, _ in record.headers])
    fields = (record.key, record.value, *(content for _, content in record.headers))
    return hashlib.sha256(_image(prefix + _position(record.offset), named, lengths, fields)).digest()


def of_input(record: Record) -> bytes:
    """The hash of a record that was read, whatever its headers are named."""
    prefix = partition_prefix(record.topic, record.partition)
    try:
        return input_hash(prefix, record)
    except UnicodeEncodeError:
        return unreadable_hash(prefix, record)


def output_hash(prefix: bytes, key: bytes | None, headers: Headers, value: bytes | None) -> bytes:
    """SHA-256 over output_image().

    Raises:
        UnicodeEncodeError: a header's name cannot be encoded.
    """
    return sha256(output_image(prefix, key, headers, value))


def output_image(prefix: bytes, key: bytes | None, headers: Headers, value: bytes | None) -> bytes:
    """What the hash of an output is taken over: as an input's, without the offset, which only the broker gives.

    The prefix; the number of headers, and length and name of each; the length of key, value and each header's content
    (-1 for null); then these. Numbers are 32-bit big-endian integers. No two records have the same image.

    Raises:
        UnicodeEncodeError: a header's name cannot be encoded.
    """
    if not headers and key is not None and value is not None:
        return b"".join((prefix, _three_numbers(0, len(key), len(value)), key, value))
    names: tuple[str, ...] = ()
    contents: tuple[Any, ...] = ()
    if headers:
        names, contents = zip(*headers)  # noqa: B905  # headers are pairs; told so, it costs as much as the rest
    named, lengths = _layouts.get(names) or _new_layout(names)
    if key is None or value is None or None in contents:
        return _image(prefix, named, lengths, (key, value, *contents))
    sizes = lengths(len(key), len(value), *map(len, contents))
    return b"".join((prefix, named, sizes, key, value, *contents))


def _image(prefix: bytes, named: bytes, lengths: Callable[..., bytes], fields: tuple[bytes | None, ...]) -> bytes:
    sizes = [-1 if field is None else len(field) for field in fields]
    return b"".join((prefix, named, lengths(*sizes), *filter(None, fields)))


def _new_layout(names: tuple[str, ...]) -> _Layout:
    layout = _layout_of([name.encode() for name in names])
    if len(layout[0]) <= _MAX_KEPT_BYTES:
        if len(_layouts) >= _KEPT_LAYOUTS:
            _layouts.clear()
        _layouts[names] = layout
    return layout


def _layout_of(names: Sequence[bytes]) -> _Layout:
    named = b"".join([_length(len(names)), *(_length(len(name)) + name for name in names)])
    return named, struct.Struct(f">{len(names) + 2}i").pack


def sha256(image: bytes) -> bytes:
    """The hash of a record, from its image."""
    return hashlib.sha256(image).digest()


def of_hashes(hashes: list[bytes]) -> str:
    """SHA-256 over concatenated hashes, in hexadecimal."""
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def of_bytes(value: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(value).hexdigest()
