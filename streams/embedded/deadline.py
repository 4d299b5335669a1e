"""Waiting for a condition, but not for ever."""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

LOOK_EVERY_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock.

    Attributes:
        at: That moment in seconds.
    """

    at: float

    @classmethod
    def after(cls, duration: timedelta) -> Self:
        """The deadline so long from now."""
        return cls(time.monotonic() + duration.total_seconds())

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return time.monotonic() >= self.at

    def pause(self) -> None:
        """Give others the processor before the next look."""
        time.sleep(LOOK_EVERY_S)
