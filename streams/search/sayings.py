"""What single records say, in words for people: one function a topic."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from pydantic import ValidationError

from schemas import envelope, topics
from schemas.activity import ActivityCommand, ActivityResult
from schemas.decision import Decision
from schemas.deliberation import DeliberationItem, DeliberationState, DeliberationVerdict
from schemas.reasons import MEANINGS, Reason
from schemas.score import display
from schemas.workflow import CompensationRecord, WorkflowEvent, WorkflowState, WorkflowVerdict
from streams import readable
from streams.engine import dead_letters
from streams.engine.records import Record
from streams.readable import card_of, display_points, first_headers
from streams.search.causes import is_timer, text
from streams.workflows.moments import moment

Object = Mapping[str, object]
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Saying:
    """One line of a story: a word for the step, what is said, and how it is to be taken."""

    step: str
    says: str
    tone: str = "plain"
    details: tuple[str, ...] = ()


ORDER: Mapping[str, int] = {
    base: number
    for number, base in enumerate(
        (
            topics.IN_WORKFLOWS,
            topics.IN_MESSAGES,
            topics.MESSAGES,
            topics.WORKFLOWS,
            topics.ACTIVITY_RESULTS,
            topics.WORKFLOW_EVENTS,
            topics.ACTIVITY_CANCELS,
            topics.COMPENSATIONS,
            topics.ACTIVITIES,
            topics.IN_DECISIONS,
            topics.DELIBERATION,
            topics.VERDICTS,
            topics.DELIVERIES,
            topics.REJECTED,
        )
    )
}
"""Of records of one time: which follow from which."""

NAMES: Mapping[str, str] = {
    **dict.fromkeys((topics.IN_MESSAGES, topics.IN_DECISIONS, topics.IN_WORKFLOWS), "received"),
    **dict.fromkeys((topics.MESSAGES, topics.WORKFLOWS), "accepted"),
    topics.DELIBERATION: "held",
    topics.DELIVERIES: "delivered",
    topics.REJECTED: "rejected",
    topics.VERDICTS: "verdict",
    topics.WORKFLOW_EVENTS: "event",
    topics.ACTIVITIES: "called",
    topics.ACTIVITY_RESULTS: "answered",
    topics.ACTIVITY_CANCELS: "told to stop",
    topics.COMPENSATIONS: "compensation",
}
"""What a record of each topic is called where it cannot be read."""


def say(base: str, record: Record, said: Object, state: dict[object, object]) -> Iterator[Saying]:
    """What a record says. Never raises, whatever the bytes.

    `base` is the topic's name in the catalogue and `said` the JSON object in the value. `state` is kept from one record
    of a story to the next.
    """
    if base.endswith(topics.dead_letters("")):
        yield _letter(record)
        return
    tell = _BY_TOPIC.get(base)
    try:
        told = [] if tell is None else list(tell(record, said, state))
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        words = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        told = [Saying(NAMES.get(base, base), f"cannot be read as what it should be: {words}", "bad")]
    yield from told


def _received(record: Record, said: Object, state: dict[object, object]) -> Iterator[Saying]:
    times = cast("int", state.get((record.topic, record.value), 0)) + 1
    state[record.topic, record.value] = times
    again = "" if times == 1 else f" (the same bytes for the {times}. time)"
    id_ = said.get("message_id")
    first = state.setdefault(("message", id_), record.value) if isinstance(id_, str) else record.value
    if first != record.value and times == 1:
        again = " (another message with the same id)"
    size = "no value" if record.value is None else f"{len(record.value):,} bytes"
    yield Saying("received", f"{readable.words(record).about}{again}, {size}")


def _accepted(record: Record, said: Object, state: dict[object, object]) -> Iterator[Saying]:
    del said, state
    headers = first_headers(record)
    is_verified = headers.get(envelope.SENDER_VERIFIED) == b"true"
    sender = "the sender's signature is proven" if is_verified else "the sender is not proven: its name is a claim"
    yield Saying("accepted", f"under policy {_policy(headers)}; {sender}", "good")


def _policy(headers: Mapping[str, bytes]) -> str:
    epoch, _, digest = text(headers.get(envelope.POLICY)).partition(":")
    return f"epoch {epoch} ({digest[:8]}...)"


def _rejected(record: Record, said: Object, state: dict[object, object]) -> Iterator[Saying]:
    del state
    headers = first_headers(record)
    code = text(headers.get(envelope.REASON))
    meaning = MEANINGS[Reason(code)] if code in list(Reason) else "a reason that this release does not know"
    about = f"the vote of {_cut(said.get('approver'))}: " if "approver" in said and "item_id" in said else ""
    detail = text(headers.get(envelope.DETAIL))
    yield Saying("rejected", f"{about}{code}: {meaning}", "bad", (detail,) if detail and detail != meaning else ())


def _scored(record: Record, headers: Mapping[str, bytes]) -> Iterator[Saying]:
    card = card_of(headers)
    if card is None:
        return
    factors = tuple(f"{display_points(one.points)}  {one.name}: {one.why}" for one in card.factors)
    what = f"{card.tool} ({card.verb or 'not in the catalogue'})" if card.tool else "no action"
    del record
    yield Saying("scored", f"{display(card.score)}  {what}, by policy {_policy(headers)}", "plain", factors)


def _delivered(record: Record, said: Object, state: dict[object, object]) -> Iterator[Saying]:
    del state
    headers = first_headers(record)
    if envelope.ITEM not in headers:
        yield from _scored(record, headers)
    is_executable = headers.get(envelope.EXECUTABLE) == b"true"
    to = said.get("to_agent") or said.get("conversation_id")
    what = "may be executed" if is_executable else "nothing in it may be executed"
    yield Saying("delivered", f"to {_cut(to)}; {what}", "good")


def _deliberation(record: Record, said: Object, state: dict[object, object]) -> Iterator[Saying]:
    headers = first_headers(record)
    if is_timer(record):
        yield Saying("timer", "its time has come: a reminder, an escalation or the deadline", "dim")
    elif envelope.WITHDRAWN in headers:
        yield Saying("withdrawn", f"whoever asked does not need it any more: {_cut(said.get('why'))}", "held")
    elif envelope.ITEM in headers:
        yield from _held(record, headers, state)
    else:
        yield _vote(Decision.model_validate_json(record.value or b""))


def _held(record: Record, headers: Mapping[str, bytes], state: dict[object, object]) -> Iterator[Saying]:
    yield from _scored(record, headers)
    item = DeliberationItem.model_validate_json(headers[envelope.ITEM])
    again = f"reopened as item {item.item_id}" if item.generation else f"as item {item.item_id}"
    of = f"{item.approvals} of " if item.approvals < len(item.roles) else ""
    needs = f"tier {item.tier}: needs {of}{', '.join(item.roles)} within {item.deadline_s:,} s"
    details = (needs, f"approvals bind SHA-256 {item.digest[:16]}... and the nonce {item.nonce[:8]}...")
    state["item", item.item_id] = item
    yield Saying("held", again, "held", details)


_TONES = {"approve": "good", "veto": "bad"}


def _vote(said: Decision) -> Saying:
    through = f" through {said.relay}" if said.relay else ""
    why = f": {said.reason}" if said.reason else ""
    signed = "not signed" if said.signature is None else f"signed with key {said.key_id} at {said.decided_at}"
    says = f"{said.approver} says {said.vote.value}{through}{why}"
    return Saying("vote", says, _TONES.get(said.vote.value, "plain"), (f"{signed}, on item {said.item_id}",))


_ENDS = {
    DeliberationState.APPROVED: ("released", "good"),
    DeliberationState.REJECTED: ("denied", "bad"),
    DeliberationState.EXPIRED: ("expired", "bad"),
    DeliberationState.WITHDRAWN: ("withdrawn", "held"),
}


def _verdict(record: Record, said: Object, state: dict[object, object]) -> Iterator[Saying]:
    del said, state
    verdict = DeliberationVerdict.model_validate_json(record.value or b"")
    step, tone = _ENDS[verdict.state]
    votes = tuple(
        f"{one.decision.approver}: {one.decision.vote.value}, "
        + ("its signature stands" if one.stands else f"counts no more ({one.reason})")
        for one in verdict.votes
    )
    registry = f"signatures checked by the registry of policy epoch {verdict.registry.partition(':')[0]}"
    yield Saying(step, f"item {verdict.item.item_id}: {verdict.why}", tone, (*votes, registry))


# Workflows


def _command(record: Record, said: Object, state: dict[object, object]) -> Iterator[Saying]:
    del state
    if is_timer(record):
        return  # its event tells
    if envelope.SOURCE not in first_headers(record) and "approved" in said:
        answer = WorkflowVerdict.model_validate_json(record.value or b"")
        what = "approved" if answer.approved else "denied"
        why = f": {answer.why}" if answer.why else ""
        tone = "good" if answer.approved else "bad"
        yield Saying("answer", f"{what} by deliberation, item {answer.item_id}, {_node(answer.node)}{why}", tone)
        return
    yield Saying("accepted", f"{_what(said)}, under policy {_policy(first_headers(record))}", "good")


def _sent_command(record: Record, said: Object, state: dict[object, object]) -> Iterator[Saying]:
    del state
    yield Saying("received", f"{_what(said)}, {len(record.value or b''):,} bytes")


def _what(said: Object) -> str:
    definition = said.get("definition")
    name = cast("Object", definition).get("name") if isinstance(definition, dict) else None
    node = f" node {_cut(said['node'])}" if said.get("node") else ""
    of = f" of {_cut(name)}" if name else ""
    why = f": {_cut(said['reason'])}" if said.get("reason") else ""
    return f"{_cut(said.get('command'))}{node}{of} asked by {_cut(said.get('requested_by'))}{why}"


def _node(node: str | None) -> str:
    return "the start as a whole" if node is None else f"node {node}"


def _event(record: Record, said: Object, state: dict[object, object]) -> Iterator[Saying]:
    del said
    event = WorkflowEvent.model_validate_json(record.value or b"")
    key = "workflow", event.workflow_id, event.run
    before = cast("WorkflowState | None", state.get(key))
    told = moment(event, before)
    state[key] = event.state
    about = f"{event.node}: " if event.node else ""
    yield Saying("event", f"{about}{told.words}", told.tone.value, told.follows)


def _call(record: Record, said: Object, state: dict[object, object]) -> Iterator[Saying]:
    del said, state
    call = ActivityCommand.model_validate_json(record.value or b"")
    is_undo = call.direction.value == "undo"
    key = f"idempotency key {call.idempotency_key}"
    attempt = f"attempt {call.attempt}" + (f" of round {call.round}" if call.round else "")
    says = f"{call.node}: {call.activity} on queue {call.queue}, {attempt}"
    yield Saying("undo" if is_undo else "called", says, "held" if is_undo else "plain", (key,))


def _answer(record: Record, said: Object, state: dict[object, object]) -> Iterator[Saying]:
    del said, state
    result = ActivityResult.model_validate_json(record.value or b"")
    why = f": {result.error}" if result.error else ""
    says = f"{result.node}: {result.worker} says {result.outcome.value} of {result.direction.value}"
    yield Saying("answered", f"{says}, attempt {result.attempt}{why}")


def _stop(record: Record, said: Object, state: dict[object, object]) -> Iterator[Saying]:
    del record, state
    yield Saying("stop", f"{_cut(said.get('node'))}: attempt {_cut(said.get('attempt'))} is not wanted any more", "dim")


def _compensation(record: Record, said: Object, state: dict[object, object]) -> Iterator[Saying]:
    del said
    undo = CompensationRecord.model_validate_json(record.value or b"")
    key = "compensations", undo.workflow_id, undo.run
    number = cast("int", state.get(key, 0)) + 1
    state[key] = number
    cause = f", because of: {undo.cause}" if undo.cause else ""
    says = f"{number}. in order: {undo.node} is undone by {undo.activity}, attempt {undo.attempt}{cause}"
    yield Saying("compensation", says, "held")


# What handlers failed on


def _letter(record: Record) -> Saying:
    resolution = dead_letters.resolution_of(record.headers)
    if resolution is not None:
        return Saying("resolved", resolution, "good")
    try:
        letter = dead_letters.read(record)
    except (KeyError, ValueError) as error:
        return Saying("dead letter", f"cannot be read: {error}", "bad")
    of = f"of {letter.topic}/{letter.partition}/{letter.offset}"
    return Saying("dead letter", f"{letter.kind.value}: {letter.error}", "bad", (of,))


def _cut(given: object) -> str:
    words = "nobody" if given is None else str(given)
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."


_BY_TOPIC: Mapping[str, Callable[[Record, Object, dict[object, object]], Iterator[Saying]]] = {
    topics.IN_MESSAGES: _received,
    topics.IN_DECISIONS: _received,
    topics.IN_WORKFLOWS: _sent_command,
    topics.MESSAGES: _accepted,
    topics.REJECTED: _rejected,
    topics.DELIVERIES: _delivered,
    topics.DELIBERATION: _deliberation,
    topics.VERDICTS: _verdict,
    topics.WORKFLOWS: _command,
    topics.WORKFLOW_EVENTS: _event,
    topics.ACTIVITIES: _call,
    topics.ACTIVITY_RESULTS: _answer,
    topics.ACTIVITY_CANCELS: _stop,
    topics.COMPENSATIONS: _compensation,
}
