"""How long to wait before the next attempt at what others serve."""

import asyncio
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

_random: Final = secrets.SystemRandom()
_MOST_DOUBLINGS: Final = 30


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double from `first` (0.5 s) up to `longest` (60 s), each drawn between its half and its whole."""

    first: timedelta = timedelta(milliseconds=500)
    longest: timedelta = timedelta(seconds=60)

    def pause(self, attempt: int) -> timedelta:
        """How long to wait after that attempt, counted from 0."""
        whole = min(self.longest, self.first * 2 ** min(attempt, _MOST_DOUBLINGS))
        return timedelta(seconds=_random.uniform(whole.total_seconds() / 2, whole.total_seconds()))


class Gate:
    """Stays shut as long as a platform asks to be left alone."""

    def __init__(self) -> None:
        self._open_at = 0.0

    def shut(self, length: timedelta) -> None:
        """Lets nobody through for that long."""
        until = asyncio.get_running_loop().time() + length.total_seconds()
        self._open_at = max(self._open_at, until)

    async def passed(self) -> None:
        """Returns once it is open."""
        loop = asyncio.get_running_loop()
        while (left := self._open_at - loop.time()) > 0:  # noqa: ASYNC110  # it may be shut for longer meanwhile
            await asyncio.sleep(left)
