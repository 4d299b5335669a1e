"""Decisions on held items: one function a kind of record. Pure; none raises for what a record says."""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import ValidationError

from handlers.deliberation import records
from handlers.deliberation.ending import End, ended
from handlers.deliberation.entitled import check_approver, check_signer, check_subject, weighed_again
from handlers.deliberation.items import Held, Open, crowded, find, held_of, one_more, terms
from handlers.deliberation.keeping import released
from handlers.deliberation.policy_change import proposed
from handlers.deliberation.reopening import reopened
from handlers.deliberation.rows import (
    BEGAN,
    Began,
    Closed,
    Early,
    EarlyDecision,
    OpenRow,
    Row,
    decode,
    early_key,
    encode,
    encode_held,
    held_key,
    item_key,
)
from handlers.deliberation.standing import (
    began_ms,
    deadline_ms,
    due_ms,
    escalation_ms,
    is_past,
    reminders_by,
    withdrawn_hash,
)
from handlers.deliberation.voting import Moment, Voted, voted
from schemas import deliberation, envelope
from schemas.decision import Decision, ItemKind, Vote
from schemas.deliberation import DeliberationItem, DeliberationState
from schemas.effects import Decided, Effect, Forget, Headers, Keep, Refused, Reject, Surroundings
from schemas.parsed import first_defect
from schemas.reasons import Reason

DECISION_VERSION = 1
"""Rises when the same rows, record and policy would be decided otherwise."""

MAX_EARLY = 32
"""How many decisions are kept for an item that is not there yet."""


