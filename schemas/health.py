"""The health table: one row a service on the compacted topic `health`, each good until a stated time."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.breaker import MAX_REASON_CHARACTERS, BreakerState
from schemas.model import Contract, Name

Ms = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class SystemHealthStatus(StrEnum):
    """How a service, or all of them together, can be relied on."""

    HEALTHY = "healthy"
    """Every breaker is closed, and was heard of in time."""
    DEGRADED = "degraded"
    """Some are not closed."""
    CRITICAL = "critical"
    """The score is below one half, or a service that the policy calls critical has an open breaker."""
    UNKNOWN = "unknown"
    """There is no breaker, or one is silent beyond its time to live."""


GRAVEST_FIRST = (
    SystemHealthStatus.CRITICAL,
    SystemHealthStatus.UNKNOWN,
    SystemHealthStatus.DEGRADED,
    SystemHealthStatus.HEALTHY,
)
"""The order in which people are to look. What is known to be bad comes before what is not known."""


class BreakerRow(Contract):
    """One breaker of one process. Times are the log's, in milliseconds since 1970.

    `since` is when it came into its state, `heard` when it was last heard of; from `fresh_until` on it is silent.
    """

    breaker: Name
    instance: Name
    state: BreakerState
    since: Ms
    heard: Ms
    fresh_until: Ms
    sequence: Count
    reason: Annotated[str, Field(max_length=MAX_REASON_CHARACTERS)] | None = None


class ServiceHealth(Contract):
    """A service's row.

    `health_score` is (closed + half_open / 2) / (closed + open + half_open), 0 where none was heard of in time;
    `silent_breakers` are those that were not. `flaps` are the times of changes of state in the last minutes, at most
    100. `left_out` counts events of breakers beyond the 500 that a row holds; until `left_out_until`, when those
    breakers would be forgotten, such a service is not healthy, whether there is room again or not. `is_critical` is
    what the policy said of it when the row was weighed: one open breaker makes it critical.
    `partition` and `offset` are those of the last event on `breakers` that the row has seen: an event at or before them
    changes nothing. `as_of` is when the row was weighed; from `fresh_until` on it must be weighed anew before it is
    relied on (None: nothing in it grows old).
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    service: Name
    status: SystemHealthStatus
    health_score: Annotated[float, Field(ge=0, le=1)]
    total_breakers: Count
    closed_breakers: Count
    open_breakers: Count
    half_open_breakers: Count
    silent_breakers: Count
    breakers: tuple[BreakerRow, ...]
    since: Ms
    why: str
    flaps: tuple[Ms, ...] = ()
    left_out: Count = 0
    left_out_until: Ms = 0
    is_critical: bool = False
    partition: Count
    offset: Count
    as_of: Ms
    fresh_until: Ms | None


class ServiceStanding(Contract):
    """A service that is not healthy, as the system's row names it."""

    service: Name
    status: SystemHealthStatus
    since: Ms
    why: str


class SystemHealth(Contract):
    """All services together, under the key `system`.

    Counts and score are those of every breaker of every service, as in ServiceHealth. `services` is how many there are
    by status; `named` are those that are not healthy, the gravest first and at most 20. `offsets` are the offsets on
    `health` up to which the row has seen each partition. `as_of` is when it was weighed; it is written anew at least
    every few seconds, and from `fresh_until` on nobody may rely on it: whoever should write it does not.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    status: SystemHealthStatus
    health_score: Annotated[float, Field(ge=0, le=1)]
    total_breakers: Count
    closed_breakers: Count
    open_breakers: Count
    half_open_breakers: Count
    silent_breakers: Count
    services: dict[SystemHealthStatus, Count]
    named: tuple[ServiceStanding, ...]
    since: Ms
    offsets: dict[str, Count]
    as_of: Ms
    fresh_until: Ms
