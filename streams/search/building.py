"""Bringing an index up to date with the topics: committed records only, from where it was left."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.audit.log import Place
from streams.broker import SILENT_S, reading, told_errors
from streams.engine import client
from streams.engine.admin import Admin
from streams.engine.client import Consumer, EngineSettings, TopicPartition
from streams.engine.records import Record
from streams.errors import InstallationError
from streams.search.entries import Entry, Reader, TurnEntry
from streams.search.errors import IndexFileError
from streams.search.file import Batch, IndexFile, Reached

_POLL_MS = 20
"""How long one look waits for records: at an end, only transaction markers may be left, which nobody is told of."""
_FOLLOW_MS = 500
_AT_ONCE = 20_000
_LOOK_AROUND_S = 60.0
"""How often one who follows looks for topics that are new."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: offsets read of those there are to read, and records indexed since `began_s` (monotonic)."""

    done: int
    total: int
    records: int
    began_s: float


@dataclass(frozen=True, slots=True)
class Built:
    """What was added, in how long, and what had been deleted by retention before it was indexed, by partition."""

    records: int
    turns: int
    took_s: float
    lost: Mapping[Place, int] = field(default_factory=dict[Place, int])


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Installed:
    """Which installation this is, and its topics' partitions."""

    cluster: str
    prefix: str
    partitions: Mapping[str, int]

    def open(self, path: Path) -> IndexFile:
        """Its index.

        Raises:
            IndexFileError: the file is something else, or another installation's.
        """
        return IndexFile.open(path, cluster=self.cluster, prefix=self.prefix)


async def look(settings: EngineSettings) -> Installed:
    """Asks the broker.

    Raises:
        InstallationError: there is no topic of this prefix.
        BrokerError: the broker cannot be reached or refuses.
    """
    with told_errors(settings):
        async with asyncio.timeout(settings.turn_timeout.total_seconds()), Admin(settings) as admin:
            cluster, every = await admin.cluster_id(), await admin.topics()
    reader = Reader(settings.prefix)
    ours = {name: count for name, count in sorted(every.items()) if reader.wants(name)}
    if not ours:
        raise InstallationError(
            f"there are no topics of prefix '{settings.prefix}' at {settings.bootstrap_servers}: "
            "'acgs topics create' makes them"
        )
    return Installed(cluster, settings.prefix, ours)


