"""What a lane remembers of its items, and how it is written down.

Rows are kept as they are written and read when they are needed: 100,000 pending items restore fast and stay small.
An item has two rows: `held/`, its record, which never changes, and `item/`, how it stands, which a vote writes anew.
"""

import struct
from functools import lru_cache
from typing import Annotated, Literal

import orjson
from pydantic import Field, TypeAdapter

from schemas.decision import Decision, ItemKind
from schemas.deliberation import CountedVote, DeliberationState
from schemas.effects import Headers
from schemas.model import Contract, Uuid

Row = bytes

BEGAN = "began"
"""The key of the row that says when this lane first ran."""
ACTIVATED = "activated"
"""The key of the row that says which epoch of the policy this lane has put in force last."""

"""The key of the row that says where the queue of what may be reopened begins and ends."""

_count, _header = struct.Struct(">H"), struct.Struct(">Hi")
_HELD_VERSION = b"\x01"
_DECODED_KEPT = 256

Ms = Annotated[int, Field(ge=0)]


class OpenRow(Contract):
    """How an item stands that waits; its terms are in its record.

    `partition` and `offset` are that record's, `opened` is its time.
    """

    v: Literal[1] = 1
    row: Literal["open"] = "open"
    partition: int
    offset: int
    opened: Ms
    votes: tuple[CountedVote, ...] = ()
    reminders: int = 0
    escalated: bool = False


class Closed(Contract):
    """An item that has ended: enough to answer what comes late.

    An expired one that may be reopened is kept whole: as `open`, and at `slot` in the queue of those whose senders are
    verified, or of the others.
    """

    v: Literal[1] = 1
    row: Literal["closed"] = "closed"
    item_id: Uuid
    state: DeliberationState
    closed: Ms
    deadline: Ms | None
    decisions: tuple[Uuid, ...] = ()
    open: OpenRow | None = None
    slot: int | None = None
    verified: bool = False
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


class Unverified(Contract):
    """How many items wait whose senders are not verified, and the bytes of what they hold."""

    v: Literal[1] = 1
    row: Literal["unverified"] = "unverified"
    count: int
    bytes: int


class Kept(Contract):
    """The queue of what may be reopened: slots from `first` to before `next`, some left; how many items, and bytes."""

    v: Literal[1] = 1
    row: Literal["kept"] = "kept"
    first: int
    next: int
    count: int
    bytes: int


class KeptItem(Contract):
    """One that may be reopened, and the bytes of what it holds."""

    v: Literal[1] = 1
    row: Literal["kept item"] = "kept item"
    item_id: Uuid
    bytes: int


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


Known = OpenRow | Closed | Began | Waiting | Unverified | Kept | KeptItem | Activated | Early
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


def kept_key(*, verified: bool) -> str:
    """The key of a queue of what may be reopened: strangers cannot use up the room of senders who sign."""
    return "kept-verified" if verified else "kept-unverified"


def slot_key(slot: int, *, verified: bool) -> str:
    """The key of a place in such a queue."""
    return f"kept/{'verified' if verified else 'unverified'}/{slot}"


def sender_key(tenant_id: str, sender: str, *, verified: bool) -> str:
    """The key of the count of a sender's waiting items. Who only claims the name is another one."""
    return "sender/" + orjson.dumps([tenant_id, sender, *([True] if verified else [])]).decode()


def unverified_key(kind: ItemKind) -> str:
    """The key of what waits of all unverified senders of a kind: a flood of one kind takes no room of the others."""
    return f"unverified/{kind}"


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
    """A record as it is held, byte for byte: the headers' names and contents, then the value."""
    fields = [(name.encode(), content) for name, content in headers]
    lengths = [_header.pack(len(name), -1 if content is None else len(content)) for name, content in fields]
    contents = [part for name, content in fields for part in (name, content or b"")]
    return b"".join((_HELD_VERSION, _count.pack(len(fields)), *lengths, *contents, value))


def decode_held(row: Row) -> tuple[bytes, Headers]:
    """Reads a held record.

    Raises:
        ValueError: a later version of this program wrote it.
    """
    if row[:1] != _HELD_VERSION:
        raise ValueError(f"a held record of version {row[0]}: run a release that knows it")
    (count,) = _count.unpack_from(row, 1)
    at = 1 + _count.size
    lengths = list(_header.iter_unpack(row[at : at + count * _header.size]))
    at += count * _header.size
    headers: list[tuple[str, bytes | None]] = []
    for name_length, length in lengths:
        name = row[at : at + name_length].decode()
        at += name_length
        size = max(0, length)
        headers.append((name, None if length < 0 else row[at : at + size]))
        at += size
    return row[at:], tuple(headers)
