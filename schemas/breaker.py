"""What services say of their circuit breakers: events on `in.breakers`, and on `breakers` once they have passed."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from schemas.model import Contract, Name, Rfc3339Text, Uuid

MAX_REASON_CHARACTERS = 500


class BreakerState(StrEnum):
    """The state of a circuit breaker."""

    CLOSED = "closed"
    """Calls go through."""
    OPEN = "open"
    """Calls are refused."""
    HALF_OPEN = "half_open"
    """A few calls are let through, to see whether it may close."""

    @classmethod
    def of(cls, spelling: str) -> "BreakerState":
        """The state that libraries write in several ways: half_open, half-open, HALF OPEN, halfOpen, half-opened.

        Raises:
            ValueError: it is none.
        """
        state = _SPELLINGS.get(spelling)  # most come as they are meant
        if state is None:
            state = _SPELLINGS.get("".join(character for character in spelling.lower() if character not in "-_ "))
        if state is None:
            raise ValueError(f"{spelling!a} is no state of a breaker: {', '.join(cls)}")
        return state


_SPELLINGS = {
    "closed": BreakerState.CLOSED,
    "open": BreakerState.OPEN,
    "opened": BreakerState.OPEN,
    "halfopen": BreakerState.HALF_OPEN,
    "halfopened": BreakerState.HALF_OPEN,
    "half_open": BreakerState.HALF_OPEN,
    "half-open": BreakerState.HALF_OPEN,
}
"""How states are spelled: in lower case and without what parts words, and as most libraries write them."""


class BreakerEventKind(StrEnum):
    """Why an event is sent."""

    STATE_CHANGE = "state_change"
    HEARTBEAT = "heartbeat"
    """Nothing has changed; the breaker is still there, in this state."""
    RETIRED = "retired"
    """The breaker is no more, since its process ends in good order."""


def _spelled(given: object) -> object:
    return BreakerState.of(given) if isinstance(given, str) else given


class BreakerEvent(Contract):
    """One breaker of one process, as it is from now on.

    `service` is what the breaker guards calls to; `instance` tells processes apart that guard the same, and is new at
    each start. `sequence` rises with every event of an instance: of one breaker, the highest counts. What is said holds
    for `ttl_s` seconds by the log's time; then the breaker is silent, and nobody may call it healthy. `changes` is how
    many changes of state an event of that kind stands for: a publisher that could not send for a while tells the last
    state, and how many there were. `at` is the publisher's clock, for people to read.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    event_id: Uuid
    kind: BreakerEventKind
    service: Name
    breaker: Name
    instance: Name
    sequence: Annotated[int, Field(ge=0, le=2**53 - 1)]
    state: Annotated[BreakerState, BeforeValidator(_spelled)]
    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON_CHARACTERS)] | None = None
    at: Rfc3339Text
    ttl_s: Annotated[int, Field(ge=1, le=86_400)] = 30
    changes: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    constitutional_hash: str

    @property
    def expires_at(self) -> datetime | None:
        """It is folded whenever it comes: `ttl_s` says how long it holds."""
        return None