class Arrived(NamedTuple):
    """A record on `deliberation`."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Headers

    def header(self, name: str) -> bytes | None:
        """The first header of that name: those of this system come first."""
        return next((content for one, content in self.headers if one == name), None)


# An item comes


def item(arrived: Arrived, view: Surroundings[Row]) -> Decided[Row]:
    """Something is to be held."""
    said = _read_item(arrived)
    if isinstance(said, Refused):
        return said
    began = began_ms(view)
    beginning: list[Effect[Row]] = []
    if view.row(BEGAN) is None:
        beginning.append(Keep(BEGAN, encode(Began()), view.clock_ms))
    refused = _check_item(said, arrived, view)
    if refused is not None:
        return [*beginning, *_not_held(said, arrived, refused)]
    open_ = Open(said, OpenRow(partition=arrived.partition, offset=arrived.offset, opened=view.clock_ms))
    after, rejects = _with_early(open_, Moment(view.control, view.clock_ms, began), view)
    held, now = Held(arrived.value, arrived.headers), view.clock_ms
    gone = withdrawn_hash(said, view.control, now)
    end = after.end or (End(DeliberationState.EXPIRED, gone) if gone else None)
    if end is None and is_past(after.open, began, now):
        end = End(DeliberationState.EXPIRED, "it expired before it could be held")
    if end is not None:
        return [*beginning, *rejects, *ended(after.open, held, end, view, was_counted=False)]
    return [
        *beginning,
        *rejects,
        Keep(held_key(said.item_id), encode_held(*held)),
        Keep(item_key(said.item_id), encode(after.open.row), due_ms(after.open, began, view.control)),
        *one_more(said, held, view),
        records.status(after.open, deadline_ms(after.open, began), view.control, now),
    ]


def _read_item(arrived: Arrived) -> DeliberationItem | Refused:
    try:
        said = DeliberationItem.model_validate_json(arrived.header(envelope.ITEM) or b"")
    except ValidationError as error:
        return _invalid(Reason.INVALID_ITEM, error)
    if deliberation.digest_of(arrived.value) != said.digest:
        return Refused(Reason.INVALID_ITEM, "the bytes are not those that the item's digest is of")
    if deliberation.item_id(said.message_id, said.digest, said.generation) != said.item_id:
        return Refused(Reason.INVALID_ITEM, "the item's id is not that of its message, digest and generation")
    return said


def _check_item(said: DeliberationItem, arrived: Arrived, view: Surroundings[Row]) -> Refused | None:
    if view.row(item_key(said.item_id)) is not None:
        return Refused(Reason.DUPLICATE_ITEM, f"item {said.item_id} is there already, or has been decided")
    if said.kind is ItemKind.POLICY:
        document = proposed(arrived.value, view)
        if isinstance(document, Refused):
            return document
    full = crowded(said, Held(arrived.value, arrived.headers), view)
    return None if full is None else Refused(Reason.TOO_MANY_HELD, full)


def _not_held(said: DeliberationItem, arrived: Arrived, refused: Refused) -> list[Effect[Row]]:
    """The record is refused; a workflow that asks is told so, unless its item is there."""
    rejected = Reject(arrived.key, arrived.value, arrived.headers, refused)
    if said.kind is not ItemKind.WORKFLOW or refused.reason is Reason.DUPLICATE_ITEM:
        return [rejected]
    return [rejected, records.answer(said, arrived.value, refused.detail, approved=False)]


def _with_early(open_: Open, moment: Moment, view: Surroundings[Row]) -> tuple[Voted, list[Effect[Row]]]:
    """The item with the decisions that came before it, and what becomes of those that do not count."""
    row = view.row(early_key(open_.item.item_id))
    known = None if row is None else decode(row)
    if not isinstance(known, Early):
        return Voted(open_), []
    after, effects = Voted(open_), [Forget(early_key(open_.item.item_id))]
    rejects: list[Effect[Row]] = [*effects]
    for early in known.decisions:
        if after.end is not None:
            rejects.append(_rejected(early, Refused(Reason.ITEM_CLOSED, "the item has been decided")))
            continue
        after = voted(after.open, early.decision, moment)
        if after.refused is not None:
            rejects.append(_rejected(early, after.refused))
    return after, rejects


# A decision comes


def decision(arrived: Arrived, view: Surroundings[Row]) -> Decided[Row]:
    """Somebody decides on an item; the record has passed its gateway."""
    try:
        said = Decision.model_validate_json(arrived.value)
    except ValidationError as error:
        return _invalid(Reason.INVALID_VALUE, error)
    known = find(said.item_id, view)
    if isinstance(known, Open):
        return _vote(arrived, said, known, view)
    if isinstance(known, Closed):
        return _late(said, known, view)
    return _early(arrived, said, view)


def _vote(arrived: Arrived, said: Decision, open_: Open, view: Surroundings[Row]) -> Decided[Row]:
    began = began_ms(view)
    after = voted(open_, said, Moment(view.control, view.clock_ms, began))
    if after.end is not None:
        effects = ended(after.open, held_of(open_.item.item_id, view), after.end, view)
        if after.refused is None:
            return effects
        return [Reject(arrived.key, arrived.value, arrived.headers, after.refused), *effects]
    if after.refused is not None:
        return after.refused
    return [
        Keep(item_key(said.item_id), encode(after.open.row), due_ms(after.open, began, view.control)),
        records.status(after.open, deadline_ms(after.open, began), view.control, view.clock_ms),
    ]


def _late(said: Decision, closed: Closed, view: Surroundings[Row]) -> Decided[Row]:
    if said.decision_id in closed.decisions:
        return Refused(Reason.REPLAYED, f"decision {said.decision_id} has been counted; the item is {closed.state}")
    if said.vote is Vote.REOPEN:
        return _reopen(said, closed, view)
    if closed.state is DeliberationState.EXPIRED:
        detail = f"signed at {said.decided_at}; the item expired at {records.instant(closed.closed)}, by the log's time"
        return Refused(Reason.AFTER_DEADLINE, detail)
    return Refused(Reason.ITEM_CLOSED, f"the item is {closed.state} since {records.instant(closed.closed)}")


def _reopen(said: Decision, closed: Closed, view: Surroundings[Row]) -> Decided[Row]:
    if closed.reopened_as is not None:
        return Refused(Reason.NOT_APPLICABLE, f"the item has been reopened as {closed.reopened_as}")
    if closed.state is not DeliberationState.EXPIRED:
        return Refused(Reason.NOT_APPLICABLE, f"the item is {closed.state}; only expired messages are reopened")
    if closed.open is None or view.row(held_key(closed.item_id)) is None:
        return Refused(
            Reason.NOT_APPLICABLE,
            "what the item held is not kept: it is no message, or had expired itself, or named a policy that was "
            "withdrawn, or as much as may be kept has expired since",
        )
    item, policy, now = terms(closed.item_id, view), view.control.policy, view.clock_ms
    refused = check_subject(said, item) or check_approver(said, item, policy) or check_signer(said, policy, now, now)
    if refused is not None:
        return refused
    return reopened(closed, Open(item, closed.open), said, held_of(item.item_id, view), view)


def _early(arrived: Arrived, said: Decision, view: Surroundings[Row]) -> Decided[Row]:
    """A decision on an item that is not there: kept for a while, if somebody known has signed it."""
    unknown = Refused(Reason.UNKNOWN_ITEM, f"there is no item {said.item_id}, or it is closed and forgotten")
    policy, now = view.control.policy, view.clock_ms
    refused = check_signer(said, policy, now, now)
    if refused is not None or said.vote is Vote.REOPEN:
        return refused or unknown
    row = view.row(early_key(said.item_id))
    known = None if row is None else decode(row)
    kept = known.decisions if isinstance(known, Early) else ()
    if any(one.decision.decision_id == said.decision_id for one in kept):
        return Refused(Reason.REPLAYED, f"decision {said.decision_id} waits for its item already")
    if len(kept) >= MAX_EARLY:
        return unknown
    one = EarlyDecision(
        decision=said,
        value=arrived.value.decode(),
        source=(arrived.header(envelope.SOURCE) or b"").decode(),
        policy=(arrived.header(envelope.POLICY) or b"").decode(),
        until=now + int(policy.keep_early_decisions.total_seconds() * 1_000),
    )
    return [_keep_early(said.item_id, (*kept, one))]


def _keep_early(item_id: str, decisions: Sequence[EarlyDecision]) -> Effect[Row]:
    return Keep(early_key(item_id), encode(Early(decisions=tuple(decisions))), min(one.until for one in decisions))


def _rejected(early: EarlyDecision, refused: Refused) -> Reject:
    headers = ((envelope.SOURCE, early.source.encode()), (envelope.POLICY, early.policy.encode()))
    return Reject(early.decision.item_id.encode(), early.value.encode(), headers, refused)


# An item is of no use any more


def withdrawal(arrived: Arrived, view: Surroundings[Row]) -> Decided[Row]:
    """Whoever asked does not need the answer any more."""
    item_id = (arrived.header(envelope.WITHDRAWN) or b"").decode(errors="replace")
    known = find(item_id, view)
    if isinstance(known, Open):
        end = End(DeliberationState.WITHDRAWN, "whoever asked does not need it any more")
        return ended(known, held_of(item_id, view), end, view)
    if isinstance(known, Closed):
        return Refused(Reason.ITEM_CLOSED, f"the item is {known.state} since {records.instant(known.closed)}")
    return Refused(Reason.UNKNOWN_ITEM, f"there is no item {item_id!a}")


# A timer fires


def timer(key: str, row: Row, view: Surroundings[Row]) -> Sequence[Effect[Row]]:
    """The time of a row has come."""
    known, now = decode(row), view.clock_ms
    match known:
        case Began():
            return [Keep(key, encode(Began(at=now)))]
        case OpenRow():
            item = terms(key.removeprefix(item_key("")), view)
            return _due(Open(item, known), view)
        case Closed():
            told = records.forgotten(known.item_id)
            return [Forget(key), Forget(held_key(known.item_id)), told, *released(known, view)]
        case Early():
            unknown = Refused(Reason.UNKNOWN_ITEM, "its item has not come in the time that decisions are kept for")
            over = [_rejected(one, unknown) for one in known.decisions if one.until <= now]
            left = [one for one in known.decisions if one.until > now]
            item_id = known.decisions[0].decision.item_id
            return [*over, _keep_early(item_id, left) if left else Forget(key)]
        case _:
            raise TypeError(f"row {key} has no timer")


def _due(open_: Open, view: Surroundings[Row]) -> Sequence[Effect[Row]]:
    now, began, item = view.clock_ms, began_ms(view), open_.item
    gone = withdrawn_hash(item, view.control, now)
    if gone is None and is_past(open_, began, now):
        gone = f"{item.approvals} approvals were asked for; {_standing(open_, view)} stand at the deadline"
    if gone is not None:
        return ended(open_, held_of(item.item_id, view), End(DeliberationState.EXPIRED, gone), view)
    after, escalation = open_, escalation_ms(open_, began)
    if escalation is not None and escalation <= now:
        after = after._replace(row=after.row.model_copy(update={"escalated": True}))
    reminders = reminders_by(after, began, now)
    if reminders > after.row.reminders:
        after = after._replace(row=after.row.model_copy(update={"reminders": reminders}))
    kept = Keep(item_key(item.item_id), encode(after.row), due_ms(after, began, view.control))
    return [kept] if after is open_ else [kept, records.status(after, deadline_ms(after, began), view.control, now)]


def _standing(open_: Open, view: Surroundings[Row]) -> int:
    """How many of its approvals stand."""
    votes = weighed_again(open_.row.votes, open_.item, view.control.policy, view.clock_ms)
    return sum(vote.stands and vote.decision.vote is Vote.APPROVE for vote in votes)


def _invalid(reason: Reason, error: ValidationError) -> Refused:
    return Refused(reason, first_defect(error, "the record"))
