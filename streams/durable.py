"""What is to outlive a crash of the machine."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """On return a file's content, or the names in a folder, are on the disk.

    Raises:
        OSError: the disk, or the file system, does not do it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
