"""A lane's rows from its changelog, as of a turn whose state digest they fit."""

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from streams.audit.entries import Entry
from streams.audit.log import Log, Place
from streams.audit.subject import Subject
from streams.engine.fingerprint import EMPTY, changed, digest_of, row_hash
from streams.engine.records import Record
from streams.engine.state import POSITION_KEY, StoredRow, decode_position, decode_row_headers, decode_row_key, is_row

_TRIED = 8
"""How many digests before a time are held against the changelog, so that a window's beginning takes no memory."""


@dataclass(slots=True)
class _Fold:
    """The changelog up to the position row of turn `seq`: rows as they stand there, and their fingerprint."""

    seq: int = 0
    rows: dict[bytes, tuple[Record, bytes]] = field(default_factory=dict[bytes, tuple[Record, bytes]])
    fingerprint: int = EMPTY

    def take(self, record: Record) -> None:
        key = record.key or b""
        was = self.rows.pop(key, None)
        now = None if record.value is None else row_hash(key, record.value, record.headers)
        if now is not None:
            self.rows[key] = record, now
        self.fingerprint = changed(self.fingerprint, None if was is None else was[1], now)


class Rebuilt:
    """Reads a lane's changelog once, forward.

    Where it was compacted, rows that were replaced later are gone and so are the position rows that name the turns:
    whether what is left is the state after a turn is told by the digest alone.
    """

    def __init__(self, log: Log, changelog: Place) -> None:
        self._log, self._changelog = log, changelog
        self._fold = _Fold()
        self._folds: AsyncGenerator[_Fold, None] | None = None

    async def fits(self, seq: int, state_digest: str) -> bool:
        """Whether the rows after a turn are known. Ask in the order of turns."""
        if self._folds is None:
            self._folds = self._read()
        while self._fold.seq < seq and (fold := await anext(self._folds, None)) is not None:
            self._fold = fold
        return self._fold.seq == seq and digest_of(self._fold.fingerprint) == state_digest

    async def adopt(self, lane: Subject, seq: int, state_digest: str) -> bool:
        """Makes the rows after a turn the lane's, if they are known."""
        codec = lane.agent.rows
        if codec is None or not await self.fits(seq, state_digest):
            return False
        rows: dict[str, StoredRow[Any]] = {}
        for key, (record, hashed) in self._fold.rows.items():
            due_ms, version = decode_row_headers(record.headers)
            try:
                row = codec.decode(record.value or b"")
            except ValueError:  # of a version that this release does not read
                return False
            rows[decode_row_key(key)] = StoredRow(row, due_ms, version, hashed)
        lane.rerun.state.rows, lane.rerun.state.fingerprint = rows, self._fold.fingerprint
        lane.knows_state = True
        return True

    async def close(self) -> None:
        """Lets go of the reader."""
        if self._folds is not None:
            await self._folds.aclose()

    async def _read(self) -> AsyncGenerator[_Fold, None]:
        fold = _Fold()
        async with aclosing(self._log.read(self._changelog, self._log.begin(self._changelog))) as batches:
            async for records in batches:
                for record in records:
                    try:
                        if is_row(record):
                            fold.take(record)
                            continue
                        if record.key != POSITION_KEY or record.value is None:
                            continue
                        fold.seq = decode_position(record.value).seq
                    except ValueError:  # no lane wrote it: nothing after it can be believed
                        return
                    yield fold


async def last_known_before(lane: Subject, since_ms: int, trail: AsyncGenerator[Entry, None]) -> int:
    """The last turn before a time after which the changelog still has the lane's rows; 0 if there is none."""
    recent: deque[tuple[int, str]] = deque(maxlen=_TRIED)
    async for entry in trail:
        if entry.at_ms >= since_ms:
            break
        if entry.turn is not None and entry.turn.state_digest is not None:
            recent.append((entry.turn.seq, entry.turn.state_digest))
    rebuilt = Rebuilt(lane.log, (lane.agent.topics.changelog, lane.lane))
    try:
        return max([seq for seq, state_digest in recent if await rebuilt.fits(seq, state_digest)], default=0)
    finally:
        await rebuilt.close()
