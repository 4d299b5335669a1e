"""A process with a pool of others, for a test that interrupts it: `python -m tests.support.pool_process`."""

import multiprocessing
import sys
import time
from concurrent.futures import wait
from contextlib import suppress
from typing import Any

from streams.audit.processes import started

SAYS = "started"


def never_ends(number: int) -> int:
    while True:
        time.sleep(number)


def take(shared: Any) -> None:  # noqa: ANN401  # multiprocessing's values have no public type
    with shared.get_lock():
        shared.value += 1


def main() -> None:
    context = multiprocessing.get_context("spawn")
    shared = context.Value("Q", 0)
    with started(context, never_ends, range(1, 5), workers=2, prepare=take, given=(shared,)) as running:
        sys.stdout.write(f"{SAYS}\n")
        sys.stdout.flush()
        wait(running)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