class Builder(AbstractAsyncContextManager["Builder"]):
    """Reads on where an index was left, and adds at most `at_once` records in one transaction of the file."""

    def __init__(
        self, settings: EngineSettings, installed: Installed, file: IndexFile, *, at_once: int = _AT_ONCE
    ) -> None:
        self._settings, self._installed, self._file, self._at_once = settings, installed, file, at_once
        self._reader = Reader(installed.prefix)
        self._context = reading(settings)
        self._audit = next((name for name in installed.partitions if self._reader.base(name) == "audit"), None)
        self._reached: dict[Place, Reached] = {}
        self._to_check: dict[Place, Reached] = {}

    async def __aenter__(self) -> Self:
        self._consumer: Consumer = await self._context.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._context.__aexit__(kind, error, trace)

    async def catch_up(self, on_progress: OnProgress = lambda _: None) -> Built:
        """Adds everything that is committed by now. Ended at any moment, the next one goes on where it was.

        Raises:
            IndexFileError: the log is not the one that the index was built from, or the file cannot be written.
            BrokerError: the broker cannot be reached or refuses.
        """
        began, now_ms = time.monotonic(), int(time.time() * 1000)
        with told_errors(self._settings):
            ends, lost = await self._begin()
            records, turns = await self._read(ends, began, on_progress)
        await asyncio.to_thread(self._file.finish, now_ms)
        return Built(records, turns, time.monotonic() - began, lost)

    async def follow(self, on_added: Callable[[int], None]) -> None:
        """After catch_up(): adds what comes, for a minute. Then make another Builder: there may be new topics.

        Raises:
            IndexFileError, BrokerError: as catch_up().
        """
        until = time.monotonic() + _LOOK_AROUND_S
        with told_errors(self._settings):
            while time.monotonic() < until:
                now_ms = int(time.time() * 1000)
                batch = self._batch(await self._consumer.getmany(timeout_ms=_FOLLOW_MS, max_records=self._at_once))
                await asyncio.to_thread(self._file.add, batch)
                ends = await self._consumer.end_offsets(list(self._consumer.assignment()))
                if await self._has_reached(ends):
                    await asyncio.to_thread(self._file.finish, now_ms)
                on_added(len(batch.entries))

    async def _begin(self) -> tuple[dict[TopicPartition, int], dict[Place, int]]:
        """Where to read on to, and what is gone; the consumer stands where it must go on."""
        partitions = [
            client.topic_partition(topic, number)
            for topic, count in self._installed.partitions.items()
            for number in range(count)
        ]
        self._consumer.assign(partitions)
        begins = await self._consumer.beginning_offsets(partitions)
        ends = await self._consumer.end_offsets(partitions)
        known, lost = self._file.reached(), dict[Place, int]()
        self._reached, self._to_check = {}, {}
        for partition in partitions:
            place, begin = (partition.topic, partition.partition), begins[partition]
            reached = self._reached[place] = known.get(place, Reached(begin))
            if ends[partition] < reached.next:
                raise self._other_log(place, f"ends at {ends[partition]}, and the index has read to {reached.next}")
            if begin > reached.next:
                lost[place] = begin - reached.next
            start = max(begin, reached.next)
            if reached.last is not None and reached.last >= begin:
                start = reached.last
                self._to_check[place] = reached
            self._consumer.seek(partition, start)
        return ends, lost

    async def _read(self, ends: Mapping[TopicPartition, int], began: float, on_progress: OnProgress) -> tuple[int, int]:
        total = sum(max(0, end - self._reached[tp.topic, tp.partition].next) for tp, end in ends.items())
        records = turns = done = 0
        heard = time.monotonic()
        adding: asyncio.Task[None] | None = None
        try:
            while not await self._has_reached(ends):
                read = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=self._at_once)
                batch = self._batch(read)
                if read:
                    heard = time.monotonic()
                elif time.monotonic() - heard > SILENT_S:
                    raise TimeoutError(f"nothing more of {len(ends)} partitions for {SILENT_S:.0f} s")
                if adding is not None:
                    await adding
                adding = asyncio.create_task(asyncio.to_thread(self._file.add, batch))
                records, turns = records + len(batch.entries), turns + len(batch.turns)
                done += sum(map(len, read.values()))
                on_progress(Progress(min(done, total), total, records, began))
        finally:
            if adding is not None:
                await adding
        last = {
            (tp.topic, tp.partition): self._reached[tp.topic, tp.partition]._replace(
                next=await self._consumer.position(tp)
            )
            for tp in ends
        }
        await asyncio.to_thread(self._file.add, Batch((), (), last))
        on_progress(Progress(total, total, records, began))
        return records, turns

    async def _has_reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        for partition, end in ends.items():
            if await self._consumer.position(partition) < end:
                return False
            if (partition.topic, partition.partition) in self._to_check:
                raise self._other_log((partition.topic, partition.partition), "has lost the last record it had")
        return True

    def _batch(self, read: Mapping[TopicPartition, Sequence[Record]]) -> Batch:
        entries: list[tuple[Place, int, Entry]] = []
        turns: list[TurnEntry] = []
        for partition, records in read.items():
            place = (partition.topic, partition.partition)
            fresh = self._checked(place, records)
            if not fresh:
                continue
            if partition.topic == self._audit:
                self._take_turns(place, fresh, entries, turns)
            else:
                entry = self._reader.entry
                entries += [(place, record.offset, entry(record)) for record in fresh]
            last = fresh[-1]
            self._reached[place] = Reached(last.offset + 1, last.offset, mark(last))
        places = [(partition.topic, partition.partition) for partition in read]
        return Batch(entries, turns, {place: self._reached[place] for place in places})

    def _take_turns(
        self,
        place: Place,
        records: Sequence[Record],
        entries: list[tuple[Place, int, Entry]],
        turns: list[TurnEntry],
    ) -> None:
        for record in records:
            found = self._reader.turns(record)
            if isinstance(found, Entry):
                entries.append((place, record.offset, found))
            else:
                turns += found

    def _checked(self, place: Place, records: Sequence[Record]) -> Sequence[Record]:
        """The records that are new; the one before them must be the one that the index remembers.

        Raises:
            IndexFileError: it is another.
        """
        known = self._to_check.get(place)
        if known is None:
            return records
        del self._to_check[place]
        first = records[0]
        if first.offset != known.last or mark(first) != known.mark:
            raise self._other_log(place, f"has another record at offset {known.last} than the index has read there")
        return records[1:]

    def _other_log(self, place: Place, what: str) -> IndexFileError:
        return IndexFileError(
            f"{self._file.path} was built from another log: {place[0]}/{place[1]} {what}. If the topics were made "
            "anew, delete the file: 'acgs audit index' builds it again. If not, somebody has changed the log: "
            "'acgs audit verify' says what"
        )


def mark(record: Record) -> bytes:
    """What tells a record from another one at the same place."""
    made = hashlib.sha256(b"%d" % record.timestamp)
    for part in (record.key, record.value):
        made.update(b"-" if part is None else b"%d:" % len(part) + part)
    return made.digest()


async def bring_up_to_date(
    settings: EngineSettings, installed: Installed, file: IndexFile, on_progress: OnProgress = lambda _: None
) -> Built:
    """Adds everything that is committed by now.

    Raises:
        IndexFileError: the log is not the one that the index was built from, or the file cannot be written.
        BrokerError: the broker cannot be reached or refuses.
    """
    async with Builder(settings, installed, file) as builder:
        return await builder.catch_up(on_progress)
