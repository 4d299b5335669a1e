"""A lane's budget of turns: about 2 ms of broker time each, whatever their size."""

from datetime import timedelta


class TurnBudget:
    """Turns of the last second, at most 1 s / min_turn of them. A lone record never waits."""

    def __init__(self, min_turn: timedelta, now: float) -> None:
        self._per_second = 1 / min_turn.total_seconds()
        self._left, self._at = self._per_second, now

    def wait(self, now: float) -> float:
        """How many seconds until the next turn may begin."""
        self._refill(now)
        return 0.0 if self._left >= 1 else (1 - self._left) / self._per_second

    def spend(self, now: float) -> None:
        """Counts a turn."""
        self._refill(now)
        self._left -= 1

    def _refill(self, now: float) -> None:
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
