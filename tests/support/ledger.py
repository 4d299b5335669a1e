"""What became of every input so far, read from the topics as it happens."""

from collections import Counter
from datetime import timedelta

import orjson

from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.engine.turn import TIMER
from tests.support.eventually import eventually
from tests.support.follower import Follower

SOURCES = ("acgs-source", "counter-source", "lane-source")
"""The headers that say which input a record is about, the farthest back first."""


def source_of(record: Record) -> str | None:
    """The input that an output, a rejection or a dead letter is about."""
    found = dict[str, bytes | None]()
    for name, content in record.headers:
        found.setdefault(name, content)
    return next((found[name].decode() for name in SOURCES if found.get(name)), None)  # type: ignore[union-attr]


class Ledger(Follower):
    """Follows input and output topics. `open` are inputs that nothing has been decided on yet."""

    def __init__(self, settings: EngineSettings, *, inputs: list[str], ends: list[str], counts: str) -> None:
        super().__init__(settings, [*inputs, *ends, counts], self._take_one)
        self._inputs, self._counts = inputs, counts
        self.seen = 0
        self.open: set[str] = set()
        self.early: set[str] = set()
        self.ended: Counter[str] = Counter()
        self.by_topic: Counter[str] = Counter()
        self.doubled: list[str] = []
        self.counted = 0

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
        self.raise_if_ended()
        assert not self.doubled, self.account()
        return True

    def _take_one(self, topic: str, record: Record) -> None:
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
