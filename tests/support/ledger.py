"""What became of every input so far, read from the topics as it happens."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any, Self

import orjson
from aiokafka.errors import KafkaError

from streams.engine import client
from streams.engine.admin import Admin
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.engine.turn import TIMER
from tests.support.eventually import eventually

SOURCES = ("acgs-source", "counter-source", "lane-source")
"""The headers that say which input a record is about, the farthest back first."""


def source_of(record: Record) -> str | None:
    """The input that an output, a rejection or a dead letter is about."""
    found = dict[str, bytes | None]()
    for name, content in record.headers:
        found.setdefault(name, content)
    return next((found[name].decode() for name in SOURCES if found.get(name)), None)  # type: ignore[union-attr]


class Ledger:
    """Follows input and output topics. `open` are inputs that nothing has been decided on yet."""

    def __init__(self, settings: EngineSettings, *, inputs: list[str], ends: list[str], counts: str) -> None:
        self._settings, self._inputs, self._ends, self._counts = settings, inputs, ends, counts
        self.seen = 0
        self.open: set[str] = set()
        self.early: set[str] = set()
        self.ended: Counter[str] = Counter()
        self.by_topic: Counter[str] = Counter()
        self.doubled: list[str] = []
        self.counted = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *about: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def caught_up(self, more: int = 100, deadline: timedelta = timedelta(seconds=120)) -> None:
        """Returns when that many further inputs have come and all inputs up to then have ended, none of them twice."""
        wanted = self.seen + more
        await eventually(lambda: self._sound() and self.seen >= wanted, deadline, self.account)
        before = frozenset(self.open)
        await eventually(lambda: self._sound() and before.isdisjoint(self.open), deadline, self.account)

    async def ended_everything(self, deadline: timedelta = timedelta(seconds=120)) -> None:
        """Returns when no input is open."""
        await eventually(lambda: self._sound() and not self.open, deadline, self.account)

    def account(self) -> str:
        """In words, for a failed test."""
        return (
            f"{self.seen} inputs, {len(self.open)} open: {sorted(self.open)[:10]}, "
            f"{len(self.doubled)} doubled: {self.doubled[:10]}, decided on before they were read: {len(self.early)}, "
            f"counted in windows: {self.counted}, records by topic: {dict(self.by_topic)}"
        )

    def _sound(self) -> bool:
        assert self._task is not None
        if self._task.done():
            self._task.result()
        assert not self.doubled, self.account()
        return True

    async def _follow(self) -> None:
        consumer: Any = client.reader(self._settings)
        await consumer.start()
        try:
            async with Admin(self._settings) as admin:
                partitions = await admin.topics()
            topics = [*self._inputs, *self._ends, self._counts]
            tps = [client.topic_partition(topic, p) for topic in topics for p in range(partitions[topic])]
            consumer.assign(tps)
            for tp in tps:
                consumer.seek(tp, 0)
            while True:
                try:
                    fetched = await consumer.getmany(timeout_ms=200)
                except KafkaError:  # the broker is down; the storm means it to be
                    await asyncio.sleep(0.2)
                    continue
                for tp, records in fetched.items():
                    for record in records:
                        self._take(tp.topic, record)
        finally:
            await consumer.stop()

    def _take(self, topic: str, record: Record) -> None:
        self.by_topic[topic] += 1
        if topic == self._counts:
            self.counted += orjson.loads(record.value or b"")["count"]
        elif topic in self._inputs:
            if not any(name == TIMER for name, _ in record.headers):
                self.seen += 1
                self._begin(f"{topic}/{record.partition}/{record.offset}")
        elif (source := source_of(record)) is not None and source.rsplit("/", 2)[0] in self._inputs:
            self._end(source)

    def _begin(self, source: str) -> None:
        if source in self.early:
            self.early.remove(source)
        else:
            self.open.add(source)

    def _end(self, source: str) -> None:
        self.ended[source] += 1
        if self.ended[source] > 1:
            self.doubled.append(source)
        elif source in self.open:
            self.open.remove(source)
        else:
            self.early.add(source)
