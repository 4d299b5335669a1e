"""Which record a record was decided on: the one whose turn wrote it. By the ids of the contracts, never by guess."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import cast

import orjson

from schemas import envelope, topics
from schemas.workflow import EventKind, Step
from streams.engine import dead_letters
from streams.engine.records import Record
from streams.engine.turn import TIMER
from streams.readable import first_headers
from streams.search.entries import Reader

Object = Mapping[str, object]

READERS: Mapping[str, str] = {
    topics.IN_MESSAGES: topics.GATEWAY_MESSAGES,
    topics.IN_DECISIONS: topics.GATEWAY_DECISIONS,
    topics.IN_WORKFLOWS: topics.GATEWAY_WORKFLOWS,
    topics.MESSAGES: topics.TRIAGE,
    topics.DELIBERATION: topics.DELIBERATOR,
    topics.WORKFLOWS: topics.ORCHESTRATOR,
    topics.ACTIVITY_RESULTS: topics.ORCHESTRATOR,
}
"""The agent that decides on the records of a topic."""

_ATTEMPT = ("run", "node", "direction", "round", "attempt")
_CALL = ("node", "direction", "round", "attempt")


class Causes:
    """Finds causes among the records of one story.

    What happens again under the same ids, such as a worker's answer that comes twice, is told of once each time, in the
    order of the log. Where that cannot be held together any more, the broker's time that an event names decides, and
    where that leaves several, none is the cause.
    """

    def __init__(self, reader: Reader, records: Iterable[Record]) -> None:
        self._reader = reader
        self._by_base: dict[str, list[Record]] = {}
        self._by_place: dict[str, Record] = {}
        self._by_source: dict[tuple[str, bytes], Record] = {}
        self._said: dict[str, Object] = {}
        self._of_item: dict[str, list[Record]] = {}
        self._asking: dict[tuple[object, ...], list[Record]] = {}
        for record in sorted(records, key=lambda one: (one.partition, one.offset)):
            self._add(reader.base(record.topic), record)
        self._finding: Mapping[str, Callable[[Record], Record | None]] = {
            topics.MESSAGES: self._source,
            topics.REJECTED: self._rejected,
            topics.DELIVERIES: self._delivered,
            topics.DELIBERATION: self._held,
            topics.VERDICTS: self._ended,
            topics.WORKFLOWS: self._commanded,
            topics.WORKFLOW_EVENTS: self._happened,
            topics.ACTIVITIES: self._asked,
            topics.ACTIVITY_CANCELS: self._asked,
            topics.COMPENSATIONS: self._asked,
        }

    def _add(self, base: str, record: Record) -> None:
        self._by_base.setdefault(base, []).append(record)
        self._by_place[at(record)] = record
        if base in _INSIDE and (source := first_headers(record).get(envelope.SOURCE)) is not None:
            self._by_source[base, source] = record
        if base == topics.DELIBERATION and isinstance(item := self._item_id(record), str):
            self._of_item.setdefault(item, []).append(record)
        if base == topics.WORKFLOW_EVENTS:
            for asked in _objects(self.said(record).get("asked")):
                self._asking.setdefault(self._key_of(record, asked), []).append(record)

    def _key_of(self, event: Record, asked: Object) -> tuple[object, ...]:
        """Under what an event asks for something."""
        names = ("node",) if asked.get("step") == Step.ASK.value else _CALL
        return _plain(self.said(event).get("run"), asked.get("step"), *(asked.get(name) for name in names))

    def of(self, record: Record) -> Record | None:
        """The record in whose turn this one was written; None if it is none of lanes', or cannot be told."""
        base = self._reader.base(record.topic)
        find = self._letters if base.endswith(_LETTERS) else self._finding.get(base)
        return None if find is None else find(record)

    def said(self, record: Record) -> Object:
        """The JSON object in a record's value; an empty one if there is none."""
        key = at(record)
        if key not in self._said:
            self._said[key] = _parsed(record.value)
        return self._said[key]

    def _all(self, base: str, fits: Callable[[Record], bool]) -> list[Record]:
        """A topic's records that fit, in the order of the log."""
        return [one for one in self._by_base.get(base, []) if fits(one)]

    def _of(self, base: str, fits: Callable[[Record], bool]) -> Record | None:
        """The last of a topic's records that fits."""
        return next((one for one in reversed(self._by_base.get(base, [])) if fits(one)), None)

    def _source(self, record: Record) -> Record | None:
        return self._by_place.get(text(first_headers(record).get(envelope.SOURCE)))

    def _same_source(self, base: str, record: Record) -> Record | None:
        """The record of an internal topic that came from the same place outside."""
        source = first_headers(record).get(envelope.SOURCE)
        return None if source is None else self._by_source.get((base, source))

    def _rejected(self, record: Record) -> Record | None:
        """What a gateway let pass was refused behind it: the record furthest in is the one that was decided on."""
        for base in (topics.DELIBERATION, topics.WORKFLOWS):
            found = self._same_source(base, record)
            if found is not None:
                return found
        return self._source(record)

    def _letters(self, record: Record) -> Record | None:
        return self._by_place.get(text(first_headers(record).get(dead_letters.SOURCE)))

    def _held(self, record: Record) -> Record | None:
        """A message is held by triage; a vote was let in by its gateway; what a workflow asks, by its event."""
        headers = first_headers(record)
        if envelope.ITEM not in headers:
            return self._source(record)
        if envelope.WORKFLOW in headers:
            said = self.said(record)
            named = {"run": said.get("run"), "node": said.get("node")}
            alike = self._all(topics.DELIBERATION, lambda one: _has(self.said(one), named) and _is_held(one))
            events = self._asking.get(_plain(named["run"], Step.ASK.value, named["node"]), [])
            event = _in_turn(record, alike, events)
            return None if event is None else self._happened(event)
        return self._same_source(topics.MESSAGES, record)

    def _delivered(self, record: Record) -> Record | None:
        item = _header(record, envelope.ITEM).get("item_id")
        if item is None:
            return self._same_source(topics.MESSAGES, record)
        verdict = self._of(topics.VERDICTS, lambda one: _item_of(self.said(one)).get("item_id") == item)
        return None if verdict is None else self._ended(verdict)

    def _ended(self, verdict: Record) -> Record | None:
        """The vote, timer or withdrawal by which an item ended; the item itself, where it ended as it came."""
        said = self.said(verdict)
        item, closed = _item_of(said).get("item_id"), said.get("closed")
        mine = [
            one
            for one in (self._of_item.get(item, []) if isinstance(item, str) else [])
            if not isinstance(closed, int) or one.timestamp <= closed
        ]
        if not mine:
            return None
        first = next((one for one in mine if envelope.ITEM in first_headers(one)), None)
        last = [one for one in mine if self._may_end(one, said)]
        found = max(last, key=lambda one: one.offset, default=first)
        return first if first is not None and found is not None and found.offset < first.offset else found

    def _may_end(self, record: Record, verdict: Object) -> bool:
        state = verdict.get("state")
        if state == "withdrawn":
            return envelope.WITHDRAWN in first_headers(record)
        if state == "expired":
            return is_timer(record)
        votes = verdict.get("votes")
        last = cast("list[object]", votes)[-1] if isinstance(votes, list) and votes else None
        decision = cast("Object", last).get("decision") if isinstance(last, dict) else None
        counted = cast("Object", decision).get("decision_id") if isinstance(decision, dict) else None
        return counted is not None and self.said(record).get("decision_id") == counted

    def _item_id(self, record: Record) -> object:
        headers = first_headers(record)
        if is_timer(record):
            return text(record.key).removeprefix("item/")
        if envelope.WITHDRAWN in headers:
            return text(headers[envelope.WITHDRAWN])
        return (_header(record, envelope.ITEM) or self.said(record)).get("item_id")

    # Workflows

    def _commanded(self, record: Record) -> Record | None:
        """A command was let in by its gateway, a verdict is deliberation's."""
        if is_timer(record):
            return None
        source = self._source(record)
        item = self.said(record).get("item_id")
        if source is not None or item is None:
            return source
        verdict = self._of(topics.VERDICTS, lambda one: _item_of(self.said(one)).get("item_id") == item)
        return None if verdict is None else self._ended(verdict)

    def _happened(self, event: Record) -> Record | None:
        """What an event tells of."""
        said = self.said(event)
        kind, at_ms = said.get("event"), said.get("at")
        if kind == EventKind.ANSWERED.value or (kind == EventKind.IGNORED.value and "attempt" in said):
            return self._told(event, _ATTEMPT, topics.ACTIVITY_RESULTS)
        if "command_id" in said:
            return self._told(event, ("command_id",), topics.WORKFLOWS)
        if kind == EventKind.VERDICT.value:
            return self._told(event, ("node", "run"), topics.WORKFLOWS, "approved")
        if kind == EventKind.TIMER.value:
            due = self._all(topics.WORKFLOWS, lambda one: is_timer(one) and one.timestamp == at_ms)
            own = [one for one in due if text(one.key).endswith(f"/{said.get('node')}")]
            return next(iter(own or due), None)
        return None

    def _told(self, event: Record, ids: Sequence[str], base: str, *more: str) -> Record | None:
        """The record of a topic that an event tells of, by ids that both have; `more` are fields that it has too."""
        said = self.said(event)
        wanted = {name: said.get(name) for name in ids}

        def tells(one: Record) -> bool:
            other = self.said(one)
            is_kind = other.get("event") == said.get("event") if more else all(name in other for name in ids)
            return is_kind and _has(other, wanted)

        events = self._all(topics.WORKFLOW_EVENTS, tells)
        causes = self._all(base, lambda one: _has(self.said(one), wanted) and all(f in self.said(one) for f in more))
        return _in_turn(event, events, causes, said.get("at"))

    def _asked(self, record: Record) -> Record | None:
        """The cause of the event that asked for a call."""
        said, base = self.said(record), self._reader.base(record.topic)
        step = Step.STOP if base == topics.ACTIVITY_CANCELS else Step.CALL
        direction = "undo" if base == topics.COMPENSATIONS else said.get("direction")
        named = said.get("node"), direction, said.get("round"), said.get("attempt")
        events = self._asking.get(_plain(said.get("run"), step.value, *named), [])
        return self._happened(events[-1]) if events else None


