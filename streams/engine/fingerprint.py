"""A lane's rows as one number, which each change of a row changes by that row alone.

Each row counts with 4,096 bits that its hash stretches to, and the number is their sum modulo 2^4096. So the order of
changes does not matter, and nothing but the rows that change is looked at. Other rows of the same sum are a
generalised birthday problem, which Wagner's algorithm solves in about 2^(2 sqrt(n)) steps for n bits: 2^32 at the 256
bits of a plain sum of SHA-256, 2^128 at 4,096.
"""

import hashlib

from streams.engine import digest
from streams.engine.records import Headers

EMPTY = 0
"""The fingerprint of no rows."""

_BYTES = 512
_MASK = (1 << 8 * _BYTES) - 1


def row_hash(key: bytes, value: bytes, headers: Headers) -> bytes:
    """SHA-256 over a row as it is in the changelog: an output's hash, without topic and partition."""
    return digest.output_hash(b"", key, headers, value)


def changed(rows: int, was: bytes | None, now: bytes | None) -> int:
    """The fingerprint after one row has changed; None where there was none, or is none any more."""
    if was is not None:
        rows -= _stretched(was)
    if now is not None:
        rows += _stretched(now)
    return rows & _MASK


def digest_of(rows: int) -> str:
    """SHA-256 in hexadecimal: what an audit record says of a fingerprint."""
    return digest.of_bytes(rows.to_bytes(_BYTES, "big"))


def _stretched(row: bytes) -> int:
    return int.from_bytes(hashlib.shake_128(row).digest(_BYTES), "big")
