"""A process that ends when its parent does, however that ended."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable


def stop_with_parent(stop: Callable[[], None]) -> None:
    """Calls `stop` once standard input ends: a pipe that the parent holds open and never writes to."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        with contextlib.suppress(OSError):
            if os.read(sys.stdin.fileno(), 1):
                return
        loop.remove_reader(sys.stdin)
        stop()

    loop.add_reader(sys.stdin, ended)
