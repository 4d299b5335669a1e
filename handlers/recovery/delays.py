"""How long an attempt is waited for: exact, so that the same attempt is due at the same millisecond everywhere."""

import math
from fractions import Fraction

from schemas.recovery import RecoveryStrategy

_EXACT_TIMES = 1_000
"""Up to here it is exact: on lanes always, as no rule has so many attempts. Beyond, a process takes floats."""


def delay_ms(
    strategy: RecoveryStrategy, attempt: int, *, initial_ms: int, multiplier: Fraction, max_ms: int
) -> int | None:
    """The delay before an attempt, from 1 on, in milliseconds; None where a person starts it."""
    match strategy:
        case RecoveryStrategy.EXPONENTIAL_BACKOFF:
            return _grown_ms(initial_ms, multiplier, attempt - 1, max_ms)
        case RecoveryStrategy.LINEAR_BACKOFF:
            return min(max_ms, initial_ms * attempt)
        case RecoveryStrategy.IMMEDIATE:
            return 0
        case RecoveryStrategy.MANUAL:
            return None


def _grown_ms(initial_ms: int, multiplier: Fraction, times: int, max_ms: int) -> int:
    """`initial_ms * multiplier ** times`, at most `max_ms`. No power is taken that is beyond it, as that costs."""
    if initial_ms < 1 or multiplier <= 1:
        return min(max_ms, initial_ms)
    growth = times * math.log(multiplier)
    if growth > math.log(max_ms + 1) + 1:
        return max_ms
    if times > _EXACT_TIMES:
        return min(max_ms, int(initial_ms * math.exp(growth)))
    return min(max_ms, int(initial_ms * multiplier**times))
