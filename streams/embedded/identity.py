"""Know a process again, so that a reused process id is never mistaken for it."""

from dataclasses import dataclass
from typing import Final

import psutil

CLOCK_TOLERANCE_S: Final = 2.0
"""Create times move with corrections of the system clock on Linux."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process and what tells it from a later one with the same id.

    Attributes:
        pid: Its process id.
        created: Its create time in seconds since the epoch.
        marker: A text that its command line holds.
    """

    pid: int
    created: float
    marker: str


def identify(pid: int, marker: str) -> ProcessIdentity:
    """Note a live process.

    Raises:
        psutil.NoSuchProcess: It has ended.
    """
    return ProcessIdentity(pid, psutil.Process(pid).create_time(), marker)


def find(identity: ProcessIdentity) -> psutil.Process | None:
    """The process if it still runs; None when it ended, or its id is another's."""
    try:
        process = psutil.Process(identity.pid)
        same = (
            abs(process.create_time() - identity.created) <= CLOCK_TOLERANCE_S
            and process.status() != psutil.STATUS_ZOMBIE
            and identity.marker in " ".join(process.cmdline())
        )
    except psutil.Error:
        return None
    return process if same else None


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether this very process still runs."""
    return find(identity) is not None
