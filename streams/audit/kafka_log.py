"""The log of an installation as of one moment, read from its broker."""

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from schemas import topics
from streams.agents.naming import Naming
from streams.audit.facts import InstalledTopics
from streams.audit.log import Place
from streams.broker import SILENT_S, reading, require_topics, told_errors
from streams.engine import client
from streams.engine.admin import Admin
from streams.engine.client import Consumer, EngineSettings, TopicPartition
from streams.engine.records import Record

_POLL_MS = 200
_ASK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Moment:
    """Where each partition begins and ends, taken so that what ends together is whole.

    First the ends up to which writers are held to the trail, then the trail's, then all others': a turn that has
    committed in one of them is in the next.
    """

    begins: Mapping[Place, int]
    settled: Mapping[Place, int]
    ends: Mapping[Place, int]


class KafkaLog:
    """Reads committed records up to the ends of the moment. An async context manager; its consumers end with it."""

    def __init__(self, settings: EngineSettings, moment: Moment) -> None:
        self._settings, self._moment = settings, moment
        self._every: list[Consumer] = []
        self._idle: list[Consumer] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(client.close(consumer, self._settings.turn_timeout) for consumer in self._every))

    def begin(self, place: Place) -> int:
        """As of the moment."""
        return self._moment.begins.get(place, 0)

    def settled(self, place: Place) -> int:
        """As of the moment."""
        return self._moment.settled.get(place, 0)

    async def read(self, place: Place, since: int) -> AsyncGenerator[Sequence[Record], None]:
        """The records up to the end.

        Raises:
            BrokerError: the broker cannot be reached or refuses, or says nothing for 30 s although there is more.
        """
        end = self._moment.ends.get(place, 0)
        if since >= end:
            return
        with told_errors(self._settings):
            consumer = self._idle.pop() if self._idle else await self._started()
            try:
                async for records in self._records(consumer, place, since, end):
                    yield records
            finally:
                self._idle.append(consumer)

    async def _records(
        self, consumer: Consumer, place: Place, since: int, end: int
    ) -> AsyncGenerator[Sequence[Record], None]:
        partition = client.topic_partition(*place)
        consumer.assign([partition])
        consumer.seek(partition, max(since, self.begin(place)))
        heard = time.monotonic()
        while await consumer.position(partition) < end:
            records = (await consumer.getmany(partition, timeout_ms=_POLL_MS)).get(partition, [])
            if records:
                yield records if records[-1].offset < end else [r for r in records if r.offset < end]
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENT_S:
                raise TimeoutError(f"nothing more of {place[0]}/{place[1]} for {SILENT_S:.0f} s")

    async def _started(self) -> Consumer:
        consumer = client.reader(self._settings)
        self._every.append(consumer)
        async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
            await consumer.start()
        return consumer


async def installed(settings: EngineSettings) -> InstalledTopics:
    """The topics of the installation.

    Raises:
        InstallationError: topics of the catalogue are missing.
        BrokerError: the broker cannot be reached or refuses.
    """
    naming = Naming(settings.prefix)
    counts = await require_topics(settings, [naming.topic(topic.name) for topic in topics.catalogue()])
    ours = sorted(name for name in counts if name.startswith(settings.prefix))
    with told_errors(settings):
        async with asyncio.timeout(settings.turn_timeout.total_seconds()), Admin(settings) as admin:
            bounds = await admin.bounds(ours)
    return InstalledTopics(naming, bounds.partitions, bounds.max_bytes)


async def moment(settings: EngineSettings, facts: InstalledTopics) -> Moment:
    """The ends of all partitions as of now. Waits for transactions that are open, as long as one may be.

    Raises:
        BrokerError: the broker cannot be reached or refuses, or a transaction stays open.
    """
    every = [client.topic_partition(topic, p) for topic, count in facts.partitions.items() for p in range(count)]
    audit = [tp for tp in every if tp.topic == facts.naming.topic(topics.AUDIT)]
    async with reading(settings) as committed:
        with told_errors(settings):
            uncommitted = client.reader(settings, uncommitted=True)
            try:
                async with asyncio.timeout(settings.turn_timeout.total_seconds()):
                    await uncommitted.start()
                for consumer in (committed, uncommitted):
                    consumer.assign(every)  # makes all topics known at once; asked for one by one, each takes 0.1 s
                begins = await committed.beginning_offsets(every)
                first = await committed.end_offsets(every)
                trail = await _whole(settings, committed, uncommitted, audit)
                ends = await _whole(settings, committed, uncommitted, every)
            finally:
                await client.close(uncommitted, settings.turn_timeout)
    changelogs = {facts.naming.own(agent).changelog for agent in topics.LANE_AGENTS}
    for tp in every:
        if tp.topic in changelogs:
            ends[tp] = first[tp]  # the trail must reach what a changelog said before the trail was looked at
    return Moment(_places(begins), _places(first), _places({**ends, **trail}))


async def _whole(
    settings: EngineSettings, committed: Consumer, uncommitted: Consumer, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, int]:
    """The ends of partitions, once every transaction that had begun to write before them has ended."""
    ends = await uncommitted.end_offsets(list(partitions))
    patience = settings.transaction_timeout.total_seconds() + settings.turn_timeout.total_seconds()
    async with asyncio.timeout(patience):
        while True:
            now = await committed.end_offsets(list(partitions))
            if all(now[tp] >= end for tp, end in ends.items()):
                return dict(ends)
            await asyncio.sleep(_ASK_EVERY_S)


def _places(offsets: Mapping[TopicPartition, int]) -> dict[Place, int]:
    return {(tp.topic, tp.partition): offset for tp, offset in offsets.items()}
