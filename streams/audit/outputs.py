"""What a lane wrote to one partition: each record found again, in order, among those of other writers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from streams.audit.erased import NOTHING, Erased
from streams.audit.log import Cursor, Log, Place
from streams.engine import dead_letters, digest
from streams.engine.records import Headers, Record
from streams.engine.turn import TIMER, Output

Image = tuple[bytes | None, bytes | None, Headers]
"""Key, value and headers."""

WITHIN_MS = 60_000
"""A turn's records bear the time of its audit record, give or take its transaction and the brokers' clocks."""

_GIVEN_UP_AFTER = 20
"""Turns with something missing, after which a partition is not searched any more: each costs a minute of log."""


@dataclass(slots=True)
class Matched:
    """What became of the records that a turn should have written to one partition.

    `found` are offsets in order. `changed` pairs a record with the one that stands in its place. `missing` are nowhere,
    `gone` may have been deleted by retention, `unsought` were not looked for. `erased` are the offsets of those that
    have left their hashes.
    """

    found: list[int] = field(default_factory=list[int])
    records: list[Record | None] = field(default_factory=list["Record | None"])
    reordered: list[Record] = field(default_factory=list[Record])
    changed: list[tuple[Image, Record]] = field(default_factory=list[tuple[Image, Record]])
    missing: list[Image] = field(default_factory=list[Image])
    gone: int = 0
    erased: list[int] = field(default_factory=list[int])
    unsought: int = 0

    @property
    def is_as_written(self) -> bool:
        """Whether every record is there, in order, unchanged."""
        return not (self.missing or self.changed or self.reordered or self.gone or self.erased or self.unsought)

    @property
    def claimed(self) -> Iterator[int]:
        """The offsets of all records that the turn accounts for."""
        yield from self.found
        yield from (record.offset for record in self.reordered)
        yield from (record.offset for _, record in self.changed)


class Written:
    """One partition that a lane writes to, read beside the lane's turns."""

    def __init__(
        self,
        log: Log,
        place: Place,
        *,
        erased: Erased = NOTHING,
        on_records: Callable[[Sequence[Record]], None] = lambda _: None,
    ) -> None:
        self._erased: dict[bytes, list[int]] = {}
        for offset, hashed in sorted(erased.outputs.get(place, {}).items(), reverse=True):
            self._erased.setdefault(hashed, []).append(offset)
        self._prefix = digest.partition_prefix(*place)
        self._cursor = Cursor(log, place, on_records)
        self.place = place
        self._has_lost_its_start = log.begin(place) > 0
        self._first_ms: int | None = None
        self._poor_turns = 0

    async def find(self, expected: Sequence[Output], at_ms: int) -> Matched:
        """Finds what a turn wrote, if its audit record bears that time."""
        told = Matched()
        if self._poor_turns >= _GIVEN_UP_AFTER:
            told.unsought = len(expected)
            return told
        await self._come_to(at_ms)
        images: list[Image] = [(key, value, tuple(headers)) for key, value, headers, _ in expected]
        taken: set[int] = set()
        lost: list[int] = []
        at = 0
        ahead = self._cursor.ahead
        for number, image in enumerate(images):
            if self._erased and (gone := self._erased_as(image)) is not None:
                told.erased.append(gone)
                told.records.append(None)
                continue
            index: int | None = at
            if at >= len(ahead) or not _is(ahead[at], image):  # else it stands where it should, as nearly all do
                index = await self._index_of(image, at, at_ms + WITHIN_MS)
            if index is None:
                lost.append(number)
                told.records.append(None)
                continue
            taken.add(index)
            record = ahead[index]
            told.found.append(record.offset)
            told.records.append(record)
            at = index + 1
        if lost:
            self._explain(told, images, lost, taken, at_ms)
            at = max((index + 1 for index in taken), default=at)
        for _ in range(at):
            ahead.popleft()
        return told

    def _erased_as(self, image: Image) -> int | None:
        """Where the record stood, if it is erased."""
        key, value, headers = image
        offsets = self._erased.get(digest.output_hash(self._prefix, key, headers, value))
        return offsets.pop() if offsets else None

    async def timers(self, count: int, at_ms: int) -> list[str]:
        """The rows of the next timers in this inbox, at most `count`: the ones that a turn of that time fired."""
        await self._come_to(at_ms)
        found: list[str] = []
        index = 0
        while len(found) < count and await self._reaches(index, at_ms + WITHIN_MS):
            record = self._cursor.ahead[index]
            if record.headers and record.headers[0][0] == TIMER and record.key is not None:
                found.append(record.key.decode("utf-8", "replace"))
            index += 1
        return found

    async def letters(self, at_ms: int) -> list[dead_letters.DeadLetter]:
        """The dead letters near that time."""
        await self._come_to(at_ms)
        found: list[dead_letters.DeadLetter] = []
        index = 0
        while await self._reaches(index, at_ms + WITHIN_MS):
            record = self._cursor.ahead[index]
            index += 1
            try:
                found.append(dead_letters.read(record))
            except (ValueError, KeyError):
                continue
        return found

    async def close(self) -> None:
        """Lets go of the reader."""
        await self._cursor.close()

    async def _come_to(self, at_ms: int) -> None:
        """Forgets what is too old for a turn of that time, so that a long way there takes no memory."""
        ahead = self._cursor.ahead
        while True:
            if ahead and self._first_ms is None:
                self._first_ms = ahead[0].timestamp
            while ahead and ahead[0].timestamp < at_ms - WITHIN_MS:
                ahead.popleft()
            if ahead or not await self._cursor.more():
                return

    async def _index_of(self, image: Image, at: int, until_ms: int) -> int | None:
        ahead = self._cursor.ahead
        while await self._reaches(at, until_ms):
            if _is(ahead[at], image):
                return at
            at += 1
        return None

    async def _reaches(self, index: int, until_ms: int) -> bool:
        """Whether there is a record at that place ahead, from before that time."""
        ahead = self._cursor.ahead
        while index >= len(ahead):
            if (ahead and ahead[-1].timestamp > until_ms) or not await self._cursor.more():
                return False
        return True

    def _explain(self, told: Matched, images: list[Image], lost: list[int], taken: set[int], at_ms: int) -> None:
        ahead = list(self._cursor.ahead)
        is_old = self._first_ms is None or at_ms - WITHIN_MS <= self._first_ms
        if self._has_lost_its_start and is_old and not told.found:
            told.gone = len(lost)
            return
        self._poor_turns += 1
        for number in lost:
            image = images[number]
            free = [index for index in range(len(ahead)) if index not in taken]
            same = next((index for index in free if _is(ahead[index], image)), None)
            like = same if same is not None else next((i for i in free if _resembles(ahead[i], image)), None)
            if like is None:
                told.missing.append(image)
                continue
            taken.add(like)
            told.records[number] = ahead[like]
            if same is None:
                told.changed.append((image, ahead[like]))
            else:
                told.reordered.append(ahead[like])


def _is(record: Record, image: Image) -> bool:
    return record.value == image[1] and record.key == image[0] and tuple(record.headers) == image[2]


def _resembles(record: Record, image: Image) -> bool:
    """Whether it may be that record, changed: all headers are the same, or key, value and the names of headers are."""
    key, value, headers = image
    is_timer = bool(headers) and headers[0][0] == TIMER
    if headers and tuple(record.headers) == headers and not is_timer:
        return True
    names = [name for name, _ in headers] == [name for name, _ in record.headers]
    return record.key == key and names and (record.value == value or not headers)
