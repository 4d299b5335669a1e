"""What the index keeps of each record: which ids it belongs to, what was decided, and by which turn of a lane."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeGuard, cast

import orjson

from schemas import envelope, topics
from schemas.deliberation import DeliberationState
from schemas.model import MAX_NAME_CHARACTERS, MAX_SCORE
from schemas.workflow import EventKind
from streams.engine import dead_letters
from streams.engine.records import Record
from streams.engine.turn import TIMER
from streams.readable import first_headers
from streams.search.ids import Id, stored

MAX_REASON_CHARACTERS = 300
"""How much of a reason in words is kept; the record has all of it."""

Object = Mapping[str, object]
Headers = Mapping[str, bytes]


class Entry(NamedTuple):
    """One record in the index. What a record does not say, or says in no way that can be read, is None.

    `verdict` is there if the record is a decision on something (VERDICTS). `agent` is who sent, voted or asked.
    `source` is the place of the record that was refused or failed on. `defect` says what of the record could not be
    read.
    """

    at: int
    message: Id | None = None
    item: Id | None = None
    workflow: Id | None = None
    source: str | None = None
    verdict: str | None = None
    agent: str | None = None
    tenant: str | None = None
    tool: str | None = None
    score: int | None = None
    reason: str | None = None
    defect: str | None = None


class TurnEntry(NamedTuple):
    """One range of input of one turn, and where its audit record stands."""

    topic: str
    lane: int
    agent: str
    first: int
    next: int
    seq: int
    audit_partition: int
    audit_offset: int


VERDICTS: Mapping[str, str] = {
    "delivered": "a message went to its receiver",
    "held": "a message or a workflow's call waits for approvals",
    "rejected": "a record was refused, by a gateway or behind it",
    "dead-lettered": "a handler failed on a record",
    "resolved": "an operator dealt with a dead letter",
    "approve": "a vote",
    "veto": "a vote",
    "abstain": "a vote",
    "reopen": "a request to let an expired item wait anew",
    "released": "an item ended: enough approvers had signed",
    "denied": "an item ended: somebody vetoed it, or it was not what was signed",
    "expired": "an item ended: its time had passed",
    "withdrawn": "an item ended: whoever asked does not need it any more",
    "called": "a workflow had an activity called",
    "undo": "a workflow had an activity called that undoes a step",
    "started": "a workflow began",
    "completed": "a workflow ended",
    "compensated": "a workflow ended, undone",
    "compensated_with_exceptions": "a workflow ended, undone but for what operators gave up",
    "compensation_failed": "a workflow is parked: a step could not be undone",
    "parked_forward": "a workflow is parked past its pivot",
}
"""What a decision may be, and what each means."""

_ENDED = {
    DeliberationState.APPROVED.value: "released",
    DeliberationState.REJECTED.value: "denied",
    DeliberationState.EXPIRED.value: "expired",
    DeliberationState.WITHDRAWN.value: "withdrawn",
}
_VOTES = frozenset({"approve", "veto", "abstain", "reopen"})
_STATES = frozenset(VERDICTS) & {
    "completed",
    "compensated",
    "compensated_with_exceptions",
    "compensation_failed",
    "parked_forward",
}
_TIMERS_ITEM = "item/"


class Reader:
    """Reads records of one installation for its index. Never raises, whatever the bytes."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._by_topic: dict[str, Callable[[Record], Entry] | None] = {}

    def wants(self, topic: str) -> bool:
        """Whether records of this topic are indexed."""
        return topic == f"{self.prefix}{topics.AUDIT}" or self._reading(topic) is not None

    def base(self, topic: str) -> str:
        """A topic's name in the catalogue; tenants' and queues' topics have that of all of them."""
        name = topic.removeprefix(self.prefix)
        for many in (topics.deliveries_of(""), topics.activities_of("")):
            if name.startswith(many):
                return many.removesuffix(".")
        return name

    def entry(self, record: Record) -> Entry:
        """A record of any topic but the trail."""
        reading = self._reading(record.topic)
        return Entry(record.timestamp, defect="of a topic that is not indexed") if reading is None else reading(record)

    def turns(self, record: Record) -> list[TurnEntry] | Entry:
        """The ranges of one audit record; an entry that says so if it cannot be read."""
        said = _object(record.value)
        if isinstance(said, str):
            return Entry(record.timestamp, defect=said)
        agent, lane, seq, inputs = (said.get(name) for name in ("agent", "lane", "seq", "inputs"))
        if not (isinstance(agent, str) and _is_count(lane) and _is_count(seq) and isinstance(inputs, list)):
            return Entry(record.timestamp, defect="no audit record")
        found: list[TurnEntry] = []
        control = f"{self.prefix}{topics.CONTROL}"
        for part in cast("list[object]", inputs):
            named: Object = cast("Object", part) if isinstance(part, dict) else {}
            topic, first, after = named.get("topic"), named.get("from"), named.get("to")
            if not (isinstance(topic, str) and _is_count(first) and _is_count(after)):
                return Entry(record.timestamp, agent=agent[:MAX_NAME_CHARACTERS], defect="no audit record: its inputs")
            if topic != control and after > first:
                where = record.partition, record.offset
                found.append(TurnEntry(topic, lane, agent[:MAX_NAME_CHARACTERS], first, after, seq, *where))
        return found

    def _reading(self, topic: str) -> Callable[[Record], Entry] | None:
        if topic not in self._by_topic:
            self._by_topic[topic] = self._made(topic) if topic.startswith(self.prefix) else None
        return self._by_topic[topic]

    def _made(self, topic: str) -> Callable[[Record], Entry] | None:
        base = self.base(topic)
        if base == topics.REJECTED:
            return self._rejected
        return self._letter if base in _LETTERS else _BY_TOPIC.get(base)

    def _rejected(self, record: Record) -> Entry:
        headers = first_headers(record)
        source = _text(headers.get(envelope.SOURCE))
        entry = self._of_source(record, source)
        reason = _text(headers.get(envelope.REASON))
        defect = entry.defect or ("no reason" if reason is None else None)
        return entry._replace(source=source, verdict="rejected", reason=reason, defect=defect)

    def _letter(self, record: Record) -> Entry:
        resolution = dead_letters.resolution_of(record.headers)
        if resolution is not None:
            source = _text(record.key)
            reason = resolution[:MAX_REASON_CHARACTERS]
            return Entry(record.timestamp, source=source, verdict="resolved", reason=reason)
        headers = first_headers(record)
        source, kind = _text(headers.get(dead_letters.SOURCE)), _text(headers.get(dead_letters.KIND))
        entry = self._of_source(record, source)
        defect = entry.defect or ("no dead letter of this system" if source is None or kind is None else None)
        return entry._replace(source=source, verdict="dead-lettered", reason=kind, defect=defect)

    def _of_source(self, record: Record, source: str | None) -> Entry:
        """What the refused or failed record says, by the contract of the topic it came from."""
        base = "" if source is None else self.base(source.rsplit("/", 2)[0])
        reading = _AS_IT_CAME.get(base, _anything)
        said = _object(record.value)
        if isinstance(said, str):
            return Entry(record.timestamp, defect=said)
        return reading(record, said)


