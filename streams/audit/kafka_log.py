"""The log of an installation as of one moment, read from its broker."""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
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
_BATCHES_KEPT = 24
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


_Batch = tuple[Sequence[Record], int]
"""Records, and the position after them."""


class KafkaLog:
    """Reads committed records up to the ends of the moment. An async context manager; its consumers end with it.

    What lanes wrote is read by each lane that may have written it, at much the same time: the last batches are kept.
    """

    def __init__(self, settings: EngineSettings, moment: Moment) -> None:
        self._settings, self._moment = settings, moment
        self._every: list[Consumer] = []
        self._idle: list[Consumer] = []
        self._kept: OrderedDict[tuple[Place, int], _Batch] = OrderedDict()
        self._shared: defaultdict[Place, _Shared] = defaultdict(_Shared)

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
        at = max(since, self.begin(place))
        shared = self._shared[place]
        shared.using += 1
        try:
            with told_errors(self._settings):
                while at < end:
                    records, at = self._kept.get((place, at)) or await self._batch(shared, place, at)
                    yield records if records and records[-1].offset < end else [r for r in records if r.offset < end]
        finally:
            shared.using -= 1
            if not shared.using:
                self._idle += [reader.consumer for reader in shared.readers]
                shared.readers.clear()

    async def _batch(self, shared: "_Shared", place: Place, at: int) -> _Batch:
        async with shared.lock:
            kept = self._kept.get((place, at))
            if kept is None:
                kept = self._kept[place, at] = await (await self._reader(shared, place, at)).fetch(at)
                if len(self._kept) > _BATCHES_KEPT:
                    self._kept.popitem(last=False)
        return kept

    async def _reader(self, shared: "_Shared", place: Place, at: int) -> "_Reader":
        """The consumer that stands there, else one of as many as there are who read the partition."""
        for reader in shared.readers:
            if reader.at == at:
                return reader
        if len(shared.readers) < shared.using:
            shared.readers.append(_Reader(place, self._idle.pop() if self._idle else await self._started()))
        return min(shared.readers, key=lambda reader: reader.at)

    async def _started(self) -> Consumer:
        consumer = client.reader(self._settings)
        self._every.append(consumer)
        async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
            await consumer.start()
        return consumer


class _Reader:
    """A consumer of one partition. `at` is where it stands."""

    def __init__(self, place: Place, consumer: Consumer) -> None:
        self.consumer, self.at = consumer, -1
        self._partition = client.topic_partition(*place)
        consumer.assign([self._partition])

    async def fetch(self, at: int) -> _Batch:
        """What there is next from an offset on: records, or only markers."""
        if at != self.at:
            self.consumer.seek(self._partition, at)
        heard = time.monotonic()
        while True:
            records = (await self.consumer.getmany(self._partition, timeout_ms=_POLL_MS)).get(self._partition, [])
            self.at = await self.consumer.position(self._partition)
            if self.at > at:
                return records, self.at
            if time.monotonic() - heard > SILENT_S:
                topic, partition = self._partition
                raise TimeoutError(f"nothing more of {topic}/{partition} for {SILENT_S:.0f} s")


@dataclass(slots=True)
class _Shared:
    """The consumers of one partition, for all who read it at the moment."""

    using: int = 0
    readers: list[_Reader] = field(default_factory=list[_Reader])
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


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
