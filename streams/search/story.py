"""The story of a message, an item or a workflow, line by line: what each record says, in words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from schemas import topics
from streams.engine.records import Record
from streams.search.causes import Causes, at, is_timer
from streams.search.entries import Reader
from streams.search.query import Row
from streams.search.sayings import NAMES, ORDER, Saying, say


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn of a lane that decided on a record, as its audit record in the log says; `at` is where that stands."""

    agent: str
    lane: int
    seq: int
    at: str

    @property
    def words(self) -> str:
        """In short."""
        return f"{self.agent}/{self.lane} turn {self.seq}"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened.

    `at_ms` is the broker's time of its record, None where the record is gone and nothing remembers it. `turn` is the
    one that wrote the record; of a record that no lane wrote, and of a timer, the one that read it. `details` belong to
    `says`, a line each.
    """

    at_ms: int | None
    step: str
    says: str
    tone: str
    place: str
    details: tuple[str, ...] = ()
    turn: Turn | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A record of a story: as the index remembers it, and as the log has it, or why it has not.

    One that is not `remembered` stands in neither: another record names its place. Its row has the time of that one.
    """

    row: Row
    record: Record | None
    why_not: str = ""
    remembered: bool = True


def deciding(reader: Reader, causes: Causes, record: Record) -> Record | None:
    """The record in whose turn this one was written; of one that no lane wrote, and of a timer, itself."""
    base = reader.base(record.topic)
    is_from_outside = base.startswith("in.") or base == topics.ACTIVITY_RESULTS or is_timer(record)
    return record if is_from_outside else causes.of(record)


def lines(reader: Reader, pieces: Sequence[Piece], turns: Mapping[str, Turn]) -> list[Line]:
    """The story, in the order in which it happened. `turns` are by the place of the record that was decided on."""
    causes = Causes(reader, (piece.record for piece in pieces if piece.record is not None))
    state: dict[object, object] = {}
    told = _in_order(reader, causes, pieces, turns)
    return [line for piece in told for line in _lines(reader, causes, piece, turns, state)]


def _in_order(reader: Reader, causes: Causes, pieces: Sequence[Piece], turns: Mapping[str, Turn]) -> list[Piece]:
    """By time; at one time in the order in which one record follows from another, then as the partition has them.

    What one turn wrote has the times at which the broker took each topic's part of it, in any order: none of it may
    stand before what it follows from, so that this is taken as early as the earliest that follows.
    """

    def follows(piece: Piece) -> tuple[int, int]:
        return ORDER.get(reader.base(piece.row.topic), len(ORDER)), piece.row.offset

    written: dict[Turn | str, list[Piece]] = {}
    for piece in pieces:
        if (turn := _writing(causes, piece, turns)) is not None:
            written.setdefault(turn, []).append(piece)
    times = {piece.row.at: piece.row.entry.at for piece in pieces}
    for together in written.values():
        last_first = sorted(together, key=follows, reverse=True)
        earliest = accumulate((piece.row.entry.at for piece in last_first), min)
        times |= zip((piece.row.at for piece in last_first), earliest, strict=True)
    return sorted(pieces, key=lambda piece: (times[piece.row.at], *follows(piece)))


def _writing(causes: Causes, piece: Piece, turns: Mapping[str, Turn]) -> Turn | str | None:
    """The turn that wrote a record, or the place of what it decided on if that is all that is known of it."""
    cause = None if piece.record is None else causes.of(piece.record)
    return None if cause is None else turns.get(at(cause), at(cause))


def _lines(
    reader: Reader, causes: Causes, piece: Piece, turns: Mapping[str, Turn], state: dict[object, object]
) -> Iterator[Line]:
    base, record, entry = reader.base(piece.row.topic), piece.record, piece.row.entry
    if record is None:
        yield _missing(NAMES.get(base, base), piece)
        return
    cause = deciding(reader, causes, record)
    turn = None if cause is None else turns.get(at(cause))
    said: list[Saying] = list(say(base, record, causes.said(record), state))
    if piece.remembered and reader.entry(record) != entry:
        said.append(Saying("changed", "the log has another record here than the one that was indexed", "bad"))
    for one in said:
        yield Line(record.timestamp, one.step, one.says, one.tone, piece.row.at, one.details, turn)


def _missing(name: str, piece: Piece) -> Line:
    entry = piece.row.entry
    if not piece.remembered:
        return Line(None, name, piece.why_not, "dim", piece.row.at)
    known = [entry.verdict or name, *(one for one in (entry.reason, entry.defect) if one)]
    return Line(entry.at, name, f"{piece.why_not}; the index remembers: {', '.join(known)}", "dim", piece.row.at)
