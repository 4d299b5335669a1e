"""What a verifier reads: a log whose ends stand still, from a broker or from memory."""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Protocol

from streams.engine.records import Record

Place = tuple[str, int]
"""A topic and a partition of it."""


class Log(Protocol):
    """Committed records as of one moment.

    Whatever a turn of the trail wrote is in it, up to the ends; records after the ends are as if they were not there.
    """

    def begin(self, place: Place) -> int:
        """The first offset that retention has left."""
        ...

    def settled(self, place: Place) -> int:
        """Up to this offset every turn that wrote here is in the trail."""
        ...

    def read(self, place: Place, since: int) -> AsyncGenerator[Sequence[Record], None]:
        """The records from an offset to the end, in batches."""
        ...


class MemoryLog:
    """A log in memory: for tests, and for copies that somebody has changed."""

    def __init__(self, records: Mapping[str, Mapping[int, Sequence[Record]]], begins: Mapping[Place, int]) -> None:
        self._records, self._begins = records, begins

    def begin(self, place: Place) -> int:
        """As given, else 0."""
        return self._begins.get(place, 0)

    def settled(self, place: Place) -> int:
        """The end."""
        found = self._of(place)
        return found[-1].offset + 1 if found else 0

    async def read(self, place: Place, since: int) -> AsyncGenerator[Sequence[Record], None]:
        """All of it at once."""
        yield [record for record in self._of(place) if record.offset >= since]

    def _of(self, place: Place) -> Sequence[Record]:
        topic, partition = place
        return self._records.get(topic, {}).get(partition, ())


class Cursor:
    """Reads a partition forward, with a look ahead. `ahead` is what was read and not yet dropped.

    `on_records` is called with each batch read.
    """

    def __init__(self, log: Log, place: Place, on_records: Callable[[Sequence[Record]], None] = lambda _: None) -> None:
        self._log, self.place, self._on_records = log, place, on_records
        self._at = log.begin(place)
        self._source: AsyncGenerator[Sequence[Record], None] | None = None
        self.ahead: deque[Record] = deque()
        self.ended = False

    async def more(self) -> bool:
        """Reads some more ahead; False at the end."""
        if self._source is None:
            self._source = self._log.read(self.place, self._at)
        while not self.ended:
            try:
                records = await anext(self._source)
            except StopAsyncIteration:
                self.ended = True
                break
            if records:
                self._on_records(records)
                self.ahead.extend(records)
                return True
        return False

    async def take(self, first: int, end: int) -> list[Record]:
        """The records from one offset to another, and forgets what stands before. It may be asked to go back."""
        if first < self._at:
            await self.close()
            self.ahead, self.ended = deque(), False
        self._at = first
        while not (self.ahead and self.ahead[-1].offset >= end - 1) and await self.more():
            pass
        taken: list[Record] = []
        while self.ahead and self.ahead[0].offset < end:
            record = self.ahead.popleft()
            if record.offset >= first:
                taken.append(record)
        self._at = max(first, end)
        return taken

    async def close(self) -> None:
        """Lets go of the reader."""
        if self._source is not None:
            await self._source.aclose()
            self._source = None
