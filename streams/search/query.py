"""What is asked of an index: decisions by their fields, and all places that belong to one id."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from streams.audit.log import Place
from streams.search import ids
from streams.search.entries import Entry
from streams.search.errors import AmbiguousIdError, UnknownIdError
from streams.search.file import IndexFile, told
from streams.search.ids import Id

KINDS = ("message", "item", "workflow")
"""What an id may be of."""

MAX_PLACES = 2_000
"""How many records one story has at most; of more the decisions are told first, then all else, by time."""

_NAMED = 10
_AT_ONCE = 500
_PLACE = re.compile(r"(.+)/([0-9]{1,10})/([0-9]{1,18})")
_COLUMNS = f"t.name, r.partition, r.offset, {', '.join(f'r.{name}' for name in Entry._fields)}"
_FROM = f"SELECT {_COLUMNS} FROM records r JOIN topics t ON t.number = r.topic"  # noqa: S608  # names of ours
_ASIDE = frozenset({None, "rejected", "dead-lettered", "resolved", "approve", "veto", "abstain", "reopen"})
"""Verdicts of records that anybody may add to a story, as many as they like, by naming its id."""
_FIRST = f"r.verdict IS NULL OR r.verdict IN ({', '.join(f'{one!r}' for one in sorted(filter(None, _ASIDE)))}), r.at"


class Filter(NamedTuple):
    """Which decisions. Times in milliseconds since 1970, from the first on and before the second; scores 0..10,000.

    `reason` is a code, or words that the reason has. All others are exact.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    agent: str | None = None
    tenant: str | None = None
    reason: str | None = None
    tool: str | None = None
    verdicts: tuple[str, ...] = ()
    min_score: int | None = None
    max_score: int | None = None
    of: tuple[str, Id] | None = None


