"""What is told of a process's circuit breakers."""

from dataclasses import dataclass
from datetime import datetime

from schemas.health import SystemHealthStatus


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """The breakers of a process at one moment.

    `health_score` is 0.0-1.0: (closed + half_open / 2) / total, 0 without any. `constitutional_hash` is the policy
    generation that the process works under.
    """

    timestamp: datetime
    status: SystemHealthStatus
    health_score: float
    total_breakers: int
    closed_breakers: int
    open_breakers: int
    constitutional_hash: str = "cdd01ef066bc6cf2"
    half_open_breakers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemHealthReport:
    """A snapshot with what is behind it.

    `since` is when the status began (None: no breaker has been heard of). `not_closed` names the breakers that came out
    of closed last, at most ten; `changes` counts changes of state and `refused` the calls that named no state.
    """

    status: SystemHealthStatus
    health_score: float
    snapshot: HealthSnapshot
    since: datetime | None
    not_closed: tuple[str, ...]
    changes: int
    refused: int
