"""How a process recovers what it depends on, and one recovery as it stands."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from schemas.recovery import RecoveryState, RecoveryStrategy

HealthCheck = Callable[[], bool | Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class RecoveryPolicy:
    """When attempts come, and what says that one has helped.

    The first comes `initial_delay_ms` after it was scheduled, each later one by the strategy, at most `max_delay_ms`
    after the one before. `health_check_fn` says True or False; a plain function runs in a thread of its own. Without
    one it is unknown whether an attempt has helped: the circuit's closing tells.

    Raises:
        ValueError: a number is out of its range.
    """

    max_retry_attempts: int = 5
    backoff_multiplier: float = 2.0
    initial_delay_ms: int = 1000
    max_delay_ms: int = 60000
    health_check_fn: HealthCheck | None = None

    def __post_init__(self) -> None:
        least = {"max_retry_attempts": 1, "backoff_multiplier": 1, "initial_delay_ms": 0, "max_delay_ms": 0}
        for name, at_least in least.items():
            if not getattr(self, name) >= at_least:  # NaN is not
                raise ValueError(f"{name} is {getattr(self, name)!r}, and must be at least {at_least}")
        if not math.isfinite(self.backoff_multiplier):
            raise ValueError(f"backoff_multiplier is {self.backoff_multiplier!r}, and must be finite")


@dataclass(frozen=True, slots=True, order=True)
class RecoveryTask:
    """The recovery of one service. The lowest priority number comes first, and whoever is due first among equals.

    `due` is when the next attempt comes, or until when the circuit may close after one; None where nothing is waited
    for. `since` is when its state began and `why` what brought it about. `sequence` rises with each change of state.
    """

    priority: int
    service_name: str = field(compare=False)
    strategy: RecoveryStrategy = field(default=RecoveryStrategy.EXPONENTIAL_BACKOFF, compare=False)
    state: RecoveryState = field(default=RecoveryState.SCHEDULED, compare=False)
    attempt: int = field(default=0, compare=False)
    since: datetime | None = field(default=None, compare=False)
    due: datetime | None = field(default=None, compare=False)
    why: str = field(default="", compare=False)
    sequence: int = 0
