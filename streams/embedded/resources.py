"""Refuse to start where memory or disk would run out."""

from pathlib import Path
from typing import Final

import psutil

from streams.embedded.errors import NotEnoughDiskError, NotEnoughMemoryError

MIB: Final = 1024 * 1024
JVM_OVERHEAD_MB: Final = 200
DATA_RESERVE_MB: Final = 512


def require_disk(folder: Path, need: int, purpose: str) -> None:
    """Check the free space of the file system that holds, or would hold, a folder.

    Args:
        folder: Need not exist yet.
        need: Bytes.
        purpose: What they are for, in the message.

    Raises:
        NotEnoughDiskError: Less is free.
    """
    free = psutil.disk_usage(str(existing_parent(folder))).free
    if free < need:
        raise NotEnoughDiskError(
            f"{purpose} need {need / MIB:.0f} MiB in {folder}, where {free / MIB:.0f} MiB are free.",
            "Free some space, or choose a folder on another disk.",
        )


def existing_parent(folder: Path) -> Path:
    """The folder itself or its nearest ancestor that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def require_memory(brokers: int, heap_mb: int) -> None:
    """Check that the brokers' heaps and the JVM's own needs fit what is available.

    Raises:
        NotEnoughMemoryError: They do not.
    """
    need_mb = brokers * (heap_mb + JVM_OVERHEAD_MB)
    available_mb = psutil.virtual_memory().available // MIB
    if available_mb < need_mb:
        raise NotEnoughMemoryError(
            f"{brokers} broker(s) with a heap of {heap_mb} MiB need {need_mb} MiB, "
            f"and {available_mb} MiB are available.",
            "Close something, or ask for a smaller heap or fewer brokers.",
        )
