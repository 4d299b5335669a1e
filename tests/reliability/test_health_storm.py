"""Health tables that are killed, and a broker that crashes, under a stream of events: no row is wrong."""

import asyncio
import logging
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from handlers.health import aged
from schemas import topics
from schemas.breaker import BreakerEvent, BreakerState
from schemas.health import ServiceHealth, SystemHealthStatus
from streams.agents.naming import Naming
from streams.embedded import EmbeddedKafka, EmbeddedSettings
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.health.rows import decode
from tests.support.broker import Broker, engine_settings
from tests.support.eventually import eventually
from tests.support.follower import Follower
from tests.support.health import agree, event, folded_apart, rows, system_rows
from tests.support.kafka import producer
from tests.support.lifetime import Lifetime, accounted
from tests.support.processes import Machine, ending, of_a_worker
from tests.support.product import PARTITIONS, install_product

PREFIX = "health."
SERVICES, SILENT = 60, 6
PATIENCE = timedelta(seconds=120)
_TTL_S, _SHORT_TTL_S = 600, 5
_AT_ONCE, _PAUSE_S = 50, 0.05
"""1,000 events a second, as long as the tables follow."""
_MOST_BEHIND = 3_000


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What the clients say while the broker is down would bury the account of a failure."""
    for name in ("aiokafka", "faust"):
        caplog.set_level(logging.CRITICAL, name)


class HealthStorm(Lifetime):
    """Machines `a` and `b`, each with a gateway of breaker events and a health table, and services that tell of theirs.

    The first few services fall silent at once, the others go on. An async context manager.
    """

    def __init__(self, folder: Path, *, seed: int = 1) -> None:
        self._folder, self.random = folder, random.Random(seed)  # noqa: S311  # chooses states and faults
        self.kafka = EmbeddedKafka(EmbeddedSettings(folder / "kafka"))
        self.settings: EngineSettings
        self.machines: dict[str, Machine] = {}
        self.sent = self._marks = 0
        self._made: Any = None
        self._telling: asyncio.Task[None]
        self._follower: Follower
        self.written: list[ServiceHealth] = []
        self._seen: set[str] = set()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator["HealthStorm"]:
        await asyncio.to_thread(self.kafka.start)
        try:
            self.settings = engine_settings(Broker(self.kafka.bootstrap_servers), PREFIX, "storm")
            await install_product(self.settings)
            self.machines = {name: self._machine(name) for name in "ab"}
            with ending(list(self.machines.values())):
                async with (
                    producer(self.settings, enable_idempotence=True, request_timeout_ms=120_000) as self._made,
                    Follower(self.settings, [Naming(PREFIX).topic(topics.HEALTH)], self._take) as self._follower,
                ):
                    for machine in self.machines.values():
                        machine.start()
                    self._telling = asyncio.create_task(self._tell_on())
                    try:
                        with accounted(self.account):
                            yield self
                    finally:
                        await self._be_quiet()
        finally:
            await asyncio.to_thread(self.kafka.stop)

    def account(self) -> str:
        return "\n".join(machine.account() for machine in self.machines.values())

    async def is_seen(self) -> None:
        """Returns once what is told from now on has become a row, on every partition."""
        marks: dict[int, str] = {}
        while len(marks) < PARTITIONS:
            self._marks += 1
            name = f"mark-{self._marks}"
            marks.setdefault(crc32(name.encode()) % PARTITIONS, name)
        for name in marks.values():
            await self._send(event(name, ttl_s=_TTL_S))

        def have_rows() -> bool:
            self._follower.raise_if_ended()
            return set(marks.values()) <= self._seen

        await eventually(have_rows, PATIENCE, self.account)

    def _take(self, topic: str, record: Record) -> None:
        del topic
        if record.value is not None:
            row = decode(record.value)
            self.written.append(row)
            self._seen.add(row.service)

    async def kill(self, *names: str) -> None:
        """Kills machines, and starts them again once the others, if there are some, have gone on."""
        for name in names:
            self.machines[name].kill()
        if len(names) < len(self.machines):
            await self.is_seen()
        for name in names:
            self.machines[name].start()
        await self.is_seen()

    async def crash_the_broker(self) -> None:
        await asyncio.to_thread(self.kafka.kill)
        await asyncio.to_thread(self.kafka.restart)
        await self.is_seen()

    async def _tell_on(self) -> None:
        for number in range(SILENT):
            await self._send(event(f"service-{number}", ttl_s=_SHORT_TTL_S))
        while True:
            await asyncio.sleep(_PAUSE_S)
            for _ in range(_AT_ONCE if self.sent - len(self.written) < _MOST_BEHIND else 0):
                service = f"service-{self.random.randrange(SILENT, SERVICES)}"
                state = self.random.choice(list(BreakerState))
                await self._send(event(service, state, breaker=self.random.choice("xyz"), ttl_s=_TTL_S), wait=False)

    async def _send(self, told: BreakerEvent, *, wait: bool = True) -> None:
        key = told.service.encode()
        topic, partition = Naming(PREFIX).topic(topics.IN_BREAKERS), crc32(key) % PARTITIONS
        sent = await self._made.send(topic, told.model_dump_json().encode(), key, partition)
        if wait:
            await sent
        self.sent += 1

    def _machine(self, name: str) -> Machine:
        worker = of_a_worker(self.kafka.bootstrap_servers, PREFIX, name)
        table = {**worker, "ACGS_HEALTH_PORT": "0"}
        gateway = ("-m", "streams.worker_process", "--with-parent", topics.GATEWAY_BREAKERS)
        return Machine(
            name, [(gateway, worker), (("-m", "streams.health.process", "--with-parent"), table)], self._folder
        )

    async def _be_quiet(self) -> None:
        self._telling.cancel()
        await asyncio.wait([self._telling])

    async def prove(self) -> dict[str, int]:
        """Ends the telling. Every row ever written is as it should be, and the last of each is a fold apart."""
        await self._be_quiet()
        await self.is_seen()

        async def has_settled() -> bool:
            found = await rows(self.settings)
            return all(found[f"service-{number}"].status is SystemHealthStatus.UNKNOWN for number in range(SILENT))

        await eventually(has_settled, PATIENCE, self.account)
        last: dict[str, tuple[int, int]] = {}
        for row in self.written:
            assert aged(row, row.as_of) == row, "a row calls something what it was not when it was written"
            assert (row.offset, row.as_of) >= last.get(row.service, (-1, -1)), "a row has gone back"
            last[row.service] = row.offset, row.as_of
        agree(await rows(self.settings), await folded_apart(self.settings))
        system = (await system_rows(self.settings))[-1]
        assert system.status in {SystemHealthStatus.UNKNOWN, SystemHealthStatus.CRITICAL}
        assert system.services[SystemHealthStatus.UNKNOWN] == SILENT
        return {"sent": self.sent, "rows": len(self.written), "services": len(last)}


@pytest.mark.timeout(600)
async def test_whatever_is_killed_every_row_is_a_fold_computed_apart_and_silence_is_never_healthy(
    tmp_path: Path,
) -> None:
    async with HealthStorm(tmp_path) as storm:
        await storm.is_seen()
        await storm.kill("a")
        await storm.crash_the_broker()
        await storm.kill("a", "b")
        figures = await storm.prove()
    assert figures["services"] >= SERVICES, figures


@pytest.mark.storm
@pytest.mark.timeout(0)
async def test_a_long_storm_of_breaker_events(tmp_path: Path) -> None:
    rounds = int(os.environ.get("ACGS_STORM_HEALTH_ROUNDS", "30"))
    async with HealthStorm(tmp_path, seed=int(os.environ.get("ACGS_STORM_SEED", "1"))) as storm:
        faults: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: storm.kill(storm.random.choice("ab")),
            lambda: storm.kill("a", "b"),
            storm.crash_the_broker,
        )
        await storm.is_seen()
        for _ in range(rounds):
            await storm.random.choice(faults)()
        await storm.prove()
