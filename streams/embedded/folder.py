"""The data folder: whose it is, and who runs on it now."""

import fcntl
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from streams.embedded.deadline import Deadline
from streams.embedded.errors import (
    DataFolderError,
    DataFolderInUseError,
    DataFolderUnusableError,
)
from streams.embedded.running import is_owned, read_running

LOCK_NAME: Final = "acgs-kafka.lock"
SEPARATOR_OF_FOLDERS: Final = ","
ORPHANS_END_WITHIN: Final = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Paths within a cluster's data folder.

    Attributes:
        path: Its root, absolute.
    """

    path: Path

    @property
    def lock(self) -> Path:
        """Locked while any process of the cluster lives; also marks it as ours."""
        return self.path / LOCK_NAME

    def broker(self, index: int) -> Path:
        """One broker's settings, logs and records."""
        return self.path / f"broker-{index}"

    def server_log(self, index: int) -> Path:
        """One broker's newest log file."""
        return self.broker(index) / "logs" / "server.log"

    def jvm_output(self, index: int) -> Path:
        """What one broker's JVM printed itself."""
        return self.broker(index) / "logs" / "jvm.out"

    def records(self, index: int) -> Path:
        """One broker's partitions."""
        return self.broker(index) / "records"


def data_folder(path: Path) -> DataFolder:
    """The folder with an absolute path; nothing is touched."""
    return DataFolder(path.expanduser().absolute())


def open_folder(path: Path) -> tuple[DataFolder, int]:
    """Create the folder if needed and lock it for this process.

    A folder whose last owner was killed may be held by its dying brokers for some
    seconds; these are waited for.

    Returns:
        The folder, and the descriptor that holds the lock; children may share it.

    Raises:
        DataFolderUnusableError: It cannot be written, or holds something not ours.
        DataFolderInUseError: Its owner lives.
    """
    folder = data_folder(path)
    if SEPARATOR_OF_FOLDERS in str(folder.path):
        raise DataFolderUnusableError(
            f"{folder.path} has a comma in its name, which Kafka takes for a list.",
            "Choose a data folder without one.",
        )
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        refuse_foreign(folder)
        descriptor = os.open(folder.lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DataFolderUnusableError(
            f"The data folder {folder.path} cannot be used: {error.strerror}.",
            "Make it a folder you can write, or choose another.",
        ) from error
    try:
        wait_for_lock(folder, descriptor)
    except DataFolderError:
        os.close(descriptor)
        raise
    return folder, descriptor


def refuse_foreign(folder: DataFolder) -> None:
    """Never mix Kafka's files with someone's own.

    Raises:
        DataFolderUnusableError: The folder has files, but not our lock.
    """
    if not folder.lock.exists() and any(folder.path.iterdir()):
        raise DataFolderUnusableError(
            f"{folder.path} holds files that are not an embedded Kafka's.",
            "Choose an empty folder, or one that does not exist yet.",
        )


def wait_for_lock(folder: DataFolder, descriptor: int) -> None:
    """Lock the folder, waiting only while no live owner is known.

    Raises:
        DataFolderInUseError: Its owner lives, or its brokers do not end.
    """
    deadline = Deadline.after(ORPHANS_END_WITHIN)
    while not try_lock(descriptor):
        if is_owned(read_running(folder.path)) or deadline.passed:
            raise DataFolderInUseError(
                f"Another embedded Kafka runs on {folder.path}.",
                "Use that one (`acgs kafka status` tells its address), stop it "
                "(`acgs kafka stop`), or choose another data folder.",
            )
        deadline.pause()


def try_lock(descriptor: int) -> bool:
    """Take the lock unless someone holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def release(descriptor: int) -> None:
    """Give the lock up for all who share it, such as forks of this process."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def is_locked(folder: DataFolder) -> bool:
    """Whether any process of a cluster lives on the folder now."""
    try:
        descriptor = os.open(folder.lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