class Row(NamedTuple):
    """A record that the index knows."""

    topic: str
    partition: int
    offset: int
    entry: Entry

    @property
    def place(self) -> Place:
        """Topic and partition."""
        return self.topic, self.partition

    @property
    def at(self) -> str:
        """Where it stands: `topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class TurnPlace(NamedTuple):
    """The turn that read a record, and where its audit record stands."""

    agent: str
    lane: int
    seq: int
    audit_partition: int
    audit_offset: int


def search(file: IndexFile, wanted: Filter, limit: int) -> list[Row]:
    """The newest decisions that are wanted, the newest first.

    Raises:
        IndexFileError: the file cannot be read.
    """
    conditions, given = ["r.verdict IS NOT NULL"], list[object]()
    for condition, value in (
        ("r.at >= ?", wanted.since_ms),
        ("r.at < ?", wanted.until_ms),
        ("r.agent = ?", wanted.agent),
        ("r.tenant = ?", wanted.tenant),
        ("instr(lower(r.reason), lower(?)) > 0", wanted.reason),
        ("r.tool = ?", wanted.tool),
        ("r.score >= ?", wanted.min_score),
        ("r.score <= ?", wanted.max_score),
    ):
        if value is not None:
            conditions.append(condition)
            given.append(value)
    if wanted.verdicts:
        conditions.append(f"r.verdict IN ({', '.join('?' * len(wanted.verdicts))})")
        given += wanted.verdicts
    if wanted.of is not None:
        kind, one = wanted.of
        conditions.append(f"r.{_column(kind)} = ?")
        given.append(one)
    order = "r.at DESC, r.topic DESC, r.partition DESC, r.offset DESC"
    statement = f"{_FROM} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ?"
    with told(file.path):
        return list(_rows(file.connection.execute(statement, (*given, limit))))


def find(file: IndexFile, given: str, kinds: Sequence[str] = KINDS) -> list[tuple[str, Id]]:
    """What has this id, or begins so: a message, an item or a workflow. More than one only if they share the whole id.

    Raises:
        UnknownIdError: nothing does.
        AmbiguousIdError: several things begin so.
        IndexFileError: the file cannot be read.
    """
    whole = ids.stored(given.strip())
    with told(file.path):
        exact = [(kind, whole) for kind in kinds if whole is not None and _rows_of(file, kind, [whole], 1)]
        begun = exact or list(_beginning(file, given.strip(), kinds))
    if not begun:
        raise UnknownIdError(f"nothing in the index has the id {given!a}, or one that begins so")
    if not exact and len({one for _, one in begun}) > 1:
        named = [(kind, str(ids.shown(one))) for kind, one in begun[:_NAMED]]
        more = " and more" if len(begun) > _NAMED else ""
        words = ", ".join(f"{kind} {one if one.isprintable() else ascii(one)}" for kind, one in named)
        raise AmbiguousIdError(f"several things begin with {given!a}: {words}{more}. Give more of it", named)
    return begun


def _beginning(file: IndexFile, prefix: str, kinds: Sequence[str]) -> Iterator[tuple[str, Id]]:
    for kind in kinds:
        column = _column(kind)
        for low, high in ids.ranges(prefix):
            rows = file.connection.execute(
                f"SELECT DISTINCT {column} FROM records WHERE {column} IS NOT NULL AND {column} >= ? AND {column} < ? "  # noqa: S608
                f"LIMIT {_NAMED + 1}",
                (low, high),
            )
            yield from ((kind, one) for (one,) in rows)


def placed(file: IndexFile, given: str) -> Row | None:
    """The record at a place, `topic/partition/offset`; None if that is no place, or the index has nothing there.

    Raises:
        IndexFileError: the file cannot be read.
    """
    found = _PLACE.fullmatch(given.strip())
    if found is None:
        return None
    with told(file.path):
        return next(iter(_at(file, [(found[1], int(found[2]), int(found[3]))])), None)


def belonging(file: IndexFile, begin: Iterable[tuple[str, Id]], beginning: Iterable[Row] = ()) -> list[Row]:
    """All records that belong to messages, items or workflows, at most MAX_PLACES + 1: decisions first, then by time.

    To a message or a workflow belong its items and what was decided on them, to an item the message that it holds.
    To each record belong those that name its place as their source, and the record at the source that it names.

    Raises:
        IndexFileError: the file cannot be read.
    """
    found = {row.at: row for row in beginning}
    todo: dict[str, set[Id]] = {kind: set() for kind in KINDS}
    for kind, one in begin:
        todo[kind].add(one)
    done: dict[str, set[Id]] = {kind: set() for kind in KINDS}
    asked: set[str] = set()
    with told(file.path):
        while True:
            fresh = [
                row
                for kind in KINDS
                for row in _rows_of(file, kind, sorted(todo[kind] - done[kind], key=str), MAX_PLACES + 1)
            ]
            for kind in KINDS:
                done[kind] |= todo[kind]
            found |= {row.at: row for row in fresh}
            fresh += _by_source(file, [at for at in found if at not in asked])
            asked |= found.keys()
            fresh += _at(file, _sources(found.values(), found.keys()))
            found = _first(found | {row.at: row for row in fresh})
            for row in found.values():
                if row.entry.item is not None:
                    todo["item"].add(row.entry.item)
                if row.entry.message is not None:
                    todo["message"].add(row.entry.message)
            if all(todo[kind] <= done[kind] for kind in KINDS) and asked >= found.keys():
                break
    return list(found.values())


def _first(rows: Mapping[str, Row]) -> dict[str, Row]:
    ordered = sorted(rows.items(), key=lambda one: (one[1].entry.verdict in _ASIDE, one[1].entry.at, one[0]))
    return dict(ordered[: MAX_PLACES + 1])


def turn_of(file: IndexFile, topic: str, partition: int, offset: int, agent: str) -> TurnPlace | None:
    """The turn in which an agent's lane read a record; None if the index knows of none.

    Raises:
        IndexFileError: the file cannot be read.
    """
    statement = (
        "SELECT agent, lane, seq, audit_partition, audit_offset, next FROM turns JOIN topics ON topic = number "
        "WHERE name = ? AND lane = ? AND agent = ? AND first <= ? ORDER BY first DESC LIMIT 1"
    )
    with told(file.path):
        row = file.connection.execute(statement, (topic, partition, agent, offset)).fetchone()
    return TurnPlace(*row[:5]) if row is not None and offset < row[5] else None


def _rows_of(file: IndexFile, kind: str, wanted: Sequence[Id], limit: int) -> list[Row]:
    return [row for some in _some(wanted) for row in _where(file, _column(kind), some, limit)]


def _by_source(file: IndexFile, places: Sequence[str]) -> list[Row]:
    return [row for some in _some(places) for row in _where(file, "source", some, MAX_PLACES)]


def _where(file: IndexFile, column: str, some: Sequence[object], limit: int) -> Iterator[Row]:
    asked = ", ".join("?" * len(some))
    statement = f"{_FROM} WHERE r.{column} IS NOT NULL AND r.{column} IN ({asked}) ORDER BY {_FIRST} LIMIT ?"
    return _rows(file.connection.execute(statement, (*some, limit)))


def _at(file: IndexFile, places: Iterable[tuple[str, int, int]]) -> list[Row]:
    statement = f"{_FROM} WHERE t.name = ? AND r.partition = ? AND r.offset = ?"
    return [row for place in places for row in _rows(file.connection.execute(statement, place))]


def _sources(rows: Iterable[Row], known: Iterable[str]) -> list[tuple[str, int, int]]:
    """The places that records name as their sources and that are not known yet."""
    there = set(known)
    named = {row.entry.source for row in rows if row.entry.source is not None} - there
    found = (_PLACE.fullmatch(one) for one in sorted(named))
    return [(one[1], int(one[2]), int(one[3])) for one in found if one is not None]


def _some(all_: Sequence[object]) -> Iterator[Sequence[object]]:
    for start in range(0, len(all_), _AT_ONCE):
        yield all_[start : start + _AT_ONCE]


def _rows(rows: Iterable[Sequence[object]]) -> Iterator[Row]:
    for topic, partition, offset, *entry in rows:
        yield Row(str(topic), int(str(partition)), int(str(offset)), Entry(*entry))  # type: ignore[arg-type]


def _column(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(kind)
    return kind