_INSIDE = frozenset({topics.MESSAGES, topics.DELIBERATION, topics.WORKFLOWS})
"""Where a gateway's header says where a record came from."""
_LETTERS = topics.dead_letters("")


def at(record: Record) -> str:
    """Where a record stands: `topic/partition/offset`."""
    return f"{record.topic}/{record.partition}/{record.offset}"


def is_timer(record: Record) -> bool:
    """Whether a lane wrote the record to itself because a time had come."""
    return bool(record.headers) and record.headers[0][0] == TIMER


def text(content: bytes | None) -> str:
    """Bytes that should be text, as text."""
    return (content or b"").decode("utf-8", "backslashreplace")


def _in_turn(one: Record, alike: Sequence[Record], causes: Sequence[Record], at_ms: object = None) -> Record | None:
    """The cause of one of several records that have the same ids, all in the order of the log."""
    places = [at(other) for other in alike]
    if len(places) == len(causes) and at(one) in places:
        return causes[places.index(at(one))]
    until = [cause for cause in causes if isinstance(at_ms, int) and cause.timestamp <= at_ms]
    then = [cause for cause in until if cause.timestamp == at_ms] or until
    return then[0] if len(then) == 1 else None


def _is_held(record: Record) -> bool:
    return envelope.ITEM in first_headers(record)


def _objects(given: object) -> Iterator[Object]:
    for one in cast("list[object]", given) if isinstance(given, list) else ():
        if isinstance(one, dict):
            yield cast("Object", one)


def _plain(*parts: object) -> tuple[object, ...]:
    """Parts of a key, whatever a record has in their place."""
    return tuple(part if isinstance(part, str | int | None) else repr(part) for part in parts)


def _header(record: Record, name: str) -> Object:
    return _parsed(first_headers(record).get(name))


def _item_of(verdict: Object) -> Object:
    item = verdict.get("item")
    return cast("Object", item) if isinstance(item, dict) else {}


def _has(said: Object, wanted: Object) -> bool:
    return all(said.get(name) == value for name, value in wanted.items())


def _parsed(content: bytes | None) -> Object:
    try:
        said: object = orjson.loads(content or b"")
    except orjson.JSONDecodeError:
        return {}
    return cast("Object", said) if isinstance(said, dict) else {}