def _object(value: bytes | None) -> Object | str:
    """The JSON object, or why there is none."""
    if value is None:
        return "no value"
    try:
        said: object = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error}"[:MAX_REASON_CHARACTERS]
    return cast("Object", said) if isinstance(said, dict) else "JSON, but no object"


def _is_count(given: object) -> TypeGuard[int]:
    return type(given) is int and 0 <= given < 2**63


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "backslashreplace")[:MAX_REASON_CHARACTERS]


def _name(said: Object, *fields: str) -> str | None:
    for field in fields:
        given = said.get(field)
        if isinstance(given, str):
            return given[:MAX_NAME_CHARACTERS]
    return None


def _within(said: Object, *fields: str) -> Object:
    for field in fields:
        inner = said.get(field)
        if not isinstance(inner, dict):
            return {}
        said = cast("Object", inner)
    return said


def _missing(said: Object, field: str) -> str | None:
    given = said.get(field)
    if isinstance(given, str) and given:
        return None
    return f"no {field}" if given is None else f"{field} is no text"


# What came from outside, as far as it can be read


def _message_id(record: Record, said: Object) -> Entry:
    message = stored(said.get("message_id"))
    if message is not None:
        return Entry(record.timestamp, message)
    return Entry(record.timestamp, defect=_missing(said, "message_id"))


