"""The items of a lane: found by their ids, with what they hold, and counted by their senders."""

from functools import lru_cache
from typing import NamedTuple

from handlers.deliberation.rows import (
    Closed,
    OpenRow,
    Row,
    Unverified,
    Waiting,
    decode,
    decode_held,
    encode,
    held_key,
    item_key,
    sender_key,
    unverified_key,
)
from schemas import envelope
from schemas.deliberation import DeliberationItem
from schemas.effects import Effect, Forget, Headers, Keep, Surroundings

_ITEMS_KEPT = 256


class Held(NamedTuple):
    """A record as it is held."""

    value: bytes
    headers: Headers


class Open(NamedTuple):
    """An item that waits: its terms and how it stands."""

    item: DeliberationItem
    row: OpenRow


def find(item_id: str, view: Surroundings[Row]) -> Open | Closed | None:
    """The item of that id.

    Raises:
        LookupError: it waits, but its record is gone; what asks for it goes to the dead letters.
    """
    row = view.row(item_key(item_id))
    known = None if row is None else decode(row)
    if isinstance(known, OpenRow):
        return Open(_terms(held_of(item_id, view)), known)
    return known if isinstance(known, Closed) else None


def held_of(item_id: str, view: Surroundings[Row]) -> Held:
    """The record that an item holds.

    Raises:
        LookupError: it is gone.
    """
    row = view.row(held_key(item_id))
    if row is None:
        raise LookupError(f"item {item_id} waits, but what it holds is gone")
    return Held(*decode_held(row))


def terms(item_id: str, view: Surroundings[Row]) -> DeliberationItem:
    """The terms of an item whose record is held. Raises as held_of()."""
    return _terms(held_of(item_id, view))


def _terms(held: Held) -> DeliberationItem:
    said = next((content for name, content in held.headers if name == envelope.ITEM), None)
    return _read(said or b"")


@lru_cache(_ITEMS_KEPT)
def _read(said: bytes) -> DeliberationItem:
    return DeliberationItem.model_validate_json(said)


def size_of(held: Held) -> int:
    """How many bytes a lane keeps of a record."""
    return len(held.value) + sum(len(name) + len(content or b"") for name, content in held.headers)


def crowded(item: DeliberationItem, held: Held, view: Surroundings[Row]) -> str | None:
    """Why no more of its sender's, or of all unverified senders', may wait here; None if there is room.

    What was reopened has room: an approver has signed for it.
    """
    policy = view.control.policy
    if item.generation > 0:
        return None
    if waiting(item, view) >= policy.max_held_per_sender:
        return f"{item.sender!a} has {policy.max_held_per_sender} items waiting here, as many as it may"
    if item.sender_verified:
        return None
    others, size = _unverified(item, view), size_of(held)
    if others.count >= policy.max_held_unverified or others.bytes + size > policy.max_held_unverified_bytes:
        return (
            f"senders who are not verified have {others.count} items of {others.bytes} bytes waiting here, together as "
            f"many of kind {item.kind} as they may; what is signed by its sender has room of its own"
        )
    return None


def waiting(item: DeliberationItem, view: Surroundings[Row]) -> int:
    """How many items of its sender wait."""
    row = view.row(_sender(item))
    known = None if row is None else decode(row)
    return known.count if isinstance(known, Waiting) else 0


def one_more(item: DeliberationItem, held: Held, view: Surroundings[Row]) -> list[Effect[Row]]:
    """Counts one more item of the sender."""
    counted: Keep[Row] = Keep(_sender(item), encode(Waiting(count=waiting(item, view) + 1)))
    return [counted, *_counted_unverified(item, 1, size_of(held), view)]


def one_less(item: DeliberationItem, held: Held, view: Surroundings[Row]) -> list[Effect[Row]]:
    """Counts one item of the sender less."""
    key, left = _sender(item), waiting(item, view) - 1
    counted: Effect[Row] = Forget(key) if left < 1 else Keep(key, encode(Waiting(count=left)))
    return [counted, *_counted_unverified(item, -1, -size_of(held), view)]


def _sender(item: DeliberationItem) -> str:
    return sender_key(item.tenant_id, item.sender, verified=item.sender_verified)


def _unverified(item: DeliberationItem, view: Surroundings[Row]) -> Unverified:
    row = view.row(unverified_key(item.kind))
    known = None if row is None else decode(row)
    return known if isinstance(known, Unverified) else Unverified(count=0, bytes=0)


def _counted_unverified(item: DeliberationItem, more: int, size: int, view: Surroundings[Row]) -> list[Effect[Row]]:
    if item.sender_verified:
        return []
    key, known = unverified_key(item.kind), _unverified(item, view)
    after = Unverified(count=known.count + more, bytes=known.bytes + size)
    return [Forget(key) if after.count < 1 else Keep(key, encode(after))]
