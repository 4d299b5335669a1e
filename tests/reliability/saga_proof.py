"""What a storm of sagas must have left behind: in the log, and in the world outside."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import orjson

from compensation.definition import Kind, WorkflowDefinition
from compensation.graph import dependents
from schemas import topics
from schemas.activity import ActivityCommand, ActivityResult, Direction, Outcome
from schemas.workflow import (
    Asked,
    CompensationRecord,
    EventKind,
    Step,
    StepStatus,
    WorkflowEvent,
    WorkflowState,
    WorkflowStatus,
)
from streams.agents.naming import Naming
from streams.engine.records import Record
from streams.engine.turn import TIMER
from tests.support.saga_shapes import Saga
from tests.support.storm_activities import World
from tests.support.trail import Topics, position_of, source_partition, verify_lane

_STORIES = 3
_TO_BE_UNDONE = {StepStatus.COMPLETED, StepStatus.COMPENSATING, StepStatus.COMPENSATION_FAILED}
_FAILING = {
    WorkflowState.DRAINING,
    WorkflowState.COMPENSATING,
    WorkflowState.COMPENSATION_FAILED,
    WorkflowState.COMPENSATED,
    WorkflowState.COMPENSATED_WITH_EXCEPTIONS,
}


class Undo(NamedTuple):
    """A compensation that was commanded."""

    node: str
    round: int
    attempt: int


class Telling:
    """A saga as its events tell it, held to the rules of going back while they are read."""

    def __init__(self, events: Sequence[WorkflowEvent]) -> None:
        first = next(event for event in events if event.definition is not None)
        self._at = 0
        made = WorkflowDefinition.parse(orjson.dumps(first.definition))
        self._parallel = made.parallel_undo
        self.nodes = {node.id: node for node in made.nodes}
        self._after = dependents({node.id: node.dependencies for node in made.nodes})
        self.statuses = dict.fromkeys(self.nodes, StepStatus.PENDING)
        self._commanded: dict[str, int] = {}
        self._completed: dict[str, int] = {}
        self._successes: dict[str, set[tuple[int, int]]] = defaultdict(set)
        self._due: Counter[str] = Counter()
        """How often a node's undo has come to be due: once for each success, and once if it was begun without one."""
        self._succeeded_at: dict[str, int] = {}
        self._undone_at: dict[str, int] = {}
        self.undos: list[Undo] = []
        self.wrongs: list[str] = []
        version = 0
        for self._at, event in enumerate(events):
            if event.version < version or event.run != first.run:
                self.wrongs.append(f"version {event.version} of run {event.run} after {version} of {first.run}")
            version = event.version
            self._take(event)
        for id_, at in self._undone_at.items():
            if self._succeeded_at.get(id_, 0) > at:
                self.wrongs.append(f"{id_} has succeeded after its last undo")

    def _take(self, event: WorkflowEvent) -> None:
        if event.event is EventKind.ANSWERED and event.direction is Direction.DO:
            self._take_answer(event)
        self.statuses |= event.statuses
        for id_, status in event.statuses.items():
            if status is StepStatus.COMPLETED and id_ not in self._completed:
                self._completed[id_] = len(self._completed)
        for asked in event.asked:
            if asked.step is Step.CALL and asked.direction is Direction.DO:
                self._commanded.setdefault(asked.node or "", len(self._commanded))
            elif asked.step is Step.CALL:
                self._take_undo(asked, event)

    def _take_answer(self, event: WorkflowEvent) -> None:
        attempt = (event.round or 0, event.attempt or 0)
        if event.outcome is Outcome.COMPLETED and event.node is not None:
            if attempt in self._successes[event.node]:
                self.wrongs.append(f"{event.node}: the success of attempt {attempt} was taken twice")
            self._successes[event.node].add(attempt)
            self._due[event.node] += 1
            self._succeeded_at[event.node] = self._at
            self._completed.setdefault(event.node, len(self._completed))

    def _take_undo(self, asked: Asked, event: WorkflowEvent) -> None:
        undo = Undo(asked.node or "", asked.round or 0, asked.attempt or 0)
        known = {(one.node, one.round) for one in self.undos}
        self.undos.append(undo)
        if undo.node not in self._commanded:
            self.wrongs.append(f"{undo.node} is undone and was never commanded")
        if (undo.node, undo.round) in known:
            return
        self._undone_at[undo.node] = self._at
        if undo.round == 0 and undo.node not in self._completed:
            self._due[undo.node] += 1
        if undo.round + 1 > self._due[undo.node]:
            self.wrongs.append(f"{undo.node} is undone {undo.round + 1} times, due is {self._due[undo.node]}")
        if undo.round == 0 and event.state in _FAILING:
            why = self._out_of_turn(undo.node)
            self.wrongs += [f"{undo.node} is undone out of turn: {why}"] if why else []

    def _out_of_turn(self, id_: str) -> str | None:
        """Why it is not yet the turn of a node to be undone for the first time."""
        if self._parallel:
            return self._before_dependents(id_)
        others = {other for other, node in self.nodes.items() if node.compensation is not None and other != id_}
        undoing = [other for other in others if self.statuses[other] is StepStatus.COMPENSATING]
        unknown = [other for other in others if self.statuses[other] is StepStatus.UNKNOWN]
        if undoing:
            return f"{undoing} are undone at the same time"
        if id_ not in self._completed:
            later = [other for other in unknown if self._commanded[other] > self._commanded[id_]]
            return f"{later} are unknown and were commanded later" if later else None
        if unknown:
            return f"{unknown} are unknown"
        completed = [other for other in others if self.statuses[other] is StepStatus.COMPLETED]
        later = [other for other in completed if self._completed[other] > self._completed[id_]]
        return f"{later} completed later" if later else None

    def _before_dependents(self, id_: str) -> str | None:
        if id_ not in self._completed:
            return None
        unknown = [
            other
            for other, node in self.nodes.items()
            if node.compensation is not None and self.statuses[other] is StepStatus.UNKNOWN
        ]
        if unknown:
            return f"{unknown} are unknown"
        left, found = list(self._after[id_]), set[str]()
        while left:
            at = left.pop()
            if at not in found:
                found.add(at)
                left += self._after[at]
        early = [one for one in found if self.nodes[one].compensation and self.statuses[one] in _TO_BE_UNDONE]
        return f"{sorted(early)} depend on it" if early else None


