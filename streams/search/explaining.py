"""Explaining one id: its places from the index, its records from the log, and the turns that decided on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson
from pydantic import ValidationError

from schemas import envelope, topics
from schemas.audit import AuditRecord
from streams.broker import reading
from streams.engine import dead_letters
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.readable import first_headers
from streams.search import ids, query
from streams.search.building import Installed
from streams.search.causes import READERS, Causes, at
from streams.search.entries import Entry, Reader
from streams.search.errors import UnknownIdError
from streams.search.file import IndexFile
from streams.search.query import KINDS, MAX_PLACES, Row, TurnPlace
from streams.search.reading import At, Found, Places, RecordsAt
from streams.search.story import Line, Piece, Turn, deciding, lines


@dataclass(frozen=True, slots=True)
class Story:
    """What happened to one thing, in order. `is_cut` if it has more records than are told."""

    kind: str
    id: str
    lines: tuple[Line, ...]
    is_cut: bool = False

    def document(self) -> dict[str, object]:
        """For machines; each line with its place, and the turn that decided on it."""
        return {
            "kind": self.kind,
            "id": self.id,
            "cut": self.is_cut,
            "lines": [_document(line) for line in self.lines],
        }


_OURS = frozenset(
    {topics.MESSAGES, topics.DELIVERIES, topics.DELIBERATION, topics.WORKFLOWS, topics.REJECTED},
)
"""Where records from outside stand behind our headers."""


class Asked(NamedTuple):
    """What is to be told: a message, item, workflow or record, its id or place, and all its places in the index."""

    kind: str
    id: str
    rows: list[Row]


async def explain(settings: EngineSettings, installed: Installed, file: IndexFile, given: str) -> Story:
    """The story of a message, an item or a workflow, by its id or the beginning of one, or by a record's place.

    Every line is read from the log; the index only says where to look.

    Raises:
        UnknownIdError, AmbiguousIdError: nothing has this id, or several things begin so.
        IndexFileError: the file cannot be read.
        BrokerError: the broker cannot be reached or refuses.
    """
    asked = lookup(file, given)
    async with reading(settings) as consumer:
        return await tell(Places(settings, consumer), installed, file, asked)


async def tell(places: RecordsAt, installed: Installed, file: IndexFile, asked: Asked) -> Story:
    """The same of what was looked up, with the records from wherever they are read."""
    reader = Reader(installed.prefix)
    kind, named, rows = asked
    is_cut = len(rows) > MAX_PLACES
    rows = rows[:MAX_PLACES]
    found = await places.read((row.topic, row.partition, row.offset) for row in rows)
    pieces = [_piece(row, found) for row in rows]
    pieces += await _named(places, installed, reader, pieces)
    turns = await _turns(places, file, reader, pieces)
    return Story(kind, named, tuple(lines(reader, pieces, turns)), is_cut)


async def _named(places: RecordsAt, installed: Installed, reader: Reader, pieces: Sequence[Piece]) -> list[Piece]:
    """The records that others name as their sources and that the index has nothing of."""
    known, named = {piece.row.at for piece in pieces}, dict[At, int]()
    for piece in pieces:
        record = piece.record
        source = None if record is None else _source(reader, record)
        where = None if source is None or source.decode("utf-8", "replace") in known else _place(source)
        if record is not None and where is not None and where[1] < installed.partitions.get(where[0], 0):
            named[where] = min(record.timestamp, named.get(where, record.timestamp))
    read = await places.read(named)
    return [
        Piece(
            Row(*where, Entry(named[where]) if there.record is None else reader.entry(there.record)),
            there.record,
            there.why_not,
            remembered=False,
        )
        for where, there in read.items()
    ]


def _source(reader: Reader, record: Record) -> bytes | None:
    """The place that our own header names; what came from outside, and what was buried as it came, has none of ours."""
    base, headers = reader.base(record.topic), first_headers(record)
    if base.endswith(topics.dead_letters("")):
        return headers.get(dead_letters.SOURCE)
    return headers.get(envelope.SOURCE) if base in _OURS else None


def _place(source: bytes) -> At | None:
    try:
        topic, partition, offset = envelope.decode_source(source)
    except ValueError:
        return None
    return topic, partition, offset


def lookup(file: IndexFile, given: str) -> Asked:
    """What an id is of, and the places that belong to it.

    Raises:
        UnknownIdError, AmbiguousIdError: nothing has this id, or several things begin so.
        IndexFileError: the file cannot be read.
    """
    begin = query.placed(file, given)
    if begin is None:
        try:
            found = query.find(file, given)
        except UnknownIdError as error:
            raise UnknownIdError(f"{error}, and no record stands at such a place. {_HINT}") from None
        kind, one = found[0]
        return Asked(kind, str(ids.shown(one)), query.belonging(file, found))
    entry = begin.entry
    of = [(kind, one) for kind, one in zip(KINDS, (entry.message, entry.item, entry.workflow), strict=True) if one]
    kind, named = next(((kind, str(ids.shown(one))) for kind, one in of), ("record", begin.at))
    return Asked(kind, named, query.belonging(file, of[:1], [begin]))


_HINT = "'acgs audit search' lists what there is"


def _piece(row: Row, found: Mapping[At, Found]) -> Piece:
    there = found[row.topic, row.partition, row.offset]
    return Piece(row, there.record, there.why_not)


async def _turns(places: RecordsAt, file: IndexFile, reader: Reader, pieces: Sequence[Piece]) -> dict[str, Turn]:
    """The turns of all records that something was decided on, by their places, as the trail says them."""
    records = [piece.record for piece in pieces if piece.record is not None]
    causes = Causes(reader, records)
    decided = {at(one): one for record in records if (one := deciding(reader, causes, record)) is not None}
    audit = f"{reader.prefix}{topics.AUDIT}"
    known: dict[str, TurnPlace] = {}
    for place, record in decided.items():
        agent = READERS.get(reader.base(record.topic))
        turn = None if agent is None else query.turn_of(file, record.topic, record.partition, record.offset, agent)
        if turn is not None:
            known[place] = turn
    read = await places.read((audit, turn.audit_partition, turn.audit_offset) for turn in known.values())
    told: dict[str, Turn] = {}
    for place, turn in known.items():
        there = read[audit, turn.audit_partition, turn.audit_offset].record
        if there is not None and _read_it(there, decided[place], turn):
            told[place] = Turn(turn.agent, turn.lane, turn.seq, at(there))
    return told


def _read_it(audit: Record, record: Record, turn: TurnPlace) -> bool:
    """Whether the audit record itself says that its turn read the record."""
    try:
        said = AuditRecord.model_validate_json(audit.value or b"")
    except ValidationError:
        return False
    is_named = (said.agent, said.lane, said.seq) == (turn.agent, turn.lane, turn.seq)
    return is_named and any(
        part.topic == record.topic and part.partition == record.partition and part.from_ <= record.offset < part.to
        for part in said.inputs
    )


def _document(line: Line) -> dict[str, object]:
    topic, partition, offset = line.place.rsplit("/", 2)
    turn = line.turn
    return {
        "at_ms": line.at_ms,
        "step": line.step,
        "says": line.says,
        "details": list(line.details),
        "topic": topic,
        "partition": int(partition),
        "offset": int(offset),
        "turn": None
        if turn is None
        else {"agent": turn.agent, "lane": turn.lane, "turn": turn.seq, "audit_record": turn.at},
    }


def encoded(story: Story) -> str:
    """The story as one line of JSON."""
    return orjson.dumps(story.document()).decode()