def _message(record: Record, said: Object) -> Entry:
    return Entry(
        record.timestamp,
        stored(said.get("message_id")),
        agent=_name(said, "from_agent"),
        tenant=_name(said, "tenant_id"),
        tool=_name(_within(said, "payload", "action"), "tool"),
        defect=_missing(said, "message_id"),
    )


def _decision(record: Record, said: Object) -> Entry:
    item, agent = stored(said.get("item_id")), _name(said, "approver")
    return Entry(record.timestamp, item=item, agent=agent, defect=_missing(said, "item_id"))


def _of_workflow(record: Record, said: Object) -> Entry:
    return Entry(
        record.timestamp,
        workflow=stored(said.get("workflow_id")),
        agent=_name(said, "requested_by", "worker"),
        tenant=_name(said, "tenant_id"),
        tool=_name(_within(said, "definition"), "name"),
        defect=_missing(said, "workflow_id"),
    )


def _anything(record: Record, said: Object) -> Entry:
    if "message_id" in said:
        return _message(record, said)
    if "approver" in said:
        return _decision(record, said)
    return _of_workflow(record, said) if "workflow_id" in said else _other(record, said)


def _other(record: Record, said: Object) -> Entry:
    agent = _name(said, "requested_by", "from_agent", "source")
    return Entry(record.timestamp, agent=agent, tenant=_name(said, "tenant_id"))


_AS_IT_CAME: Mapping[str, Callable[[Record, Object], Entry]] = {
    topics.IN_MESSAGES: _message,
    topics.MESSAGES: _message,
    topics.IN_DECISIONS: _decision,
    topics.IN_WORKFLOWS: _of_workflow,
    topics.WORKFLOWS: _of_workflow,
    topics.ACTIVITY_RESULTS: _of_workflow,
    topics.HEARTBEATS: _of_workflow,
    **dict.fromkeys((topics.IN_BREAKERS, topics.IN_RECOVERY, topics.IN_CHAOS), _other),
    **dict.fromkeys((topics.BREAKERS, topics.RECOVERY, topics.CHAOS_REQUESTS), _other),
}
"""By the topic that a refused record came from."""


# What agents have written


def _delivery(record: Record, said: Object) -> Entry:
    headers = first_headers(record)
    card, item = _header_object(headers, envelope.CARD), _header_object(headers, envelope.ITEM)
    return Entry(
        record.timestamp,
        message=stored(said.get("message_id")),
        item=stored(item.get("item_id")),
        verdict="delivered",
        agent=_name(said, "from_agent"),
        tenant=_name(said, "tenant_id"),
        tool=_name(card, "tool") or _name(_within(said, "payload", "action"), "tool"),
        score=_score(card),
        defect=_missing(said, "message_id"),
    )


def _score(said: Object) -> int | None:
    score = said.get("score")
    return score if _is_count(score) and score <= MAX_SCORE else None


def _header_object(headers: Headers, name: str) -> Object:
    content = headers.get(name)
    said = None if content is None else _object(content)
    return {} if said is None or isinstance(said, str) else said


def _deliberation(record: Record) -> Entry:
    headers = first_headers(record)
    if record.headers and record.headers[0][0] == TIMER:
        key = _text(record.key) or ""
        item = stored(key.removeprefix(_TIMERS_ITEM)) if key.startswith(_TIMERS_ITEM) else None
        return Entry(record.timestamp, item=item)
    said = _object(record.value)
    known: Object = {} if isinstance(said, str) else said
    defect = said if isinstance(said, str) else None
    if envelope.WITHDRAWN in headers:
        item, workflow = stored(_text(headers[envelope.WITHDRAWN])), stored(known.get("workflow_id"))
        return Entry(record.timestamp, item=item, workflow=workflow)
    if envelope.ITEM in headers:
        return _held(record, headers, defect)
    vote = known.get("vote")
    entry = _decision(record, known)
    verdict = vote if isinstance(vote, str) and vote in _VOTES else None
    return entry._replace(verdict=verdict, defect=defect or entry.defect)


def _held(record: Record, headers: Headers, defect: str | None) -> Entry:
    item = _header_object(headers, envelope.ITEM)
    return Entry(
        record.timestamp,
        message=stored(item.get("message_id")),
        item=stored(item.get("item_id")),
        workflow=stored(_text(headers.get(envelope.WORKFLOW))),
        verdict="held",
        agent=_name(item, "sender"),
        tenant=_name(item, "tenant_id"),
        tool=_name(item, "tool"),
        score=_score(item),
        defect=_missing(item, "item_id") or defect,
    )