class Proof:
    """Everything that was written, and what is wrong with it."""

    def __init__(self, read: Topics, naming: Naming, partitions: int, world: World, begun: Mapping[str, Saga]) -> None:
        self._read, self._naming, self._partitions, self._world, self._begun = read, naming, partitions, world, begun
        self.events: dict[str, list[WorkflowEvent]] = defaultdict(list)
        for record in self._of(topics.WORKFLOW_EVENTS):
            self.events[_key(record)].append(WorkflowEvent.model_validate_json(record.value or b""))
        started = (id_ for id_, told in self.events.items() if any(event.event is EventKind.STARTED for event in told))
        self.tellings = {id_: Telling(self.events[id_]) for id_ in started}
        self.results = [ActivityResult.model_validate_json(r.value or b"") for r in self._of(topics.ACTIVITY_RESULTS)]
        queue = topics.activities_of(topics.DEFAULT_QUEUE)
        self.commands = [ActivityCommand.model_validate_json(r.value or b"") for r in self._of(queue)]

    def wrongs(self) -> list[str]:
        """Everything that is not as it must be, in words."""
        return [
            *self._ends(),
            *self._what_stands(),
            *(f"world: {one}" for one in self._world.wrongs()),
            *(f"{id_}: {wrong}" for id_, told in self.tellings.items() for wrong in told.wrongs),
            *self._public_record(),
            *self._answers(),
            *self._nothing_was_refused(),
            *self._trail(),
        ]

    def figures(self) -> dict[str, int]:
        """How much there was of what, to see that the storm was one."""
        outcomes = Counter(f"answered {one.outcome.value}" for one in self.results)
        ignored = sum(event.event is EventKind.IGNORED for told in self.events.values() for event in told)
        undos = [undo for told in self.tellings.values() for undo in told.undos]
        return {
            "sagas": len(self.tellings),
            "commands": len(self.commands),
            "undone": sum(undo.attempt == 1 for undo in undos),
            "undone again": sum(undo.attempt == 1 and undo.round > 0 for undo in undos),
            "ignored": ignored,
            "repeats": self._world.repeats(),
            **outcomes,
        }

    def stories(self, wrong: Sequence[str]) -> str:
        """All that is known of the first sagas that something is wrong with."""
        words = (word.strip(":") for one in wrong for word in one.split())
        named = [word for word in dict.fromkeys(words) if word in self.events][:_STORIES]
        return "\n".join(line for id_ in named for line in self._story(id_))

    def _story(self, id_: str) -> Iterator[str]:
        yield f"{id_}, {self._begun[id_].input}:"
        for event in self.events[id_]:
            yield "    " + event.model_dump_json(
                exclude={"v", "workflow_id", "run", "definition", "input", "tenant_id", "name", "tags"},
                exclude_defaults=True,
            )
        yield from (f"    world: {line}" for line in self._world.story(id_))

    # What must be so

    def _ends(self) -> Iterator[str]:
        statuses: dict[str, WorkflowStatus] = {}
        for record in self._of(topics.WORKFLOW_STATUS):
            statuses[_key(record)] = WorkflowStatus.model_validate_json(record.value or b"")
        for id_, saga in self._begun.items():
            status = statuses.get(id_)
            if status is None or status.state is not saga.ends or status.closed_ms is None:
                yield f"{id_} is {status.state if status else 'lost'}, not {saga.ends}"
            elif status.attention_count:
                yield f"{id_} is closed and asks for attention: {status.attention}"

    def _what_stands(self) -> Iterator[str]:
        """An effect stands if its node has completed, and not else; no other saga has any."""
        stands = {(effect.workflow, effect.node) for effect in self._world.effects() if effect.stands}
        for id_, told in self.tellings.items():
            for node in told.nodes.values():
                completed = told.statuses[node.id] is StepStatus.COMPLETED
                is_effect = node.kind is Kind.ACTIVITY
                if is_effect and completed is not ((id_, node.id) in stands):
                    yield f"{id_} {node.id} is {told.statuses[node.id]}, and its effect stands: {not completed}"
                if is_effect and completed and self._begun[id_].ends is WorkflowState.COMPENSATED:
                    yield f"{id_} {node.id} was never undone"
                if not completed and not node.optional and self._begun[id_].ends is WorkflowState.COMPLETED:
                    yield f"{id_} {node.id} is {told.statuses[node.id]} in a saga that completes"
            stands -= {(id_, node) for node in told.nodes}
        yield from (f"{id_} {node} stands, and there is no such saga" for id_, node in sorted(stands))

    def _public_record(self) -> Iterator[str]:
        """The record of compensations is what the events say, in the same order."""
        public: dict[str, list[Undo]] = defaultdict(list)
        for record in self._of(topics.COMPENSATIONS):
            said = CompensationRecord.model_validate_json(record.value or b"")
            public[_key(record)].append(Undo(said.node, said.round, said.attempt))
        for id_, told in self.tellings.items():
            if public[id_] != told.undos:
                yield f"{id_}: compensations say {public[id_]}, events say {told.undos}"

    def _answers(self) -> Iterator[str]:
        """Every command is answered, and every answer is taken or ignored once."""
        answered = {result.token for result in self.results}
        for command in self.commands:
            if command.token not in answered:
                yield f"{command.workflow_id} {command.node} {command.direction}: command without an answer"
        given = Counter(
            (r.workflow_id, r.node, r.direction, r.round, r.attempt, r.outcome, r.worker) for r in self.results
        )
        told = Counter(
            (event.workflow_id, event.node, event.direction, event.round, event.attempt, event.outcome, event.by)
            for events in self.events.values()
            for event in events
            if event.event in {EventKind.ANSWERED, EventKind.IGNORED} and event.direction is not None
        )
        yield from (f"{one[0]}: no event of the answer {one[1:]}" for one in (given - told).elements())
        yield from (f"{one[0]}: no answer to the event {one[1:]}" for one in (told - given).elements())

    def _nothing_was_refused(self) -> Iterator[str]:
        for name in (topics.REJECTED, *map(topics.dead_letters, (topics.GATEWAY_WORKFLOWS, topics.ORCHESTRATOR))):
            for record in self._of(name):
                yield f"{_key(record)} on {name}: {dict(record.headers)} {(record.value or b'')[:200]!r}"

    def _trail(self) -> Iterator[str]:
        """The audit records account for every input and every output of every lane."""
        inbox, audit = self._naming.topic(topics.WORKFLOWS), self._naming.topic(topics.AUDIT)
        written = [topics.activities_of(topics.DEFAULT_QUEUE), topics.ACTIVITY_CANCELS, topics.COMPENSATIONS]
        written += [topics.WORKFLOW_EVENTS, topics.WORKFLOW_STATUS]
        results = self._naming.topic(topics.ACTIVITY_RESULTS)
        for lane in range(self._partitions):
            try:
                gateway = verify_lane(
                    self._read, audit, topics.GATEWAY_WORKFLOWS, lane, outputs=[inbox], lane_of=_gateway_of
                )
                trail = verify_lane(
                    self._read,
                    audit,
                    topics.ORCHESTRATOR,
                    lane,
                    outputs=list(map(self._naming.topic, written)),
                    inbox_timers=inbox,
                    changelog=self._naming.own(topics.ORCHESTRATOR).changelog,
                )
            except AssertionError as error:
                yield f"audit: {error}"
                continue
            for turns, topic in ((gateway, self._naming.topic(topics.IN_WORKFLOWS)), (trail, results)):
                last = max((record.offset for record in self._read[topic][lane]), default=-1)
                if position_of(turns).get(topic, 0) <= last:
                    yield f"audit: lane {lane} has not come to the end of {topic}"

    def _of(self, topic: str) -> Iterator[Record]:
        return (record for records in self._read[self._naming.topic(topic)].values() for record in records)


def _gateway_of(record: Record) -> int:
    """The lane of the gateway that wrote a record; the orchestrator's timers are none of its own."""
    return -1 if any(name == TIMER for name, _ in record.headers) else source_partition(record)


def _key(record: Record) -> str:
    return (record.key or b"").decode()
