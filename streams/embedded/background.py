"""A cluster that outlives the process that started it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

import psutil

from streams.embedded.deadline import Deadline
from streams.embedded.errors import DataFolderInUseError
from streams.embedded.folder import DataFolder, data_folder, is_locked
from streams.embedded.formatted import recorded_version
from streams.embedded.identity import ProcessIdentity, find, is_alive
from streams.embedded.kafka import EmbeddedKafka
from streams.embedded.kept import end_by_force
from streams.embedded.progress import OnProgress
from streams.embedded.running import Running, is_owned, read_running, remove_running
from streams.embedded.settings import EmbeddedSettings

STOP_WITHIN: Final = timedelta(seconds=30)


class State(StrEnum):
    """What goes on in a data folder."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    """Some, but not all, of its brokers live."""


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """A look at one data folder.

    Attributes:
        state: What goes on.
        data: The folder.
        bootstrap_servers: Where clients connect; None unless it serves.
        detached: Whether it outlives the process that started it.
        version: The Kafka release that ran there last; None if none ever did.
        pids: The live brokers' process ids.
        log_files: Each broker's newest log file.
        uptime: Since its start; None when stopped.
        disk_bytes: Space that the folder takes on disk.
        resident_bytes: Memory of the live brokers.
    """

    state: State
    data: Path
    bootstrap_servers: str | None
    detached: bool
    version: str | None
    pids: tuple[int, ...]
    log_files: tuple[Path, ...]
    uptime: timedelta | None
    disk_bytes: int
    resident_bytes: int


def start_background(settings: EmbeddedSettings, on_progress: OnProgress | None = None) -> BrokerStatus:
    """Start a cluster that goes on when this process ends.

    Until it serves it depends on this process, so that an interrupted start leaves
    nothing behind.

    Raises:
        DataFolderInUseError: One runs on the folder already.
        EmbeddedKafkaError: See `EmbeddedKafka.start`.
    """
    kafka = EmbeddedKafka(settings)
    kafka.start(on_progress)
    kafka.detach()
    return status(settings.data)


def stop_background(data: Path) -> bool:
    """Stop the detached cluster on a data folder, and wait until it is gone.

    Only processes that are certainly its own are ever signalled.

    Returns:
        Whether one ran.

    Raises:
        DataFolderInUseError: The cluster belongs to a live process, which alone may
            stop it.
    """
    folder = data_folder(data)
    running = read_running(folder.path)
    if running is None or not any_alive((*running.keepers, *running.processes)):
        return False
    if not running.detached and is_owned(running):
        raise DataFolderInUseError(
            f"The Kafka on {folder.path} belongs to process {running.owner.pid}.",
            "Stop that process; its Kafka ends with it.",
        )
    stop_processes(running)
    remove_running(folder.path)
    return True


def stop_processes(running: Running) -> None:
    """Ask the keepers, wait, and end by force what is left."""
    for keeper in running.keepers:
        if process := find(keeper):
            process.terminate()
    everything = (*running.keepers, *running.processes)
    deadline = Deadline.after(STOP_WITHIN)
    while any_alive(running.keepers) and not deadline.passed:
        deadline.pause()
    for identity in everything:
        end_by_force(identity)


def any_alive(identities: Iterable[ProcessIdentity]) -> bool:
    """Whether at least one of these very processes runs."""
    return any(is_alive(identity) for identity in identities)


def status(data: Path) -> BrokerStatus:
    """Look at a data folder without touching it; it need not exist."""
    folder = data_folder(data)
    running = read_running(folder.path)
    alive = live_processes(running)
    state = state_of(folder, running, len(alive))
    serving = running if state in {State.RUNNING, State.DEGRADED} else None
    return BrokerStatus(
        state=state,
        data=folder.path,
        bootstrap_servers=serving.bootstrap_servers if serving else None,
        detached=serving is not None and serving.detached,
        version=recorded_version(folder.path),
        pids=tuple(process.pid for process in alive),
        log_files=log_files(folder),
        uptime=datetime.now(UTC) - serving.started_at if serving else None,
        disk_bytes=disk_bytes(folder.path),
        resident_bytes=sum(map(resident_bytes, alive)),
    )


def live_processes(running: Running | None) -> list[psutil.Process]:
    """The brokers' processes that still run."""
    if running is None:
        return []
    return [process for process in map(find, running.processes) if process]


def state_of(folder: DataFolder, running: Running | None, alive: int) -> State:
    """What goes on, from the lock, the note and the live brokers."""
    if running is None or not is_locked(folder):
        return State.STOPPED
    if running.bootstrap_servers is None:
        return State.STARTING
    if alive == len(running.processes):
        return State.RUNNING
    return State.DEGRADED if alive else State.STOPPED


def log_files(folder: DataFolder) -> tuple[Path, ...]:
    """Each broker's newest log file, as far as there are any."""
    return tuple(sorted(folder.path.glob("broker-*/logs/server.log")))


def disk_bytes(path: Path) -> int:
    """The blocks that a folder's files take; files that vanish meanwhile count 0.

    Kafka's index files are sparse, so that their lengths would be far too much.
    """
    return sum(file_bytes(Path(parent) / name) for parent, _, names in os.walk(path) for name in names)


def file_bytes(path: Path) -> int:
    """The blocks of one file; `st_blocks` counts 512 bytes on every Unix."""
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


def resident_bytes(process: psutil.Process) -> int:
    """The memory of one process; 0 when it ended meanwhile."""
    try:
        resident: int = process.memory_info().rss
    except psutil.Error:
        return 0
    return resident
