"""Whether the broker answers, and the two lines of an outage: no broker since then, and that it is back."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

_log = logging.getLogger(__name__)

_NO_REASON: Final = "it does not answer, or does not give what it has"


class Contact:
    """Counts from the broker's last answer. It is lost once that is `within` ago, whether anybody asks or not."""

    def __init__(
        self,
        within: timedelta,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._within, self._clock, self._now = within, clock, now
        self._heard, self._heard_at = clock(), now()
        self._is_told = False

    @property
    def silent(self) -> timedelta:
        """How long ago the last answer came."""
        return timedelta(seconds=self._clock() - self._heard)

    @property
    def is_lost(self) -> bool:
        """Whether that is too long ago."""
        return self.silent > self._within

    @property
    def words(self) -> str:
        """Since when nothing was heard."""
        return f"no broker since {self._heard_at.isoformat(timespec='seconds').replace('+00:00', 'Z')}"

    def heard(self) -> None:
        """The broker has answered. An outage that nobody has missed yet is told as well: readiness has shown it."""
        self.missed()
        if self._is_told:
            _log.info("the broker is back after %.0f s", self.silent.total_seconds())
        self._heard, self._heard_at, self._is_told = self._clock(), self._now(), False

    def missed(self, why: str = "") -> None:
        """It has not, or not in time. Told once, when it is lost."""
        if self.is_lost and not self._is_told:
            self._is_told = True
            _log.warning("%s, and nothing is signed until it is back: %s", self.words, why or _NO_REASON)
