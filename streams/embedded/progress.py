"""What a start tells its caller while it runs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

HEARTBEAT_S: Final = 0.5


class Phase(StrEnum):
    """The steps of a start, in order; the first three happen only when needed."""

    FETCH = "fetch"
    PREPARE = "prepare"
    FORMAT = "format"
    START = "start"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Progress:
    """One report, made at every change and at least once a second.

    Attributes:
        phase: The step under way.
        message: One line for a person.
        done: Work done in this phase, in bytes while fetching; None where unmeasured.
        total: The phase's whole work in the same unit; None where unknown.
    """

    phase: Phase
    message: str
    done: int | None = None
    total: int | None = None


OnProgress: TypeAlias = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Take a report and do nothing with it."""


class Heartbeat:
    """Reports one phase whenever half a second has gone by since its last report."""

    def __init__(self, on_progress: OnProgress, phase: Phase, message: str) -> None:
        """Report the phase's begin."""
        self._on_progress = on_progress
        self._phase = phase
        self._message = message
        self._started = self._reported = time.monotonic()
        on_progress(Progress(phase, message))

    def __call__(self) -> None:
        """Report, if it is time, how long the phase has taken."""
        now = time.monotonic()
        if now - self._reported < HEARTBEAT_S:
            return
        self._reported = now
        said = f"{self._message} ({now - self._started:.0f} s)"
        self._on_progress(Progress(self._phase, said))
