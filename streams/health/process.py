"""The process of the health table: the fold on Faust, the board that everybody reads, and both served.

`python -m streams.health.process`: a Supervisor starts it; it ends when its parent does.
"""

import argparse
import asyncio
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NoReturn, Self

from prometheus_client import CollectorRegistry

from handlers.system_health import SystemFold
from schemas import topics
from schemas.health import ServiceHealth, SystemHealth
from streams import logs
from streams.agents.health import HealthTable, TableStuckError
from streams.agents.naming import Naming
from streams.broker import require_topics
from streams.engine.client import EngineSettings
from streams.engine.worker import Health
from streams.errors import StreamsError
from streams.following import Follower
from streams.health import settings as health_settings
from streams.health.board import HealthBoard, following, now_ms
from streams.health.server import HealthServer
from streams.health.settings import HealthSettings
from streams.loop import run
from streams.metrics import HealthGauges, HealthMeasures
from streams.policy_in_force import PolicyInForce
from streams.serving import serve
from streams.settings import Settings, load

_log = logging.getLogger(__name__)

_SYSTEM_AFTER_S: Final = 0.02
"""How long changes of rows are gathered before the system's row is written."""


class HealthProcess:
    """A health table with what it needs and what it feeds. Enter it before use.

    Of all processes of an installation that run it, one writes the system's row: the one that owns the first partition.
    """

    def __init__(self, settings: EngineSettings, own: HealthSettings, registry: CollectorRegistry) -> None:
        self._settings, self._own, self._measures = settings, own, HealthMeasures(registry)
        self._fold, self._policy = SystemFold(), PolicyInForce()
        self._board = HealthBoard(Naming(settings.prefix), on_row=self._changed, on_stale=self._stale)
        self._table: HealthTable | None = None
        self._follower: Follower | None = None
        self._failure: StreamsError | None = None
        self._entered = AsyncExitStack()
        self._is_due = asyncio.Event()
        self._log_ms = 0
        self._server = HealthServer(own, self._board)
        HealthGauges(registry, lambda: [one.row for one in self._board.services(now_ms())], self._system)

    async def __aenter__(self) -> Self:
        """Finds the topics, follows what it reads, and serves.

        Raises:
            InstallationError: a topic is missing.
            BrokerError: the broker cannot be reached or refuses.
            SettingsError: the address for health cannot be bound.
        """
        naming = Naming(self._settings.prefix)
        control, breakers = naming.topic(topics.CONTROL), naming.topic(topics.BREAKERS)
        counts = await require_topics(self._settings, [breakers, naming.topic(topics.HEALTH), control])
        async with AsyncExitStack() as entering:
            folder = entering.enter_context(tempfile.TemporaryDirectory(prefix="acgs-health-"))
            policies = Follower(self._settings, [control], self._policy.take, self._fail, whole=frozenset({control}))
            entering.push_async_callback(policies.stop)
            await policies.start()
            self._follower = await entering.enter_async_context(following(self._settings, self._board, self._fail))
            await entering.enter_async_context(self._server)
            self._table = HealthTable(
                self._settings,
                partitions=counts[breakers],
                folder=Path(folder),
                is_critical=self._is_critical,
                on_tick=self._tick,
                measures=self._measures,
            )
            self._entered = entering.pop_all()
        _log.info("serving /health on port %d", self._server.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._entered.aclose()

    @property
    def port(self) -> int:
        """The port of /health."""
        return self._server.port

    async def run(self) -> None:
        """Runs until stop().

        Raises:
            StreamsError: it makes no progress, or can no longer follow what it reads: the process is to start anew.
        """
        table = self._running()
        writing = asyncio.create_task(self._write_system(table))
        folding = asyncio.create_task(table.run())
        await asyncio.wait([writing, folding], return_when=asyncio.FIRST_COMPLETED)
        if not folding.done():
            _log.error("the system's row is not written any more: %r", writing.exception())
            table.stop()
            self._failure = self._failure or StreamsError("the system's row is not written any more")
        writing.cancel()
        await asyncio.wait([writing, folding])
        folding.result()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ends run()."""
        self._running().stop()

    def liveness(self) -> Health:
        """As the table's."""
        return self._running().liveness()

    def readiness(self) -> Health:
        """Fails until the table is restored and everything that was there has been read."""
        ready = self._running().readiness()
        is_caught_up = self._follower is not None and self._follower.caught_up.is_set()
        return ready if is_caught_up else Health(ok=False, why=(*ready.why, "the rows are being read"))

    def _running(self) -> HealthTable:
        if self._table is None:
            raise RuntimeError("the health table is not open: async with HealthProcess(...) as process")
        return self._table

    def _is_critical(self, service: str) -> bool:
        policy = self._policy.policy
        return policy is not None and service in policy.critical_services

    def _fail(self, error: StreamsError) -> None:
        self._failure = self._failure or error
        if self._table is not None:
            self._table.stop()

    # The system's row

    def _system(self) -> SystemHealth | None:
        return self._board.system_at(now_ms())

    def _changed(self, service: str, row: ServiceHealth | None, partition: int, offset: int) -> None:
        self._fold.take(service, row, partition, offset)
        self._is_due.set()

    def _stale(self, service: str) -> None:
        if self._table is not None:
            self._table.is_stale(service)

    def _tick(self, log_ms: int) -> None:
        self._log_ms = log_ms
        self._is_due.set()

    async def _write_system(self, table: HealthTable) -> None:
        """Whenever a row has changed, and with each tick."""
        while True:
            await self._is_due.wait()
            await asyncio.sleep(_SYSTEM_AFTER_S)
            self._is_due.clear()
            if table.writes_system and self._follower is not None and self._follower.caught_up.is_set():
                at_ms = max(self._log_ms, self._board.latest_ms)
                await table.write_system(self._fold.at(at_ms, self._board.system))


async def _run(options: argparse.Namespace, settings: Settings, own: HealthSettings) -> None:
    registry = CollectorRegistry()
    client_id = f"{settings.worker_id or socket.gethostname()}-{options.number}"
    engine = settings.engine(client_id=client_id)
    port = settings.metrics_port and settings.metrics_port + options.number
    async with HealthProcess(engine, own, registry) as process:
        try:
            await serve(
                process,
                registry,
                name=f"health table {client_id}",
                metrics=(settings.metrics_host, port),
                with_parent=options.with_parent,
            )
        except TableStuckError as error:
            _end(error)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM, SIGINT or the end of the parent; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m streams.health.process", description=__doc__)
    parser.add_argument("--number", type=int, default=0, help="this process's number among those of one supervisor")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input does")
    options = parser.parse_args(arguments)
    logs.configure()
    try:
        run(_run(options, load(), health_settings.load()))
    except StreamsError as error:
        _log.error("%s", error)
        return 1
    return 0


def _end(error: TableStuckError) -> NoReturn:
    """Ends the process without waiting for threads that may never end."""
    _log.error("%s", error)
    logging.shutdown()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
