"""What a lane remembers of its items, and how it is written down.

Rows are kept as they are written and read when they are needed: 100,000 pending items restore fast and stay small.
A held record has two rows, so that a vote does not write the record again: `held/` never changes, `item/` does.
"""

import struct
from functools import lru_cache
from typing import Annotated, Literal

import orjson
from pydantic import Field, TypeAdapter

from schemas.decision import Decision
from schemas.deliberation import CountedVote, DeliberationItem, DeliberationState
from schemas.effects import Headers
from schemas.model import Contract, Uuid

Row = bytes

BEGAN = "began"
"""The key of the row that says when this lane first ran."""
ACTIVATED = "activated"
"""The key of the row that says which epoch of the policy this lane has put in force last."""

_length = struct.Struct(">i")
_HELD_VERSION = b"\x01"
_DECODED_KEPT = 256

Ms = Annotated[int, Field(ge=0)]


class Open(Contract):
    """An item that waits. `partition` and `offset` are its record's, `opened` that record's time."""

    v: Literal[1] = 1
    row: Literal["open"] = "open"
    item: DeliberationItem
    partition: int
    offset: int
    opened: Ms
    votes: tuple[CountedVote, ...] = ()
    reminders: int = 0
    escalated: bool = False


class Closed(Contract):
    """An item that has ended: enough to answer what comes late. An expired one that may be reopened is kept whole."""

    v: Literal[1] = 1
    row: Literal["closed"] = "closed"
    item_id: Uuid
    state: DeliberationState
    closed: Ms
    deadline: Ms | None
    decisions: tuple[Uuid, ...] = ()
    open: Open | None = None
    reopened_as: Uuid | None = None


class Began(Contract):
    """When the agent first ran on this lane: items from before have their deadlines counted from then."""

    v: Literal[1] = 1
    row: Literal["began"] = "began"
    at: Ms | None = None


class Waiting(Contract):
    """How many items of one sender wait."""

    v: Literal[1] = 1
    row: Literal["waiting"] = "waiting"
    count: int


class Activated(Contract):
    """The last epoch of the policy that this lane has put in force; the lane itself may not have read it yet."""

    v: Literal[1] = 1
    row: Literal["activated"] = "activated"
    epoch: int


class EarlyDecision(Contract):
    """A signed decision whose item is not there yet: its record, and until when it is kept."""

    decision: Decision
    value: str
    source: str
    policy: str
    until: Ms


class Early(Contract):
    """The decisions that wait for one item."""

    v: Literal[1] = 1
    row: Literal["early"] = "early"
    decisions: tuple[EarlyDecision, ...]


Known = Open | Closed | Began | Waiting | Activated | Early
_KNOWN: TypeAdapter[Known] = TypeAdapter(Annotated[Known, Field(discriminator="row")])


def item_key(item_id: str) -> str:
    """The key of an item's row, open or closed."""
    return f"item/{item_id}"


def held_key(item_id: str) -> str:
    """The key of what is held."""
    return f"held/{item_id}"


def early_key(item_id: str) -> str:
    """The key of the decisions that came before their item."""
    return f"early/{item_id}"


def sender_key(tenant_id: str, sender: str) -> str:
    """The key of the count of a sender's waiting items."""
    return "sender/" + orjson.dumps([tenant_id, sender]).decode()


def encode(row: Known) -> Row:
    """A row as it is kept and written."""
    return row.model_dump_json().encode()


@lru_cache(_DECODED_KEPT)
def decode(row: Row) -> Known:
    """Reads a row; what was read last is remembered, since rows never change.

    Raises:
        pydantic.ValidationError: a later version of this program wrote it.
    """
    return _KNOWN.validate_json(row)


def encode_held(value: bytes, headers: Headers) -> Row:
    """What is held, byte for byte, with the headers it is released with."""
    said = orjson.dumps([[name, None if content is None else content.decode("latin-1")] for name, content in headers])
    return b"".join((_HELD_VERSION, _length.pack(len(said)), said, value))


def decode_held(row: Row) -> tuple[bytes, Headers]:
    """Reads what is held.

    Raises:
        ValueError: a later version of this program wrote it.
    """
    if row[:1] != _HELD_VERSION:
        raise ValueError(f"a held record of version {row[0]}: run a release that knows it")
    begin = 1 + _length.size
    end = begin + _length.unpack_from(row, 1)[0]
    said = orjson.loads(row[begin:end])
    return row[end:], tuple((name, None if content is None else content.encode("latin-1")) for name, content in said)
