"""A process that serves until it is told to stop: by a signal, or by the end of its parent."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from streams import logs
from streams.engine.worker import Health, settle_garbage
from streams.probes import Probes

_log = logging.getLogger(__name__)


class Service(Protocol):
    """What a process of the product runs."""

    def liveness(self) -> Health:
        """Whether it does its work, or must be started anew."""
        ...

    def readiness(self) -> Health:
        """Whether it can take work."""
        ...

    def stop(self) -> None:
        """Asks it to end what it does and then itself."""
        ...

    async def run(self) -> None:
        """Serves until stop()."""
        ...


async def serve(
    service: Service,
    registry: CollectorRegistry,
    *,
    name: str,
    metrics: tuple[str, int],
    with_parent: bool,
    introduce: Callable[[], None] = lambda: None,
    clients_words: bool = True,
) -> None:
    """Runs a service, with its probes beside it, until SIGTERM, SIGINT or the end of its parent.

    `introduce` is for what people are to read before logs begin, and is called once the probes' address is bound.
    `clients_words` are as for logs.configure().

    Raises:
        SettingsError: the address for metrics cannot be bound.
    """
    host, port = metrics
    with Probes(host, port, registry, liveness=service.liveness, readiness=service.readiness) as probes:
        introduce()
        logs.configure(clients_words=clients_words)
        _log.info("%s serves /metrics, /livez and /readyz on port %d", name, probes.port)
        running = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(number, service.stop)
        if with_parent:
            stop_with_parent(service.stop)
        settle_garbage()
        await service.run()


async def run_until_told(doing: Coroutine[Any, Any, None], *, with_parent: bool) -> None:
    """Runs a program until it ends, or cancels it on SIGTERM, SIGINT or the end of its parent.

    Raises:
        Exception: what it raises by itself.
    """
    running = asyncio.create_task(doing)

    def stop() -> None:
        running.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    if with_parent:
        stop_with_parent(stop)
    await asyncio.wait([running])
    if not running.cancelled():
        running.result()


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
