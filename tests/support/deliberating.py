"""Deliberation on a real broker: what it needs installed, and people who decide."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from schemas import topics
from schemas.policy import Policy
from streams import control
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.approvals import ApprovalClient
from streams.engine.client import EngineSettings
from streams.engine.status import State
from streams.installation import Installation
from streams.metrics import Measures
from tests.support.deliberated import registry
from tests.support.kafka import producer
from tests.support.product import PARTITIONS
from tests.support.signing import signer
from tests.support.workers import RunningWorker, running

AGENTS = (topics.GATEWAY_MESSAGES, topics.GATEWAY_DECISIONS, topics.TRIAGE, topics.DELIBERATOR)


async def install(settings: EngineSettings, policy: Policy | None = None, partitions: int = PARTITIONS) -> Naming:
    """Makes the topics and publishes a policy with approvers."""
    await Installation(settings, partitions=partitions, replication=1).create()
    await control.publish(settings, policy or registry())
    return Naming(settings.prefix)


@asynccontextmanager
async def deliberating(
    settings: EngineSettings, policy: Policy | None = None, *more: str
) -> AsyncIterator[RunningWorker]:
    """Runs gateways, triage and deliberation, and perhaps more agents."""
    naming = await install(settings, policy)
    built = build_agents((*AGENTS, *more), naming, Measures(CollectorRegistry()))
    async with running(built, settings) as worker:
        await worker.until(State.RUNNING, len(built) * PARTITIONS)
        yield worker


def client_of(settings: EngineSettings, name: str | None = None, **changes: Any) -> ApprovalClient:  # noqa: ANN401
    """The client of one approver, or of nobody."""
    return ApprovalClient(settings, None if name is None else signer(name), **changes)


async def publish(settings: EngineSettings, *values: bytes, headers: list[tuple[str, bytes]] | None = None) -> None:
    """Messages of agents, to the first partition."""
    topic = f"{settings.prefix}{topics.IN_MESSAGES}"
    async with producer(settings) as made:
        for value in values:
            await made.send_and_wait(topic, value, partition=0, headers=headers)
