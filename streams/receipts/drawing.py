"""A turn of the log as a receipt shows it: some of its records in full, of all others their hashes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from schemas import envelope
from schemas.audit import AuditRecord
from schemas.receipt import ShownInput, ShownOutput, ShownTurn
from streams.engine import digest
from streams.engine.records import InputRecord, Record, first_header
from streams.receipts.deciding import Deciding, written_by
from streams.receipts.errors import UnprovableError
from streams.receipts.retaking import Entry, Retaken
from streams.receipts.turns import Read, Wrote, content_id


@dataclass(slots=True)
class Drawing:
    """What a receipt will hold, as it grows: its turns, and the contents of the records shown."""

    contents: dict[str, bytes] = field(default_factory=dict[str, bytes])
    policies: list[str] = field(default_factory=list[str])
    turns: dict[tuple[str, int, int], ShownTurn] = field(default_factory=dict[tuple[str, int, int], ShownTurn])

    def add(self, taken: Retaken, deciding: Deciding, is_ours: Callable[[InputRecord], bool]) -> list[Wrote]:
        """Shows the records of a turn that are ours, every policy that it read, and what it wrote because of ours.

        Returns the latter.
        """
        reads = _reads(taken)
        deciding.begin(_before(taken.entry))
        written = written_by(taken.derived, deciding.agent)
        chosen: dict[int, Wrote] = {}
        shown: list[int] = []
        for index, read in enumerate(reads):
            if deciding.is_control(read.record.topic):
                deciding.follow(read.record.value or b"")
                shown.append(index)
            elif is_ours(read.record):
                shown.append(index)
                follows = deciding.decide(taken.entry.turn, read)
                chosen |= _found(read.record, follows, written, chosen)
        self._show(taken.entry, reads, shown, written, chosen)
        return [chosen[index] for index in sorted(chosen)]

    def add_policy(self, entry: Entry, records: Sequence[Record], deciding: Deciding) -> None:
        """Shows the policies that a turn read, and takes over the last; what it wrote is not looked at."""
        reads = _clocked(_before(entry), [Read(_plain(record), 0) for record in records])
        shown = [index for index, read in enumerate(reads) if deciding.is_control(read.record.topic)]
        deciding.begin(_before(entry))
        for index in shown:
            deciding.follow(reads[index].record.value or b"")
        if (entry.turn.agent, entry.turn.lane, entry.turn.seq) not in self.turns:
            self._show(entry, reads, shown, None, {})

    def add_document(self, document: bytes) -> bytes:
        """Shows a policy by itself."""
        name = self._content(document)
        if name is not None and name not in self.policies:
            self.policies.append(name)
        return document

    def _show(
        self,
        entry: Entry,
        reads: Sequence[Read],
        shown: Iterable[int],
        written: Sequence[Wrote] | None,
        chosen: dict[int, Wrote],
    ) -> None:
        turn = entry.turn
        self.turns[turn.agent, turn.lane, turn.seq] = ShownTurn(
            record=entry.raw,
            previous=entry.previous,
            input_hashes=b"".join(digest.of_input(read.record) for read in reads),
            inputs=tuple(self._input(index, reads[index]) for index in shown),
            output_hashes=None if written is None or not chosen else b"".join(map(_output_hash, written)),
            outputs=tuple(self._output(index, chosen[index]) for index in sorted(chosen)),
        )

    def _input(self, index: int, read: Read) -> ShownInput:
        record, value = read.record, self._content(read.record.value)
        if not all(_is_text(name) for name, _ in record.headers):
            raise UnprovableError(
                f"{record.topic}/{record.partition}/{record.offset} has a header whose name is not UTF-8, which a "
                "receipt cannot show: 'acgs audit verify' proves what was decided on it"
            )
        return ShownInput(
            index=index,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            time=record.timestamp,
            clock=read.clock_ms,
            key=record.key,
            value=value,
            headers=tuple(record.headers),
        )

    def _output(self, index: int, one: Wrote) -> ShownOutput:
        value = self._content(one.value)
        return ShownOutput(
            index=index, topic=one.topic, partition=one.partition, key=one.key, value=value, headers=tuple(one.headers)
        )

    def _content(self, value: bytes | None) -> str | None:
        if value is None:
            return None
        name = content_id(value)
        self.contents[name] = value
        return name


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _found(
    record: InputRecord, follows: Sequence[Wrote], written: Sequence[Wrote], taken: dict[int, Wrote]
) -> dict[int, Wrote]:
    """Where among everything that the turn wrote stands what follows from a record.

    If that is not there, the decision rested on what is not shown: what was written about the record is shown instead.
    """
    found: dict[int, Wrote] = {}
    for one in follows:
        places = [
            index
            for index, other in enumerate(written)
            if index not in taken and (other.topic, other.key, other.value, other.headers) == _image(one)
        ]
        free = [index for index in places if index not in found]
        if not free:
            return _about(record, written)
        first = written[free[0]]
        copies = [index for index in free if written[index].partition != first.partition]
        found |= {index: written[index] for index in (free[0], *copies)}
    return found


def _image(one: Wrote) -> tuple[object, ...]:
    return one.topic, one.key, one.value, one.headers


def _about(record: InputRecord, written: Sequence[Wrote]) -> dict[int, Wrote]:
    source = first_header(record.headers, envelope.SOURCE)
    return {
        index: one
        for index, one in enumerate(written)
        if one.value == record.value and first_header(one.headers, envelope.SOURCE) == source
    }


def _reads(taken: Retaken) -> list[Read]:
    records = [Read(_plain(record), 0) for part in taken.ranges for record in part.records]
    return _clocked(_before(taken.entry), records)


def _clocked(before: AuditRecord | None, reads: Sequence[Read]) -> list[Read]:
    """The records with the lane's time at each."""
    clock, clocked = before.clock if before else 0, list[Read]()
    for read in reads:
        clock = max(clock, read.record.timestamp)
        clocked.append(Read(read.record, clock))
    return clocked


def _before(entry: Entry) -> AuditRecord | None:
    return None if entry.previous is None else AuditRecord.model_validate_json(entry.previous)


def _plain(record: Record) -> InputRecord:
    headers = tuple((name, content) for name, content in record.headers)
    return InputRecord(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, headers
    )


def _output_hash(one: Wrote) -> bytes:
    return digest.output_hash(digest.partition_prefix(one.topic, one.partition), one.key, one.headers, one.value)
