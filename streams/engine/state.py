"""What a lane knows between turns, and how its changelog says it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple

import orjson

from streams.engine.agent import Control
from streams.engine.digest import NO_HASH
from streams.engine.errors import EngineError
from streams.engine.fingerprint import EMPTY, changed
from streams.engine.records import Headers, Record, Row

POSITION_KEY = b"position"
CONTROL_KEY = b"control"
NEW_KEY = b"new"
ACCEPTED_KEY = b"accepted"
ROW_PREFIX = b"row:"

_VERSION = 1
_ROW_VERSION = "row-version"
_ROW_DUE = "row-due"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a lane stands: the row that each transaction writes.

    `offsets` is the next offset to read by input topic, `seq` the number of turns so far, `head` the SHA-256 of the
    last audit record, `clock_ms` the lane's time.
    """

    offsets: dict[str, int]
    seq: int = 0
    head: str = NO_HASH
    clock_ms: int = 0

    def encode(self) -> bytes:
        """The row's value in the changelog."""
        document = {"v": _VERSION, "seq": self.seq, "head": self.head, "clock": self.clock_ms, "offsets": self.offsets}
        return orjson.dumps(document)


def decode_position(value: bytes) -> Position:
    """Reads a position row.

    Raises:
        EngineError: written by a later version of this program.
        ValueError: it is no position row.
    """
    document = orjson.loads(value)
    try:
        if document["v"] != _VERSION:
            raise EngineError(f"position row of version {document['v']}: run a release that knows it")
        offsets, seq, head, clock = (document[name] for name in ("offsets", "seq", "head", "clock"))
        numbers = [seq, clock, *offsets.values()]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("this is no position row") from error
    if not isinstance(head, str) or any(type(number) is not int for number in numbers):
        raise ValueError("this is no position row")
    return Position(offsets, seq, head, clock)


@dataclass(frozen=True, slots=True)
class Accepted:
    """An operator's decision to go on from given positions. It counts for the position `after_seq` only."""

    offsets: dict[str, int]
    after_seq: int
    operator: str
    reason: str

    def encode(self) -> bytes:
        """The record's value in the changelog."""
        document = {"offsets": self.offsets, "after_seq": self.after_seq, "operator": self.operator}
        return orjson.dumps({"v": _VERSION, **document, "reason": self.reason})


def decode_accepted(value: bytes) -> Accepted:
    """Reads an operator's decision."""
    document = orjson.loads(value)
    return Accepted(document["offsets"], document["after_seq"], document["operator"], document["reason"])


class StoredRow(NamedTuple, Generic[Row]):
    """A row in memory: its value, its timer, how often it was written, and the hash of its changelog record."""

    row: Row
    due_ms: int | None
    version: int
    hash: bytes


@dataclass(slots=True)
class LaneState(Generic[Row, Control]):
    """A lane's state as of its last committed turn. `is_new` says that it may begin at the start of the log.

    `fingerprint` is that of `rows`.
    """

    position: Position | None = None
    rows: dict[str, StoredRow[Row]] = field(default_factory=dict[str, StoredRow[Row]])
    fingerprint: int = EMPTY
    control_document: bytes | None = None
    control: Control | None = None
    accepted: Accepted | None = None
    is_new: bool = False

    def put(self, key: str, stored: StoredRow[Row] | None) -> None:
        """Stores a row, or forgets it."""
        was = self.rows.pop(key, None) if stored is None else self.rows.get(key)
        if stored is not None:
            self.rows[key] = stored
        self.fingerprint = changed(
            self.fingerprint, None if was is None else was.hash, None if stored is None else stored.hash
        )


def row_key(key: str) -> bytes:
    """A row's key in the changelog."""
    return ROW_PREFIX + key.encode()


def row_headers(due_ms: int | None, version: int) -> Headers:
    """The headers of a row in the changelog."""
    headers = ((_ROW_VERSION, str(version).encode()),)
    return headers if due_ms is None else (*headers, (_ROW_DUE, str(due_ms).encode()))


def decode_row_headers(headers: Iterable[tuple[str, bytes | None]]) -> tuple[int | None, int]:
    """Due time and version of a row in the changelog."""
    found = {name: int(value) for name, value in headers if value is not None}
    return found.get(_ROW_DUE), found[_ROW_VERSION]


def is_row(record: Record) -> bool:
    """Whether a changelog record is a row of the agent."""
    return record.key is not None and record.key.startswith(ROW_PREFIX)


def decode_row_key(key: bytes) -> str:
    """The agent's key of a row in the changelog."""
    return key[len(ROW_PREFIX) :].decode()
