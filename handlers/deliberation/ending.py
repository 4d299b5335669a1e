"""The end of an item: who is told, what goes on, and what is remembered."""

from typing import NamedTuple

from handlers.deliberation import records
from handlers.deliberation.entitled import weighed_again
from handlers.deliberation.items import Held, Open, one_less
from handlers.deliberation.keeping import forget_ms, kept, may_be_reopened
from handlers.deliberation.policy_change import proposed
from handlers.deliberation.rows import ACTIVATED, Activated, Closed, Row, encode, held_key, item_key
from handlers.deliberation.standing import began_ms, deadline_ms
from schemas import topics
from schemas.decision import ItemKind
from schemas.deliberation import POLICY_KEY, DeliberationItem, DeliberationState, DeliberationVerdict, digest_of
from schemas.effects import Broadcast, Effect, Forget, Keep, Refused, Surroundings
from schemas.policy import Policy


class End(NamedTuple):
    """How an item ends; `by` is who decided it alone."""

    state: DeliberationState
    why: str
    by: str | None = None


def ended(open_: Open, held: Held, end: End, view: Surroundings[Row], *, was_counted: bool = True) -> list[Effect[Row]]:
    """Everything that an item's end comes with, in the order in which others read it.

    One that ends as it comes `was_counted` among its sender's items never.
    """
    item, row = open_
    published, now = view.control, view.clock_ms
    end, document = _checked(item, held.value, end, view)
    votes = weighed_again(row.votes, item, published.policy, now)
    deadline = deadline_ms(open_, began_ms(view))
    effects: list[Effect[Row]] = []
    if end.state is DeliberationState.APPROVED:
        effects += _released(item, held, document, view)
    elif item.kind is ItemKind.WORKFLOW and end.state is not DeliberationState.WITHDRAWN:
        effects.append(records.answer(item, held.value, end.why, approved=False))
    said = DeliberationVerdict(
        item=item,
        state=end.state,
        why=end.why,
        by=end.by,
        votes=votes,
        registry=published.reference,
        opened=row.opened,
        deadline=deadline,
        closed=now,
    )
    is_kept = was_counted and end.state is DeliberationState.EXPIRED and may_be_reopened(item, held, view)
    told = records.status(
        open_, deadline, published, now, state=end.state, closed=now, why=end.why, by=end.by, reopenable=is_kept
    )
    effects += [records.verdict(said), told]
    effects += _kept(open_, held, end, deadline, view) if is_kept else _remembered(open_, end, deadline, view)
    return [*effects, *one_less(item, held, view)] if was_counted else effects


def _checked(item: DeliberationItem, value: bytes, end: End, view: Surroundings[Row]) -> tuple[End, Policy | None]:
    """The end, unless what would be released is not what was signed; and the epoch that it puts in force, if any."""
    if end.state is not DeliberationState.APPROVED:
        return end, None
    if digest_of(value) != item.digest:
        return End(DeliberationState.REJECTED, "the held bytes are not those that the item names"), None
    if item.kind is not ItemKind.POLICY:
        return end, None
    document = proposed(value, view)
    if isinstance(document, Refused):
        return End(DeliberationState.EXPIRED, document.detail), None
    return end, document


def _released(
    item: DeliberationItem, held: Held, document: Policy | None, view: Surroundings[Row]
) -> list[Effect[Row]]:
    if document is not None:
        activated = Keep(ACTIVATED, encode(Activated(epoch=document.epoch)))
        return [Broadcast(topics.CONTROL, POLICY_KEY, document.canonical()), activated]
    if item.kind is ItemKind.WORKFLOW:
        return [records.answer(item, held.value, f"item {item.item_id}", approved=True)]
    return [records.delivery(item, held.value, held.headers, view.control.policy)]


def _remembered(open_: Open, end: End, deadline: int, view: Surroundings[Row]) -> list[Effect[Row]]:
    """The item's row once it is closed."""
    due = forget_ms(view.clock_ms, view.control.policy)
    key = item_key(open_.item.item_id)
    return [Keep(key, encode(_closed(open_, end, deadline, view)), due), Forget(held_key(open_.item.item_id))]


def _kept(open_: Open, held: Held, end: End, deadline: int, view: Surroundings[Row]) -> list[Effect[Row]]:
    """The same for one that may be reopened, which is kept whole."""
    slot, effects = kept(open_.item, held, view)
    closed = _closed(open_, end, deadline, view).model_copy(
        update={"open": open_.row, "slot": slot, "verified": open_.item.sender_verified}
    )
    due = forget_ms(view.clock_ms, view.control.policy)
    return [*effects, Keep(item_key(open_.item.item_id), encode(closed), due)]


def _closed(open_: Open, end: End, deadline: int, view: Surroundings[Row]) -> Closed:
    return Closed(
        item_id=open_.item.item_id,
        state=end.state,
        closed=view.clock_ms,
        deadline=deadline,
        decisions=tuple(vote.decision.decision_id for vote in open_.row.votes),
    )
