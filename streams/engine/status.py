"""What a lane says of itself, for operators."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson


class State(StrEnum):
    """Where a lane is in its life. The legal changes are in TRANSITIONS.

    STARTING  its producer starts, which fences the lane's owner before it
    RESTORING its changelog is read
    WAITING   for the first control document; nothing is decided
    RUNNING   turns
    RENEWING  a turn failed; another producer starts and the changelog says what had committed
    IDLE      its partitions are assigned elsewhere or not yet again; producer and rows are kept
    HELD      it must not go on until an operator decides
    CLOSED    it has ended
    """

    STARTING = "starting"
    RESTORING = "restoring"
    WAITING = "waiting"
    RUNNING = "running"
    RENEWING = "renewing"
    IDLE = "idle"
    HELD = "held"
    CLOSED = "closed"


_OPENED = frozenset({State.WAITING, State.RUNNING})

TRANSITIONS: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.RESTORING, State.STARTING, State.HELD, State.IDLE, State.CLOSED}),
    State.RESTORING: _OPENED | {State.STARTING, State.HELD, State.IDLE, State.CLOSED},
    State.WAITING: frozenset({State.RUNNING, State.RENEWING, State.STARTING, State.IDLE, State.CLOSED}),
    State.RUNNING: frozenset({State.RENEWING, State.STARTING, State.IDLE, State.CLOSED}),
    State.RENEWING: _OPENED | {State.STARTING, State.IDLE, State.CLOSED},
    State.IDLE: _OPENED | {State.STARTING, State.RENEWING, State.CLOSED},
    State.HELD: frozenset({State.STARTING, State.IDLE, State.CLOSED}),
    State.CLOSED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatus:
    """One lane, as its worker last said. Times are milliseconds since 1970.

    `offsets` is the lane's position by input topic, `oldest_ms` the broker time of the oldest record that has arrived
    and is not yet handled, `turn_since_ms` the begin of a transaction that is open.
    """

    agent: str
    lane: int
    worker: str
    state: State
    at_ms: int
    seq: int = 0
    offsets: dict[str, int] = field(default_factory=dict[str, int])
    oldest_ms: int | None = None
    turn_since_ms: int | None = None
    last_commit_ms: int | None = None
    last_error: str | None = None
    last_error_ms: int | None = None
    rows: int = 0
    timers: int = 0

    @property
    def key(self) -> bytes:
        """The key under which it stands on the compacted topic of lanes."""
        return f"lane/{self.agent}/{self.lane}".encode()

    def encode(self) -> bytes:
        """The value on the topic of lanes."""
        return orjson.dumps(self)


def decode_status(value: bytes) -> LaneStatus:
    """Reads a lane's status."""
    document: dict[str, Any] = orjson.loads(value)
    document["state"] = State(document["state"])
    return LaneStatus(**document)
