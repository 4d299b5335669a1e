"""Workflows on a real broker: what they need installed, and a worker that says of each command what a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from zlib import crc32

import orjson
from prometheus_client import CollectorRegistry

from schemas import topics
from schemas.activity import ActivityCommand, ActivityResult, Attempt, Given, Outcome
from streams import control
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.engine import client
from streams.engine.agent import Agent
from streams.engine.client import EngineSettings
from streams.engine.status import State
from streams.installation import Installation
from streams.metrics import Measures
from streams.workflows import WorkflowClient
from tests.support.kafka import producer
from tests.support.orchestrated import workflow_policy
from tests.support.product import HASH, PARTITIONS
from tests.support.workers import running

Answer = Callable[[ActivityCommand], object]
"""What a worker answers: a result, an Outcome other than completed, or None to keep silent."""


def orchestration(settings: EngineSettings) -> tuple[Agent[Any, Any], ...]:
    """The gateway of workflows and the orchestrator."""
    names = [topics.GATEWAY_WORKFLOWS, topics.ORCHESTRATOR]
    return build_agents(names, Naming(settings.prefix), Measures(CollectorRegistry()))


async def install(settings: EngineSettings, *activities: str, **changes: Any) -> Naming:  # noqa: ANN401
    """Makes the topics and publishes a policy that knows the activities."""
    await Installation(settings, partitions=PARTITIONS, replication=1).create()
    await control.publish(settings, workflow_policy(1, *activities, **changes))
    return Naming(settings.prefix)


@asynccontextmanager
async def orchestrated(
    settings: EngineSettings,
    *activities: str,
    answer: Answer,
    **changes: Any,  # noqa: ANN401
) -> AsyncIterator[None]:
    """Runs the agents of workflows and a worker, under a policy with these changes."""
    await install(settings, *activities, **changes)
    async with running(orchestration(settings), settings) as worker:
        await worker.until(State.RUNNING, 2 * PARTITIONS)
        async with answering(settings, answer):
            yield


def client_of(settings: EngineSettings, **changes: Any) -> WorkflowClient:  # noqa: ANN401
    fields = {"tenant_id": "acme", "requested_by": "ada", "constitutional_hash": HASH, **changes}
    return WorkflowClient(settings, **fields)


@asynccontextmanager
async def answering(settings: EngineSettings, answer: Answer) -> AsyncIterator[None]:
    """A worker of the default queue that answers each command at once."""
    task = asyncio.create_task(_answer(settings, answer))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _answer(settings: EngineSettings, answer: Answer) -> None:
    naming = Naming(settings.prefix)
    commands, results = naming.topic(topics.activities_of(topics.DEFAULT_QUEUE)), naming.topic(topics.ACTIVITY_RESULTS)
    partitions = [client.topic_partition(commands, partition) for partition in range(PARTITIONS)]
    consumer = client.reader(settings)
    await consumer.start()
    try:
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, 0)
        async with producer(settings) as made:
            while True:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    read = [ActivityCommand.model_validate_json(record.value or b"") for record in records]
                    for said in _said(read, answer):
                        value, key = said.model_dump_json().encode(), said.workflow_id.encode()
                        await made.send(results, value, key, crc32(key) % PARTITIONS)
    finally:
        await consumer.stop()


def _said(commands: Sequence[ActivityCommand], answer: Answer) -> list[ActivityResult]:
    return [one for command in commands if (one := _result(command, answer(command))) is not None]


def _result(command: ActivityCommand, answered: object) -> ActivityResult | None:
    if answered is None:
        return None
    about = command.model_dump(include=set(Attempt.model_fields))
    if isinstance(answered, Outcome):
        return ActivityResult(**about, outcome=answered, error="as the test says", worker="worker-1")
    given = answered if isinstance(answered, Given) else Given(value=orjson.loads(orjson.dumps(answered)))
    return ActivityResult(**about, outcome=Outcome.COMPLETED, result=given, worker="worker-1")
