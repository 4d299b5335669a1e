"""The note in a data folder about the cluster that runs on it."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Self, TypedDict, cast

from streams.embedded.identity import ProcessIdentity, is_alive
from streams.embedded.store import read_json, write_json

NOTE_NAME: Final = "running.json"


class ProcessNote(TypedDict):
    """A `ProcessIdentity` as JSON."""

    pid: int
    created: float
    marker: str


class RunningNote(TypedDict):
    """A `Running` as JSON."""

    owner: ProcessNote
    detached: bool
    started_at: str
    bootstrap_servers: str | None
    keepers: list[ProcessNote]
    processes: list[ProcessNote]


@dataclass(frozen=True, slots=True)
class Running:
    """Who runs on a data folder.

    Attributes:
        owner: The process that started the cluster.
        detached: Whether the cluster outlives its owner.
        started_at: Aware UTC time of the start.
        bootstrap_servers: Its address once it serves, None before.
        keepers: The keeper of each broker.
        processes: The JVM of each broker.
    """

    owner: ProcessIdentity
    detached: bool
    started_at: datetime
    bootstrap_servers: str | None = None
    keepers: tuple[ProcessIdentity, ...] = ()
    processes: tuple[ProcessIdentity, ...] = ()

    @classmethod
    def from_note(cls, note: RunningNote) -> Self:
        """Read what `to_note` wrote."""
        return cls(
            owner=ProcessIdentity(**note["owner"]),
            detached=note["detached"],
            started_at=datetime.fromisoformat(note["started_at"]),
            bootstrap_servers=note["bootstrap_servers"],
            keepers=tuple(ProcessIdentity(**keeper) for keeper in note["keepers"]),
            processes=tuple(ProcessIdentity(**jvm) for jvm in note["processes"]),
        )

    def to_note(self) -> RunningNote:
        """The JSON form."""
        plain = {**asdict(self), "started_at": self.started_at.isoformat()}
        return cast("RunningNote", plain)


def write_running(folder: Path, running: Running) -> None:
    """Replace the note in a data folder."""
    write_json(folder / NOTE_NAME, running.to_note())


def read_running(folder: Path) -> Running | None:
    """The note in a data folder; None where there is none, or it cannot be read."""
    try:
        note = read_json(folder / NOTE_NAME)
        return Running.from_note(cast("RunningNote", note))
    except (OSError, json.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def remove_running(folder: Path) -> None:
    """Remove the note when the cluster has ended."""
    (folder / NOTE_NAME).unlink(missing_ok=True)


def is_owned(running: Running | None) -> bool:
    """Whether anyone is left who looks after the cluster.

    A detached cluster looks after itself as long as one keeper lives.
    """
    if running is None:
        return False
    if running.detached:
        return any(is_alive(keeper) for keeper in running.keepers)
    return is_alive(running.owner)