def _verdict(record: Record, said: Object) -> Entry:
    item, state = _within(said, "item"), said.get("state")
    why = said.get("why")
    verdict = _ENDED.get(state) if isinstance(state, str) else None
    return Entry(
        record.timestamp,
        message=stored(item.get("message_id")),
        item=stored(item.get("item_id")),
        verdict=verdict,
        agent=_name(item, "sender"),
        tenant=_name(item, "tenant_id"),
        tool=_name(item, "tool"),
        score=_score(item),
        reason=why[:MAX_REASON_CHARACTERS] if isinstance(why, str) else None,
        defect=_missing(item, "item_id") or ("no verdict" if verdict is None else None),
    )


def _workflows(record: Record) -> Entry:
    if record.headers and record.headers[0][0] == TIMER:
        return Entry(record.timestamp, workflow=_timers_workflow(_text(record.key) or ""))
    said = _object(record.value)
    if isinstance(said, str):
        return Entry(record.timestamp, defect=said)
    return _only_workflow(record, said)._replace(item=stored(said.get("item_id")))


def _timers_workflow(key: str) -> Id | None:
    """The workflow of a timer's row: `KIND/WORKFLOW` or `KIND/WORKFLOW/NODE`."""
    parts = key.split("/")
    return stored(parts[1]) if len(parts) > 1 else None


def _only_workflow(record: Record, said: Object) -> Entry:
    return Entry(record.timestamp, workflow=stored(said.get("workflow_id")), defect=_missing(said, "workflow_id"))


def _event(record: Record, said: Object) -> Entry:
    kind, state, cause = said.get("event"), said.get("state"), said.get("cause")
    ended = state if isinstance(state, str) and state in _STATES else None
    verdict = "started" if kind == EventKind.STARTED.value else ended
    if kind == EventKind.IGNORED.value:
        verdict = None
    return _only_workflow(record, said)._replace(
        verdict=verdict,
        agent=_name(said, "by"),
        tenant=_name(said, "tenant_id"),
        tool=_name(said, "name"),
        reason=cause[:MAX_REASON_CHARACTERS] if isinstance(cause, str) else None,
    )


def _call(record: Record, said: Object) -> Entry:
    return _only_workflow(record, said)._replace(
        verdict="undo" if said.get("direction") == "undo" else "called",
        tenant=_name(said, "tenant_id"),
        tool=_name(said, "activity"),
    )


def _decision_of_item(record: Record, said: Object) -> Entry:
    return Entry(record.timestamp, item=stored(said.get("item_id")), defect=_missing(said, "item_id"))


def _parsing(reading: Callable[[Record, Object], Entry]) -> Callable[[Record], Entry]:
    def read(record: Record) -> Entry:
        said = _object(record.value)
        return Entry(record.timestamp, defect=said) if isinstance(said, str) else reading(record, said)

    return read


_BY_TOPIC: Mapping[str, Callable[[Record], Entry]] = {
    topics.IN_MESSAGES: _parsing(_message_id),
    topics.MESSAGES: _parsing(_message_id),
    topics.DELIVERIES: _parsing(_delivery),
    topics.IN_DECISIONS: _parsing(_decision_of_item),
    topics.DELIBERATION: _deliberation,
    topics.VERDICTS: _parsing(_verdict),
    topics.IN_WORKFLOWS: _parsing(_only_workflow),
    topics.WORKFLOWS: _workflows,
    topics.WORKFLOW_EVENTS: _parsing(_event),
    topics.ACTIVITIES: _parsing(_call),
    topics.ACTIVITY_RESULTS: _parsing(_only_workflow),
    topics.ACTIVITY_CANCELS: _parsing(_only_workflow),
    topics.COMPENSATIONS: _parsing(_only_workflow),
}
_LETTERS = frozenset(topics.dead_letters(agent) for agent in topics.LANE_AGENTS)


def not_indexed() -> Iterator[str]:
    """The topics of the catalogue whose records are in no story: said in the documents, held to them by a test."""
    reader = Reader("")
    yield from (topic.name for topic in topics.catalogue() if not reader.wants(topic.name))
