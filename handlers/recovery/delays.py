"""How long an attempt is waited for: exact, so that the same attempt is due at the same millisecond everywhere."""

from fractions import Fraction

from schemas.recovery import RecoveryStrategy


def delay_ms(
    strategy: RecoveryStrategy, attempt: int, *, initial_ms: int, multiplier: Fraction, max_ms: int
) -> int | None:
    """The delay before an attempt, from 1 on, in milliseconds; None where a person starts it."""
    match strategy:
        case RecoveryStrategy.EXPONENTIAL_BACKOFF:
            return min(max_ms, int(initial_ms * multiplier ** (attempt - 1)))
        case RecoveryStrategy.LINEAR_BACKOFF:
            return min(max_ms, initial_ms * attempt)
        case RecoveryStrategy.IMMEDIATE:
            return 0
        case RecoveryStrategy.MANUAL:
            return None
