"""What a crash can have left of a checkpoint that was being written, and what it cannot have. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import orjson

from schemas.checkpoint import FIRST_PREVIOUS, Checkpoint
from streams.notary.chain import Chain, ChainError

_TREES: Final = b'"trees":['
_END: Final = b'}],"v":1}'
_LEAST_OF_END: Final = len(b"}]")


def is_cut_off(content: bytes, last: Checkpoint | None, keys: Mapping[str, bytes]) -> bool:
    """Whether a line without its end can be the beginning of the checkpoint after `last`, by one of these keys.

    It has to begin as that checkpoint's line would, byte for byte, and to stop before its last byte. Where nothing is
    missing but what every line ends with, it has to be signed too. A genuine line, or one that somebody has cut, can be
    one as well: only a copy tells.
    """
    if _beginnings(last, keys).fullmatch(content) is None:
        return False
    missing = _missing_end(content)
    return missing is None or _is_next(content + missing, last, keys)


def begins_file(content: bytes) -> bool:
    """Whether it can be the beginning of the first checkpoint of a file, whoever has signed it."""
    return _beginnings(None, None).fullmatch(content) is not None


def _missing_end(content: bytes) -> bytes | None:
    """What a line lacks that stands behind its last tree, None if more than that is missing."""
    if _TREES not in content:
        return None
    there = (length for length in range(len(_END), _LEAST_OF_END - 1, -1) if content.endswith(_END[:length]))
    length = next(there, None)
    return None if length is None else _END[length:]


def _is_next(line: bytes, last: Checkpoint | None, keys: Mapping[str, bytes]) -> bool:
    chain = Chain(keys)
    chain.last = last
    try:
        chain.take(line)
    except ChainError:
        return False
    return True


# A pattern in which every single byte may be the end: once the end is there, nothing but the end fits what follows.


def _beginnings(last: Checkpoint | None, keys: Iterable[str] | None) -> re.Pattern[bytes]:
    """All strict beginnings of the line after `last`, by one of these keys, or by any.

    schemas/checkpoint.py has its fields; here they stand in canonical order.
    """
    cluster, prefix = (_STRING, _STRING) if last is None else (_json(last.cluster_id), _json(last.prefix))
    number, previous = (1, FIRST_PREVIOUS) if last is None else (last.number + 1, last.digest)
    key = _times(b"[0-9a-f]", 16) if keys is None else _either(_text(one.encode()) for one in keys)
    head = (
        _text(b'{"agent":') + _STRING + _text(b',"lane":') + _NUMBER + _text(b',"seq":') + _NUMBER
        + _text(b',"sha256":"') + _HASH + _text(b'"}')
    )  # fmt: skip
    tree = (
        _text(b'{"broken":') + _NUMBER + _text(b',"partition":') + _NUMBER + _text(b',"root":"') + _HASH
        + _text(b'","size":') + _NUMBER + _text(b"}")
    )  # fmt: skip
    fields = (
        (b'{"cluster_id":', cluster),
        (b',"heads":[', b"(?:" + _row(head) + b")?"),
        (b'],"key_id":"', key),
        (b'","number":', _text(b"%d" % number)),
        (b',"prefix":', prefix),
        (b',"previous":"', _text(previous.encode())),
        (b'","signature":"', _times(rb"[A-Za-z0-9+/]", 86)),
        (b'==","signed_at":"', _TIME),
        (b'",' + _TREES, _row(tree)),
        (b'],"v":1', b""),
    )
    return re.compile(b"".join(_text(name) + value for name, value in fields))


def _may_end(one: bytes) -> bytes:
    return b"(?:" + one + rb"|\Z)"


def _text(text: bytes) -> bytes:
    return b"".join(_may_end(re.escape(text[at : at + 1])) for at in range(len(text)))


def _times(one: bytes, count: int) -> bytes:
    return _may_end(one) + b"{%d}" % count


def _row(one: bytes) -> bytes:
    return one + b"(?:," + one + b")*"


def _either(patterns: Iterable[bytes]) -> bytes:
    return b"(?:" + b"|".join(patterns) + b")"


def _json(text: str) -> bytes:
    return _text(orjson.dumps(text))


_HASH: Final = _times(b"[0-9a-f]", 64)
_NUMBER: Final = rb"(?:0|[1-9][0-9]{0,15}|\Z)"
_ESCAPED: Final = rb"\\" + _either((_may_end(rb'["\\bfnrt]'), _text(b"u") + _times(b"[0-9a-f]", 4)))
_STRING: Final = _text(b'"') + rb'(?:[^"\\\x00-\x1f]|' + _ESCAPED + b")*" + _text(b'"')
_DIGIT: Final = _may_end(b"[0-9]")
_TIME: Final = _text(b"-").join((_DIGIT * 4, _DIGIT * 2, _DIGIT * 2)) + _text(b"T") + (
    _text(b":").join((_DIGIT * 2, _DIGIT * 2, _DIGIT * 2)) + _text(b".") + _DIGIT * 3 + _text(b"Z")
)  # fmt: skip
