"""What a turn read: its ranges of records from their topics, and what is wrong with them if something is."""

from collections.abc import Iterator, Sequence

from schemas.audit import AuditRecord
from streams.audit.erased import Erased
from streams.audit.findings import Kind, position
from streams.audit.log import Cursor, Log
from streams.engine import digest
from streams.engine.records import InputRecord, Record
from streams.engine.rerun import Range

_ALL_PAIRS_UP_TO = 64
"""Records of a turn up to which every exchange of two is tried; of larger ones only of neighbours."""

Told = tuple[Kind, str, str | None]
"""What differs, in words, and where."""


class Inputs:
    """The inputs of one lane, read once, forward."""

    def __init__(self, log: Log, lane: int) -> None:
        self._log, self._lane = log, lane
        self._cursors: dict[str, Cursor] = {}

    async def of(self, turn: AuditRecord) -> list[Range]:
        """The turn's records, as they are in the log now, in the order of its ranges."""
        return [
            Range(part.topic, await self._cursor(part.topic).take(part.from_, part.to), part.to) for part in turn.inputs
        ]

    async def close(self) -> None:
        """Lets go of the readers."""
        for cursor in self._cursors.values():
            await cursor.close()

    def deleted(self, turn: AuditRecord) -> str | None:
        """The first range that retention has reached, in words."""
        for part in turn.inputs:
            begin = self._log.begin((part.topic, self._lane))
            if part.from_ < begin and part.count:
                return f"{part.topic}/{self._lane} begins at {begin}; the turn read from {part.from_}"
        return None

    def _cursor(self, topic: str) -> Cursor:
        if topic not in self._cursors:
            self._cursors[topic] = Cursor(self._log, (topic, self._lane))
        return self._cursors[topic]


def fits_with_erased(turn: AuditRecord, ranges: Sequence[Range], erased: Erased) -> bool:
    """Whether the records that are left, with the hashes of the erased ones in their places, are what the turn read."""
    hashes: list[bytes] = []
    for part, found in zip(turn.inputs, ranges, strict=True):
        gone = erased.inputs.get((part.topic, part.partition), {})
        all_of_it = {record.offset: digest.of_input(record) for record in found.records}
        all_of_it |= {offset: hashed for offset, hashed in gone.items() if part.from_ <= offset < part.to}
        if len(all_of_it) != part.count:
            return False
        hashes += [all_of_it[offset] for offset in sorted(all_of_it)]
    return digest.of_hashes(hashes) == turn.input_digest


def differences(turn: AuditRecord, ranges: Sequence[Range]) -> list[Told]:
    """How the records in the log differ from those that the turn says it read; nothing if they do not."""
    told: list[Told] = []
    for part, found in zip(turn.inputs, ranges, strict=True):
        at = f"{part.topic}/{part.partition}/{part.from_} to {part.to}"
        has = len(found.records)
        if has < part.count:
            told.append((Kind.INPUT_REMOVED, f"{part.count} records were read there, {has} are left", at))
        elif has > part.count:
            told.append((Kind.INPUT_ADDED, f"{part.count} records were read there, now there are {has}", at))
    if told or _digest(ranges) == turn.input_digest:
        return told
    return [_of_equal_counts(turn, ranges)]


def _of_equal_counts(turn: AuditRecord, ranges: Sequence[Range]) -> Told:
    hashes = [one for part in ranges for one in _hashes(part)]
    records = [record for part in ranges for record in part.records]
    for one, other in _pairs(len(records)):
        a, b = records[one], records[other]
        if a.topic != b.topic:
            continue
        tried = list(hashes)
        tried[one], tried[other] = digest.of_input(_moved(b, a.offset)), digest.of_input(_moved(a, b.offset))
        if digest.of_hashes(tried) == turn.input_digest:
            place = a.topic, a.partition
            words = f"the records at offsets {a.offset} and {b.offset} have changed places"
            return Kind.INPUT_REORDERED, words, position(place, a.offset)
    places = ", ".join(f"{part.topic}/{part.partition}/{part.from_} to {part.to}" for part in turn.inputs if part.count)
    words = f"of {len(records)} records at least one is not what the turn read"
    return Kind.INPUT_CHANGED, words, places


def _pairs(count: int) -> Iterator[tuple[int, int]]:
    if count <= _ALL_PAIRS_UP_TO:
        yield from ((one, other) for one in range(count) for other in range(one + 1, count))
    else:
        yield from ((one, one + 1) for one in range(count - 1))


def _moved(record: Record, offset: int) -> Record:
    return InputRecord(
        record.topic, record.partition, offset, record.timestamp, record.key, record.value, record.headers
    )


def _digest(ranges: Sequence[Range]) -> str:
    return digest.of_hashes([one for part in ranges for one in _hashes(part)])


def _hashes(part: Range) -> list[bytes]:
    return [digest.of_input(record) for record in part.records]
