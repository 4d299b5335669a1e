"""A pool of processes that end with whoever waits for them, also if that is at Ctrl-C."""

import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import SpawnContext
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


@contextmanager
def started(
    context: SpawnContext,
    work: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int,
    prepare: Callable[..., None],
    given: tuple[Any, ...],
) -> Generator[list[Future[Result]], None, None]:
    """Jobs at work in processes that have done `prepare(*given)` first, in the order of the jobs.

    Left by an error, Ctrl-C included, it ends the processes, whatever they are at, before what they were given goes:
    one that is starting would miss it, and say so. They are not told of Ctrl-C themselves.
    """
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, context, prepare, given) as pool:
        try:
            with _without_interrupts():
                futures = [pool.submit(work, job) for job in jobs]
            yield futures
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
                process.join()
            raise


@contextmanager
def _without_interrupts() -> Generator[None, None, None]:
    """Ctrl-C waits until its end; processes that are started meanwhile never have it, from their first moment on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
