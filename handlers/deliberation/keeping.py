"""What has expired and may be reopened: whole records, bounded in number and bytes a lane, the oldest dropped first.

Two queues of rows, of senders who sign and of the others: `kept-QUEUE` says where one begins and ends,
`kept/QUEUE/SLOT` which item is there. What leaves it in the middle leaves a gap, which is passed once.
"""

from handlers.deliberation import records
from handlers.deliberation.items import Held, Open, size_of, terms
from handlers.deliberation.rows import (
    Closed,
    Kept,
    KeptItem,
    Row,
    decode,
    encode,
    held_key,
    item_key,
    kept_key,
    slot_key,
)
from handlers.deliberation.standing import withdrawn_hash
from schemas.decision import ItemKind
from schemas.deliberation import DeliberationItem, DeliberationState
from schemas.effects import Effect, Forget, Keep, Surroundings
from schemas.model import ms
from schemas.policy import Policy

_DROPPED_AT_ONCE = 16
"""How many are dropped in one decision, where a policy has lowered the bounds."""


def may_be_reopened(item: DeliberationItem, held: Held, view: Surroundings[Row]) -> bool:
    """Whether an item that expires now may be reopened: its message is still fit to be acted on, and not too large."""
    is_fit = item.expires_at is None or ms(item.expires_at) > view.clock_ms
    return (
        item.kind is ItemKind.MESSAGE
        and is_fit
        and withdrawn_hash(item, view.control, view.clock_ms) is None
        and view.control.policy.max_reopenable > 0
        and size_of(held) <= view.control.policy.max_reopenable_bytes
    )


def kept(item: DeliberationItem, held: Held, view: Surroundings[Row]) -> tuple[int, list[Effect[Row]]]:
    """Puts an item last in the queue; returns its slot, and what that takes: the first ones go where it is full."""
    policy, verified, size = view.control.policy, item.sender_verified, size_of(held)
    queue = _queue(view, verified=verified)
    slot, first = queue.next, queue.first
    count, total = queue.count + 1, queue.bytes + size
    effects: list[Effect[Row]] = [
        Keep(slot_key(slot, verified=verified), encode(KeptItem(item_id=item.item_id, bytes=size)))
    ]
    for _ in range(_DROPPED_AT_ONCE):
        if count <= policy.max_reopenable and total <= policy.max_reopenable_bytes:
            break
        first = _passed(first, slot, view, verified=verified)
        oldest = _item_in(first, view, verified=verified)
        if oldest is None:
            break
        effects += _dropped(first, oldest, view, verified=verified)
        first, count, total = first + 1, count - 1, total - oldest.bytes
    first = _passed(first, slot, view, verified=verified)
    after = Kept(first=first, next=slot + 1, count=count, bytes=total)
    return slot, [*effects, Keep(kept_key(verified=verified), encode(after))]


def released(closed: Closed, view: Surroundings[Row]) -> list[Effect[Row]]:
    """Takes an item out of the queue that is reopened or forgotten; nothing where it is not in it."""
    verified = closed.verified
    queue = _queue(view, verified=verified)
    item = None if closed.slot is None else _item_in(closed.slot, view, verified=verified)
    if closed.slot is None or item is None:
        return []
    is_first = closed.slot == queue.first
    first = _passed(closed.slot + 1, queue.next, view, verified=verified) if is_first else queue.first
    left = Kept(first=first, next=queue.next, count=queue.count - 1, bytes=queue.bytes - item.bytes)
    return [Forget(slot_key(closed.slot, verified=verified)), Keep(kept_key(verified=verified), encode(left))]


def forget_ms(closed_ms: int, policy: Policy) -> int:
    """When a closed item is forgotten."""
    return closed_ms + int(policy.keep_closed_items.total_seconds() * 1_000)


def _dropped(slot: int, oldest: KeptItem, view: Surroundings[Row], *, verified: bool) -> list[Effect[Row]]:
    """What the first of the queue held is forgotten; the item stays known, and its status says so."""
    effects: list[Effect[Row]] = [Forget(slot_key(slot, verified=verified)), Forget(held_key(oldest.item_id))]
    row = view.row(item_key(oldest.item_id))
    closed = None if row is None else decode(row)
    if not isinstance(closed, Closed) or closed.open is None:
        return effects
    after = closed.model_copy(update={"open": None, "slot": None})
    told = records.status(
        Open(terms(oldest.item_id, view), closed.open),
        closed.deadline or closed.closed,
        view.control,
        view.clock_ms,
        state=DeliberationState.EXPIRED,
        closed=closed.closed,
        why="it expired, and cannot be reopened any more: as much as may be kept for that has expired since",
    )
    due = forget_ms(closed.closed, view.control.policy)
    return [*effects, Keep(item_key(oldest.item_id), encode(after), due), told]


def _queue(view: Surroundings[Row], *, verified: bool) -> Kept:
    row = view.row(kept_key(verified=verified))
    known = None if row is None else decode(row)
    return known if isinstance(known, Kept) else Kept(first=0, next=0, count=0, bytes=0)


def _item_in(slot: int, view: Surroundings[Row], *, verified: bool) -> KeptItem | None:
    row = view.row(slot_key(slot, verified=verified))
    known = None if row is None else decode(row)
    return known if isinstance(known, KeptItem) else None


def _passed(first: int, end: int, view: Surroundings[Row], *, verified: bool) -> int:
    """The first slot from there on that has not been left."""
    while first < end and view.row(slot_key(first, verified=verified)) is None:
        first += 1
    return first
