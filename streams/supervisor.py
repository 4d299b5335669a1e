"""The supervisor: keeps worker processes running until it is told to stop, and leaves none behind."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import IO

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_STEADY_AFTER_S = 60.0
_STOP_S = 25.0


class Event(StrEnum):
    """What happens to a worker."""

    STARTED = "started"
    DIED = "died"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """Something that happened to a worker; `status` is its exit status, negative for a signal, None while it runs."""

    event: Event
    number: int
    pid: int
    status: int | None = None


def lane_worker(*agents: str, chaos: bool = False, first: int = 0) -> Callable[[int], Sequence[str]]:
    """The arguments of Python for a worker of these agents (all if none is named), by its number.

    With `chaos`, operators may have chaos done there. Workers are numbered from `first`, as their metrics ports are.
    """
    options = ("--with-parent", *(("--chaos",) if chaos else ()))
    return lambda number: ("-m", "streams.worker_process", *options, "--number", str(first + number), *agents)


def health_worker(first: int) -> Callable[[int], Sequence[str]]:
    """The arguments of Python for a process of the health table, by its number; metrics ports count up from `first`."""
    return lambda number: ("-m", "streams.health.process", "--with-parent", "--number", str(first + number))


def notary() -> Callable[[int], Sequence[str]]:
    """The arguments of Python for the notary."""
    return lambda _: ("-m", "streams.notary.process", "--with-parent")


def sample(module: str, *arguments: str) -> Callable[[int], Sequence[str]]:
    """The arguments of Python for a sample program."""
    return lambda _: ("-m", module, "--with-parent", *arguments)


def activity_worker(module: str) -> Callable[[int], Sequence[str]]:
    """The arguments of Python for a worker of a module's activities."""
    return lambda _: ("-m", "streams.cli.main", "worker", "--with-parent", module)


class Supervisor:
    """Runs `workers` processes of Python, whose arguments it asks for by their numbers.

    A worker that dies is started again, after a pause that doubles from 0.5 s to 30 s while it keeps dying within a
    minute. One that ends with a status in `final` is not: that ends run(), and `gave_up` has the status. Workers live
    in sessions of their own, so that a terminal's Ctrl-C reaches only the supervisor, which lets them finish their
    turns; they end by themselves if the supervisor is killed.
    """

    def __init__(
        self,
        arguments: Callable[[int], Sequence[str]],
        *,
        workers: int,
        environment: Mapping[str, str] | None = None,
        log: IO[bytes] | None = None,
        on_event: Callable[[WorkerEvent], None] = lambda _: None,
        final: Collection[int] = (),
    ) -> None:
        self._arguments, self._workers, self._log, self._on_event = arguments, workers, log, on_event
        self._final = final
        self.gave_up: int | None = None
        self._environment = {**os.environ, **(environment or {})}
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    @property
    def pids(self) -> dict[int, int]:
        """Process ids of the workers that run, by number."""
        return {number: process.pid for number, process in sorted(self._running.items())}

    async def run(self) -> None:
        """Runs until stop(); on return every worker has ended. Cancelling it ends them as well."""
        keepers = [asyncio.create_task(self._keep(number)) for number in range(self._workers)]
        try:
            await self._stopping.wait()
        finally:
            self._stopping.set()
            await self._end_all()
            await asyncio.gather(*keepers)

    def stop(self) -> None:
        """Lets every worker finish its turns and ends run()."""
        self._stopping.set()

    async def _keep(self, number: int) -> None:
        pause = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            started = time.monotonic()
            process = await self._start(number)
            status = await process.wait()
            del self._running[number]
            if self._stopping.is_set():
                self._on_event(WorkerEvent(Event.STOPPED, number, process.pid, status))
                return
            self._on_event(WorkerEvent(Event.DIED, number, process.pid, status))
            if status in self._final:
                self.gave_up = status
                self.stop()
                return
            lived = time.monotonic() - started
            pause = _FIRST_PAUSE_S if lived > _STEADY_AFTER_S else min(_LONGEST_PAUSE_S, pause * 2)
            await self._sleep(_FIRST_PAUSE_S if status == -signal.SIGKILL else pause)

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._arguments(number),
            stdin=asyncio.subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env=self._environment,
            start_new_session=True,
        )
        self._running[number] = process
        if self._stopping.is_set():
            process.terminate()
        self._on_event(WorkerEvent(Event.STARTED, number, process.pid))
        return process

    async def _end_all(self) -> None:
        processes = list(self._running.values())
        for process in processes:
            process.terminate()
        if processes:
            _, late = await asyncio.wait([asyncio.create_task(p.wait()) for p in processes], timeout=_STOP_S)
            for process in processes if late else ():
                if process.returncode is None:
                    process.kill()

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
