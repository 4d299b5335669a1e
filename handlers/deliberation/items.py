"""The items of a lane: found by their ids, with what they hold, and counted by their senders."""

from functools import lru_cache
from typing import NamedTuple

from handlers.deliberation.rows import (
    Closed,
    OpenRow,
    Row,
    Waiting,
    decode,
    decode_held,
    encode,
    held_key,
    item_key,
    sender_key,
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


def waiting(item: DeliberationItem, view: Surroundings[Row]) -> int:
    """How many items of its sender wait."""
    row = view.row(sender_key(item.tenant_id, item.sender))
    known = None if row is None else decode(row)
    return known.count if isinstance(known, Waiting) else 0


def one_more(item: DeliberationItem, view: Surroundings[Row]) -> Effect[Row]:
    """Counts one more item of the sender."""
    return Keep(sender_key(item.tenant_id, item.sender), encode(Waiting(count=waiting(item, view) + 1)))


def one_less(item: DeliberationItem, view: Surroundings[Row]) -> Effect[Row]:
    """Counts one item of the sender less."""
    key, left = sender_key(item.tenant_id, item.sender), waiting(item, view) - 1
    return Forget(key) if left < 1 else Keep(key, encode(Waiting(count=left)))
