"""Reading and writing topics as a user of the broker would."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from streams.engine import client
from streams.engine.admin import Admin, NewTopic
from streams.engine.agent import Agent
from streams.engine.client import EngineSettings
from streams.engine.records import Headers, Record
from streams.engine.restore import read
from streams.engine.state import NEW_KEY

MIB = 1024 * 1024
TIMES = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(4 * MIB)}
"""What the engine asks of topics: the broker's time."""


async def create_topics(
    settings: EngineSettings,
    names: Iterable[str],
    partitions: int,
    configuration: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    different = configuration or {}
    wanted = [NewTopic(name, partitions, 1, {**TIMES, **different.get(name, {})}) for name in dict.fromkeys(names)]
    async with Admin(settings) as admin:
        await admin.create(wanted)
        await admin.wait_for([topic.name for topic in wanted])


async def remove_topics(settings: EngineSettings) -> None:
    """Removes every topic of an installation."""
    async with Admin(settings) as admin:
        await admin.delete([name for name in await admin.topics() if name.startswith(settings.prefix)])


async def install(
    settings: EngineSettings,
    agent: Agent[Any, Any],
    partitions: int = 1,
    configuration: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Makes the topics of an agent that is not in the catalogue, and marks its lanes as new."""
    compact = {agent.topics.changelog: {"cleanup.policy": "compact"}}
    lanes = f"{settings.prefix}lanes"
    await create_topics(
        settings, [*agent.inputs, *agent.written, lanes], partitions, {**compact, **(configuration or {})}
    )
    await mark_as_new(settings, agent, partitions)


async def mark_as_new(settings: EngineSettings, agent: Agent[Any, Any], partitions: int) -> None:
    await write(settings, [(agent.topics.changelog, partition, NEW_KEY, b"{}", ()) for partition in range(partitions)])


Written = tuple[str, int | None, bytes | None, bytes | None, Headers]
"""Topic, partition, key, value and headers of a record to write."""


@asynccontextmanager
async def producer(settings: EngineSettings, **options: Any) -> AsyncIterator[Any]:  # noqa: ANN401
    untyped: Any = aiokafka.AIOKafkaProducer
    made = untyped(
        bootstrap_servers=settings.bootstrap_servers, max_request_size=16 * MIB, max_batch_size=MIB, **options
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def write(settings: EngineSettings, records: Sequence[Written], **options: Any) -> list[tuple[int, int]]:  # noqa: ANN401
    """Writes records in order; returns each one's partition and offset."""
    async with producer(settings, **options) as made:
        sent = [
            await made.send(topic, value, key, partition, headers=list(headers))
            for topic, partition, key, value, headers in records
        ]
        done = [await future for future in sent]
    return [(metadata.partition, metadata.offset) for metadata in done]


async def read_topic(settings: EngineSettings, topic: str) -> list[Record]:
    """Every committed record of a topic, partition after partition."""
    return [record for records in (await read_topics(settings, [topic]))[topic].values() for record in records]


async def read_topics(settings: EngineSettings, topics: Iterable[str]) -> dict[str, dict[int, list[Record]]]:
    """Every committed record of some topics, by topic and partition."""
    async with Admin(settings) as admin:
        counts = await admin.topics()
    found: dict[str, dict[int, list[Record]]] = {}
    consumer = client.reader(settings)
    await consumer.start()
    try:
        for topic in topics:
            found[topic] = {}
            for partition in range(counts[topic]):
                tp = client.topic_partition(topic, partition)
                found[topic][partition] = [r async for batch in read(consumer, tp, None) for r in batch]
    finally:
        await consumer.stop()
    return found


def header(record: Record, name: str) -> bytes | None:
    """The first header of that name."""
    return next((content for given, content in record.headers if given == name), None)


async def delete_records(settings: EngineSettings, topic: str, before: Mapping[int, int]) -> None:
    """Deletes what stands before these offsets, as retention does."""
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    to_delete: Any = RecordsToDelete
    await admin.start()
    try:
        await admin.delete_records(
            {client.topic_partition(topic, p): to_delete(before_offset=o) for p, o in before.items()}
        )
    finally:
        await admin.close()
