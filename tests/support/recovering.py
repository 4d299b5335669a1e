"""Recoveries on a real broker: what they need installed, services that say how their breakers are, and a worker."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from schemas import topics
from schemas.recovery import RecoveryState, RecoveryStatus
from streams import control
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.engine.client import EngineSettings
from streams.engine.status import State
from streams.installation import Installation
from streams.metrics import Measures
from streams.recovery import RecoveryClient
from streams.recovery.board import statuses
from tests.support.eventually import eventually
from tests.support.kafka import producer
from tests.support.product import HASH, PARTITIONS
from tests.support.recovered import recovery_policy
from tests.support.workers import running
from tests.support.workflows import Answer, answering

AGENTS = (
    topics.GATEWAY_BREAKERS,
    topics.GATEWAY_RECOVERY,
    topics.GATEWAY_WORKFLOWS,
    topics.RECOVERER,
    topics.ORCHESTRATOR,
)


@asynccontextmanager
async def recovering(
    settings: EngineSettings,
    answer: Answer | None,
    *more: str,
    **changes: Any,  # noqa: ANN401
) -> AsyncIterator[None]:
    """Runs the agents, under a policy with these changes, and a worker unless there is none."""
    await install(settings, **changes)
    async with agents_running(settings, *more):
        if answer is None:
            yield
            return
        async with answering(settings, answer):
            yield


async def install(settings: EngineSettings, **changes: Any) -> None:  # noqa: ANN401
    """Makes the topics and publishes a policy with these changes."""
    await Installation(settings, partitions=PARTITIONS, replication=1).create()
    await control.publish(settings, recovery_policy(**changes))


@asynccontextmanager
async def agents_running(settings: EngineSettings, *more: str) -> AsyncIterator[None]:
    """Runs the agents in a worker of their own."""
    built = build_agents((*AGENTS, *more), Naming(settings.prefix), Measures(CollectorRegistry()))
    async with running(built, settings) as worker:
        await worker.until(State.RUNNING, len(built) * PARTITIONS)
        yield


async def breakers(settings: EngineSettings, *said: tuple[str, str]) -> None:
    """Services and the states of their breakers, published as producers do."""
    topic = f"{settings.prefix}{topics.IN_BREAKERS}"
    async with producer(settings) as made:
        for service, state in said:
            event = {
                "event_id": str(uuid.uuid4()),
                "kind": "state_change",
                "service": service,
                "breaker": "calls",
                "instance": "shop-1",
                "sequence": uuid.uuid1().time // 1_000,
                "state": state,
                "at": "2026-01-31T09:30:00Z",
                "ttl_s": 3_600,
                "constitutional_hash": HASH,
            }
            await made.send_and_wait(topic, orjson.dumps(event), partition=0)


def client_of(settings: EngineSettings, **changes: Any) -> RecoveryClient:  # noqa: ANN401
    fields = {"requested_by": "olga", "constitutional_hash": HASH, **changes}
    return RecoveryClient(settings, **fields)


async def until(settings: EngineSettings, state: RecoveryState, service: str = "payments") -> RecoveryStatus:
    """Waits until a service's recovery is in that state."""

    async def found() -> RecoveryStatus | None:
        every = await statuses(settings, frozenset({state}))
        return next((status for status in every if status.service == service), None)

    status: RecoveryStatus = await eventually(found)
    return status
