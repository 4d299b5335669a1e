"""Breaker events, and a health table in a test's own event loop."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from zlib import crc32

import aiohttp
from prometheus_client import CollectorRegistry

from handlers.health import Place, aged, folded
from schemas import envelope, topics
from schemas.breaker import BreakerEvent, BreakerEventKind, BreakerState
from schemas.health import ServiceHealth, SystemHealth
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.engine.agent import Agent
from streams.engine.client import EngineSettings
from streams.engine.status import State
from streams.health.process import HealthProcess
from streams.health.rows import decode
from streams.health.settings import HealthSettings
from streams.metrics import Measures
from tests.support.eventually import eventually
from tests.support.kafka import header, read_topic, write
from tests.support.product import HASH, PARTITIONS
from tests.support.workers import running

_numbers = itertools.count()


def event(
    service: str = "payments",
    state: BreakerState = BreakerState.CLOSED,
    **changes: Any,  # noqa: ANN401
) -> BreakerEvent:
    """An event with a sequence higher than that of any before."""
    said = {
        "event_id": str(uuid.uuid4()),
        "kind": BreakerEventKind.STATE_CHANGE,
        "service": service,
        "breaker": "ledger",
        "instance": "host-1",
        "sequence": next(_numbers),
        "state": state,
        "at": "2026-01-31T09:30:00Z",
        "constitutional_hash": HASH,
        **changes,
    }
    return BreakerEvent.model_validate({**said, "kind": BreakerEventKind(said["kind"])})


def gateway(settings: EngineSettings) -> tuple[Agent[Any, Any], ...]:
    """The gateway of breaker events."""
    return build_agents([topics.GATEWAY_BREAKERS], Naming(settings.prefix), Measures(CollectorRegistry()))


async def publish(settings: EngineSettings, events: Iterable[BreakerEvent]) -> None:
    """Publishes events as services do, those of a service in their order."""
    topic = Naming(settings.prefix).topic(topics.IN_BREAKERS)
    await write(
        settings,
        [
            (topic, crc32(one.service.encode()) % PARTITIONS, one.service.encode(), one.model_dump_json().encode(), ())
            for one in events
        ],
    )


class RunningHealth:
    """A health table and what it serves."""

    def __init__(self, process: HealthProcess, registry: CollectorRegistry) -> None:
        self.process, self.registry = process, registry
        self.task = asyncio.create_task(process.run())

    async def get(self, path: str = "/health", **headers: str) -> tuple[int, dict[str, Any]]:
        """What GET answers: the status and the document."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.process.port}{path}", headers=headers) as answer,
        ):
            return answer.status, await answer.json()

    async def status(self, service: str) -> str:
        """How a service stands, over HTTP."""
        self.raise_if_ended()
        _, document = await self.get(f"/health/{service}")
        return str(document["status"])

    async def until(self, service: str, status: str) -> None:
        """Returns once the service has that status, over HTTP."""

        async def has() -> bool:
            return await self.status(service) == status

        await eventually(has)

    def folded(self) -> tuple[float, float]:
        """How many events it has folded, and how many it had folded before."""
        kinds = ({"kind": "folded"}, {"kind": "repeated"})
        new, repeated = (self.registry.get_sample_value("acgs_breaker_events_total", one) or 0 for one in kinds)
        return new, repeated

    def raise_if_ended(self) -> None:
        if self.task.done():
            self.task.result()
            raise AssertionError("the health table ended by itself")


@asynccontextmanager
async def health_table(settings: EngineSettings, **own: Any) -> AsyncIterator[RunningHealth]:  # noqa: ANN401
    """A health table that is ready; stopped in good order at the end."""
    registry = CollectorRegistry()
    async with HealthProcess(settings, HealthSettings(port=0, **own), registry) as process:
        started = RunningHealth(process, registry)
        try:
            await eventually(lambda: process.readiness().ok, account=process.readiness)
            yield started
        finally:
            process.stop()
            await started.task


@asynccontextmanager
async def observed(settings: EngineSettings, **own: Any) -> AsyncIterator[RunningHealth]:  # noqa: ANN401
    """The gateway of breaker events and a health table."""
    async with running(gateway(settings), settings) as worker:
        await worker.until(State.RUNNING, PARTITIONS)
        async with health_table(settings, **own) as health:
            yield health


async def rows(settings: EngineSettings) -> dict[str, ServiceHealth]:
    """The last row of each service on `health`."""
    found: dict[str, ServiceHealth] = {}
    for record in await read_topic(settings, Naming(settings.prefix).topic(topics.HEALTH)):
        key = (record.key or b"").decode()
        if record.value is None:
            found.pop(key, None)
        else:
            found[key] = decode(record.value)
    return found


async def system_rows(settings: EngineSettings) -> list[SystemHealth]:
    """Every row of the system's, in order."""
    records = await read_topic(settings, Naming(settings.prefix).topic(topics.SYSTEM_HEALTH))
    return [SystemHealth.model_validate_json(record.value or b"") for record in records]


async def folded_apart(settings: EngineSettings) -> dict[str, ServiceHealth]:
    """What a fold of everything on `breakers` comes to, apart from any table and without a look in between."""
    found: dict[str, ServiceHealth] = {}
    for record in await read_topic(settings, Naming(settings.prefix).topic(topics.BREAKERS)):
        if header(record, envelope.SOURCE) is None:
            continue
        told = BreakerEvent.model_validate_json(record.value or b"")
        place = Place(record.partition, record.offset)
        row = folded(found.get(told.service), told, place, record.timestamp, is_critical=False)
        assert row is not None
        found[told.service] = row
    return {name: row for name, row in found.items() if row.breakers}


def agree(written: dict[str, ServiceHealth], apart: dict[str, ServiceHealth]) -> None:
    """That both say the same of every service, whenever they were written, at a time later than both."""
    assert written.keys() == apart.keys()
    now_ms = max((row.as_of for row in (*written.values(), *apart.values())), default=0)
    for name, row in written.items():
        assert aged(row, now_ms) == aged(apart[name], now_ms)
