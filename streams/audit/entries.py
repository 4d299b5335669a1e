"""The audit records of one lane as they are in the log, and what vouches for each."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from pydantic import ValidationError

from schemas.audit import AuditRecord
from streams.audit.log import Log, Place
from streams.engine import digest
from streams.engine.digest import NO_HASH
from streams.engine.records import Record
from streams.engine.state import POSITION_KEY, Position, decode_position


@dataclass(frozen=True, slots=True)
class Entry:
    """An audit record as it is in the log. `turn` is None where it does not keep its contract."""

    raw: bytes
    at_ms: int
    offset: int
    turn: AuditRecord | None

    @property
    def hash(self) -> str:
        """What the next audit record names."""
        return digest.of_bytes(self.raw)


async def entries(
    log: Log, audit: Place, key: bytes, until_ms: int | None, on_records: Callable[[int], None] = lambda _: None
) -> AsyncGenerator[Entry, None]:
    """The audit records under a lane's key, up to the first at or after `until_ms`.

    `on_records` is told how many more were read, those of other lanes among them.
    """
    async for records in log.read(audit, log.begin(audit)):
        on_records(len(records))
        for record in records:
            if record.key != key:
                continue
            if until_ms is not None and record.timestamp >= until_ms:
                return
            yield _entry(record)


async def last_position(log: Log, changelog: Place) -> Position | None:
    """Where the lane stands by its changelog, if that says it.

    Raises:
        EngineError: a later release has written it.
        ValueError: what stands there is no position.
    """
    found: Record | None = None
    async for records in log.read(changelog, log.begin(changelog)):
        for record in records:
            if record.key == POSITION_KEY:
                found = record
    return None if found is None or found.value is None else decode_position(found.value)


def expected_hash(following: Entry | None, seq: int, end: Position | None) -> str | None:
    """The hash that the next audit record, or the changelog, has of turn `seq`; None where neither says."""
    if following is not None and following.turn is not None and following.turn.seq == seq + 1:
        return following.turn.previous
    return end.head if end is not None and end.seq == seq and end.head != NO_HASH else None


def _entry(record: Record) -> Entry:
    raw = record.value or b""
    try:
        turn = AuditRecord.model_validate_json(raw)
    except ValidationError:
        turn = None
    return Entry(raw, record.timestamp, record.offset, turn)
