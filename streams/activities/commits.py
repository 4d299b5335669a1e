"""Which commands of a partition are finished: the offset to commit, and what beyond it need not be run again.

The committed offset is the first one that is not finished. What is finished beyond it stands in the commit's metadata,
a bitmap, so that a slow activity holds up nobody and a crash lets little run again. Without I/O.
"""

import binascii
import zlib
from base64 import b64decode, b64encode
from typing import NamedTuple

MAX_METADATA = 4_096
"""How long a commit's metadata may be: the broker's default for offset.metadata.max.bytes."""

_VERSION = "1:"
_MAX_BITMAP_BYTES = 16 * 1024 * 1024
_ALL = b"\xff"


class Bitmap(NamedTuple):
    """Finished offsets from `base` on: bit i of the little-endian `bits` stands for offset base + i."""

    base: int
    bits: bytes

    def __contains__(self, offset: object) -> bool:
        if not isinstance(offset, int):
            return False
        byte, bit = divmod(offset - self.base, 8)
        return 0 <= byte < len(self.bits) and bool(self.bits[byte] >> bit & 1)

    @property
    def end(self) -> int:
        """The offset after the last one that it can speak of."""
        return self.base + 8 * len(self.bits)

    def starting_at(self, base: int) -> int:
        """The same as an integer whose bit 0 is an offset that is not below this one's base."""
        return int.from_bytes(self.bits, "little") >> (base - self.base)


def encode(bits: bytes) -> str:
    """A bitmap as metadata of at most 4,096 characters; of one that does not fit, the largest 1/2, 1/4, ... that does.

    What is left out is run again after a crash, which is allowed.
    """
    bits = bits.rstrip(b"\0")[:_MAX_BITMAP_BYTES]
    while bits:
        text = _VERSION + b64encode(zlib.compress(bits)).decode()
        if len(text) <= MAX_METADATA:
            return text
        bits = bits[: len(bits) // 2]
    return ""


def decode(text: str) -> bytes:
    """The bitmap in a commit's metadata; empty for what another program wrote there."""
    if not text.startswith(_VERSION):
        return b""
    try:
        unpacker = zlib.decompressobj()
        bits = unpacker.decompress(b64decode(text[len(_VERSION) :], validate=True), _MAX_BITMAP_BYTES)
    except (binascii.Error, ValueError, zlib.error):
        return b""
    return bits if unpacker.eof else b""


class Commit(NamedTuple):
    """What to commit for a partition."""

    offset: int
    metadata: str


class Ledger:
    """What one process knows of a partition's commands. Facts stay true whoever owns the partition meanwhile."""

    def __init__(self) -> None:
        self._next = 0
        """The offset after the last one that was read."""
        self._open: set[int] = set()
        """Taken and not finished."""
        self._running: set[int] = set()
        """Those of them that were not released."""
        self._known = Bitmap(0, b"")
        """Finished at or beyond `_next` when reading began: by others, or here before the partition came back."""
        self._late: set[int] = set()
        """Finished at or beyond `_next` since then: they ran on while the partition was away."""
        self._read_before = 0
        """What stands before it, others may have read and begun."""

    def adopt(self, committed: Commit, read_before: int = 0) -> int:
        """Begins, or begins again, where a commit stands; returns the offset to read from.

        Others may have read what stands before `read_before`, and have begun it.

        What this process has finished beyond the commit stays finished, and what runs goes on.
        """
        own = self._finished()
        start = max(committed.offset, own.base)
        self._read_before = read_before
        others = Bitmap(committed.offset, decode(committed.metadata))
        self._known = Bitmap(start, _as_bytes(others.starting_at(start) | own.starting_at(start)))
        self._next = start
        self._running = {offset for offset in self._running if offset >= start}
        self._open = set(self._running)
        self._late.clear()
        return start

    def take(self, offset: int) -> bool:
        """Whether a command that was read is to be run; then it runs until finish() or release()."""
        if offset < self._next:
            return False
        self._next = offset + 1
        if offset in self._running or offset in self._known or offset in self._late:
            return False
        self._running.add(offset)
        self._open.add(offset)
        return True

    def may_have_begun(self, offset: int) -> bool:
        """Whether another worker may have begun the command, and may be at it still."""
        return offset < self._read_before

    def finish(self, offset: int) -> None:
        """The command has been answered."""
        if offset in self._open:
            self._open.discard(offset)
            self._running.discard(offset)
            if offset >= self._next:
                self._late.add(offset)

    def release(self, offset: int) -> None:
        """The command was not begun: it runs nowhere, and is to be run by whoever reads it next."""
        self._running.discard(offset)

    def reach(self, position: int) -> None:
        """Nothing before that position is left to be read: what lies between are the log's own markers."""
        self._next = max(self._next, position)

    def commit(self) -> Commit:
        """The first offset that is not finished, and what is finished beyond it."""
        base, bits = self._finished()
        return Commit(base, encode(bits))

    def _finished(self) -> Bitmap:
        base = min(self._open, default=self._next)
        base = min(base, self._next)
        read = self._next - base
        bits = bytearray(_ALL) * (read // 8) + bytes([(1 << read % 8) - 1])
        for offset in self._open:
            if offset < self._next:
                byte, bit = divmod(offset - base, 8)
                bits[byte] &= ~(1 << bit)
        ahead = self._known.starting_at(self._next) if self._known.end > self._next else 0
        for offset in self._late:
            if offset >= self._next:
                ahead |= 1 << (offset - self._next)
        return Bitmap(base, _as_bytes(int.from_bytes(bits, "little") | ahead << read) if ahead else bytes(bits))


def _as_bytes(bits: int) -> bytes:
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")
