"""A replay's own topics: made, written in transactions, read back and removed."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager

from pydantic import ValidationError

from schemas import topics
from schemas.policy import Policy
from schemas.topics import Topic
from streams.agents.gateway import ROUTES
from streams.agents.naming import Naming
from streams.broker import records_of, told_errors
from streams.engine import client
from streams.engine.admin import Admin, NewTopic
from streams.engine.client import Batch, EngineSettings, Producer
from streams.engine.turn import Bounds
from streams.errors import ReplayError
from streams.replay.deciding import Written
from streams.replay.marker import AGENTS, BEGUN, FINISHED, Finish, Marker
from streams.replay.prefixes import MARKER, require_free

_KEPT = {"retention.ms": "-1", "message.timestamp.type": "CreateTime"}
"""Records bear the times of the inputs that they follow from, and stay until the replay is removed."""


def catalogue(policy: Policy) -> list[Topic]:
    """The topics, without prefix, that a replay under a policy writes, its marker aside."""
    named = {topic.name: topic for topic in topics.catalogue(policy.tenant_topics)}
    deliveries = (topics.DELIVERIES, *map(topics.deliveries_of, policy.tenant_topics))
    letters = map(topics.dead_letters, AGENTS)
    internal = (route.internal for route in ROUTES)
    names = dict.fromkeys((topics.CONTROL, *internal, topics.REJECTED, topics.DELIBERATION, *deliveries, *letters))
    return [named[name] for name in names]


async def claim(settings: EngineSettings, replication: int) -> None:
    """Makes the topic of the marker. Of several who do so at once one does, and what is under the prefix is its own.

    Raises:
        ReplayError: somebody else has: nothing under the prefix may be touched.
        BrokerError: the broker cannot be reached or refuses.
    """
    own = Naming(settings.prefix).topic(MARKER)
    with told_errors(settings):
        async with Admin(settings) as admin:
            made = await admin.create([NewTopic(own, 1, replication, {**_KEPT, "cleanup.policy": "delete"})])
    if own not in made:
        require_free(settings.prefix, [own])


async def create(settings: EngineSettings, marker: Marker, policy: Policy, bounds: Bounds, replication: int) -> None:
    """Writes the marker, so that what is there is known as a replay's, and makes the other topics. claim() comes first.

    Raises:
        BrokerError: the broker cannot be reached or refuses.
    """
    naming = Naming(settings.prefix)
    own = naming.topic(MARKER)
    with told_errors(settings):
        async with Admin(settings) as admin:
            await admin.wait_for([own])
            async with Writer.of(settings) as writer:
                await writer.write([Written(own, 0, BEGUN, marker.model_dump_json().encode(), (), marker.since)])
            await admin.create([_new(one, naming.topic(one.name), bounds, replication) for one in catalogue(policy)])
            await admin.wait_for(marker.made)


def _new(topic: Topic, name: str, bounds: Bounds, replication: int) -> NewTopic:
    """A topic that takes what decides how large its records may be, which the live one may have otherwise by now."""
    limit = {"max.message.bytes": str(bounds.max_bytes[name])}
    return NewTopic(name, bounds.partitions[name], replication, {**topic.configuration(replication), **limit, **_KEPT})


async def marker_of(settings: EngineSettings) -> tuple[Marker | None, Finish | None]:
    """What a replay under the settings' prefix was made of, None where nothing was written; and its end, if it has one.

    Raises:
        ReplayError: there is none, or a later release has written it.
        BrokerError: the broker cannot be reached or refuses.
    """
    own = Naming(settings.prefix).topic(MARKER)
    with told_errors(settings):
        async with Admin(settings) as admin:
            existing = await admin.topics()
    if own not in existing:
        raise ReplayError(
            f"there is no replay under '{settings.prefix}'; 'acgs replay --into {settings.prefix}' makes one"
        )
    begun, finished = None, None
    try:
        async for record in records_of(settings, own, [0]):
            if record.key == BEGUN:
                begun = Marker.model_validate_json(record.value or b"")
            elif record.key == FINISHED:
                finished = Finish.model_validate_json(record.value or b"")
    except ValidationError as error:
        raise ReplayError(f"{own} is not as this release writes it: use the one that made the replay") from error
    return begun, finished


async def remove(settings: EngineSettings) -> list[str]:
    """Deletes the topics of the replay under the settings' prefix, the marker last; returns their names.

    Only what the marker names is deleted. Safe to repeat.

    Raises:
        ReplayError: there is none, or it names topics of another prefix.
        BrokerError: the broker cannot be reached or refuses.
    """
    begun, _ = await marker_of(settings)
    own = Naming(settings.prefix).topic(MARKER)
    with told_errors(settings):
        async with Admin(settings) as admin:
            existing = await admin.topics()
            named = [name for name in (begun.made if begun else ()) if name in existing]
            if strange := [name for name in named if not name.startswith(settings.prefix)]:
                raise ReplayError(f"the replay names {strange[0]}, which is not its own: nothing was deleted")
            await admin.delete(named)
            await admin.delete([own])
    return [*named, own]


class Writer:
    """Writes in transactions: all of a call or nothing of it."""

    def __init__(self, settings: EngineSettings, producer: Producer) -> None:
        self._settings, self._producer = settings, producer

    @classmethod
    @asynccontextmanager
    async def of(cls, settings: EngineSettings) -> AsyncGenerator["Writer", None]:
        """A writer under the settings' prefix; its start ends what an earlier one of that prefix left open.

        Raises:
            BrokerError: the broker cannot be reached or refuses, then or within the block.
        """
        producer = client.transactional_producer(settings, f"{settings.prefix}{MARKER}")
        try:
            with told_errors(settings):
                async with asyncio.timeout(settings.turn_timeout.total_seconds()):
                    await producer.start()
                yield cls(settings, producer)
        finally:
            await client.abandon(producer)

    async def write(self, records: Sequence[Written]) -> None:
        """Writes records in order; on return they are committed.

        Raises:
            KafkaError, TimeoutError, OSError: they are not, or it is not known.
        """
        groups: dict[tuple[str, int], list[Written]] = {}
        for one in records:
            groups.setdefault((one.topic, one.partition), []).append(one)
        if not groups:
            return
        async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
            await self._producer.begin_transaction()
            sent = [
                await self._producer.send_batch(batch, topic, partition=partition)
                for (topic, partition), group in groups.items()
                for batch in self._batches(group)
            ]
            await asyncio.gather(*sent)
            await self._producer.commit_transaction()

    def _batches(self, records: Iterable[Written]) -> list[Batch]:
        made = [self._producer.create_batch()]
        for one in records:
            if not _fits(made[-1], one):
                made.append(self._producer.create_batch())
                _fits(made[-1], one)
        for batch in made:
            batch.close()
        return made


def _fits(batch: Batch, one: Written) -> bool:
    return batch.append(timestamp=one.at_ms, key=one.key, value=one.value, headers=list(one.headers)) is not None
