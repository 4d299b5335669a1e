"""What one record does to one workflow: through the state machine, and everything that follows from it."""

from collections import deque
from collections.abc import Mapping, Sequence

import orjson
from pydantic import JsonValue

from compensation import machine
from compensation.definition import Kind
from compensation.durable import wire
from compensation.durable.answering import answer
from compensation.durable.asking import Item, item_of_node, item_of_start, withdrawn
from compensation.durable.effects import Effect, Forget, Keep, Publish, Scorer, Surroundings
from compensation.durable.prepared import keys
from compensation.durable.rows import Case, Closed, Head, Leaf, case_key, head_key, leaf_key
from compensation.durable.standing import attending, status
from compensation.durable.weighing import action
from compensation.durable.wire import Caused
from compensation.events import Answered, Ask, Beat, Call, Command, Complete, Event, Stop, Withdraw
from compensation.machine import Transition
from compensation.rows import NodeRow, WorkflowRow
from compensation.status import CLOSED, StepStatus, WorkflowState
from schemas import topics
from schemas.activity import MAX_COMMAND_BYTES, Direction, Outcome
from schemas.score import ScoreCard
from schemas.workflow import EventKind
from schemas.workflow import Step as Consequence

_TAKEN = frozenset({Outcome.COMPLETED, Outcome.NO_EFFECT, Outcome.FAILED, Outcome.FINAL})
"""How an attempt ends that a worker has begun."""


class Progress:
    """One record's way through a workflow. The state machine's memory: rows as they were, and the record's changes."""

    def __init__(self, case: Case, head: Head, view: Surroundings, scorer: Scorer) -> None:
        self.case, self.workflow_id = case, case.workflow_id
        self._head, self._view, self._scorer = head, view, scorer
        self._state_before: WorkflowState | None = head.row.state
        self._leaves: dict[str, Leaf] = {}
        self._unchanged: dict[str, Leaf] = {}
        self._cards: dict[str, ScoreCard] = {}
        self._unsent: deque[tuple[Answered, Caused]] = deque()
        self._published: list[Publish] = []
        self._is_new = self._told = False

    # What the state machine remembers

    def workflow(self) -> WorkflowRow:
        """The row of the whole."""
        return self._head.row

    def node(self, id_: str) -> NodeRow:
        """The row of a node."""
        return self.leaf(id_).row

    def leaf(self, id_: str) -> Leaf:
        """A node's row and what belongs to it."""
        found = self._leaves.get(id_) or self._unchanged.get(id_)
        if found is None:
            row = self._view.row(leaf_key(self.workflow_id, id_))
            if not isinstance(row, Leaf):
                raise KeyError(id_)
            found = self._unchanged[id_] = row
        return found

    # What happens

    def begin(self, caused: Caused, *, held: bool) -> None:
        """The first step of a run."""
        self._is_new, self._state_before = True, None
        step = machine.start(self.case.prepared.plan, self._view.clock_ms, self._holds, held=held)
        self._leaves = {id_: Leaf(row) for id_, row in step.nodes.items()}
        self._take(step, caused, {}, dict.fromkeys(step.nodes))
        self._take_unsent()

    def happens(self, event: Event, caused: Caused, results: Mapping[str, bytes | None] | None = None) -> str | None:
        """One event, with the results that nodes have by it; returns why it changes nothing, if so."""
        if isinstance(event, Answered) and event.outcome in _TAKEN:
            self._is_taken()
        refused = self._advance(event, caused, results or {})
        self._take_unsent()
        return refused

    def ignores(self, caused: Caused) -> None:
        """Says that something changes nothing."""
        self._say(caused, None, {}, [])

    def beats(self, beat: Beat, details: bytes | None) -> None:
        """A sign of life; the next attempt is given its details."""
        self._is_taken()
        step = machine.advance(self.case.prepared.plan, self, beat, self._view.clock_ms, self._holds)
        for id_, row in step.nodes.items():
            self._leaves[id_] = self.leaf(id_)._replace(row=row, details=details)

    def _is_taken(self) -> None:
        """A worker has taken a call: whoever is to be told how the workflow goes on wants to know."""
        if self.case.reply_to is not None:
            self._head = self._head._replace(taken=True)

    def _advance(self, event: Event, caused: Caused, results: Mapping[str, bytes | None]) -> str | None:
        step = machine.advance(self.case.prepared.plan, self, event, self._view.clock_ms, self._holds)
        if step.refused is None:
            before = {id_: self.leaf(id_) for id_ in step.nodes}
            for id_, row in step.nodes.items():
                _, result, details, item = before[id_]
                self._leaves[id_] = Leaf(row, result, details, item)
            self._take(step, caused, results, before)
        return step.refused

    def _take_unsent(self) -> None:
        """Calls that cannot be sent have failed without an effect: the state machine is told so."""
        while self._unsent:
            event, caused = self._unsent.popleft()
            self._advance(event, caused, {})

    def _take(
        self,
        step: Transition,
        caused: Caused,
        results: Mapping[str, bytes | None],
        before: Mapping[str, Leaf | None],
    ) -> None:
        was_failing = self._head.row.failing
        self._head = self._head._replace(row=step.workflow)
        for id_, result in results.items():
            self._leaves[id_] = self.leaf(id_)._replace(result=result)
        asked = [said for command in step.commands if (said := self._follow(command)) is not None]
        self._attend(before, was_failing=was_failing)
        statuses = {
            id_: row.status
            for id_, row in step.nodes.items()
            if (was := before[id_]) is None or was.row.status is not row.status
        }
        own = results.get(str(caused.about.get("node")))
        self._say(caused, own, statuses, asked)

    def _say(
        self,
        caused: Caused,
        result: bytes | None,
        statuses: Mapping[str, StepStatus],
        asked: Sequence[Mapping[str, object]],
    ) -> None:
        row = self._head.row
        named = {
            "workflow_id": self.workflow_id,
            "run": self.case.run,
            "version": row.version,
            "at": self._view.clock_ms,
            "state": row.state,
            "cause": row.cause,
        }
        said: dict[str, object] = {"statuses": statuses, "asked": asked}
        self._publish(topics.WORKFLOW_EVENTS, wire.event(named, caused, result, said))

    # What it asks for

    def _follow(self, command: Command) -> Mapping[str, object] | None:
        match command:
            case Call():
                return self._call(command)
            case Stop():
                self._publish(topics.ACTIVITY_CANCELS, orjson.dumps(wire.attempt(self.case, command)))
                return wire.asked(Consequence.STOP, command, None)
            case Ask():
                return self._ask(command)
            case Withdraw():
                return self._withdraw(command)
            case Complete():
                return None

    def _call(self, call: Call) -> Mapping[str, object]:
        node, is_undo = self.case.prepared.nodes[call.node], call.direction is Direction.UNDO
        queue = node.compensation.queue if is_undo and node.compensation else node.queue
        inputs = self._inputs(call.node)
        unsent = self._why_not(queue, inputs)
        if unsent is not None:
            return self._cannot(call, *unsent)
        own = keys(node, self.workflow_id, self.case.run, self.case.input, call.round if is_undo else None)
        text = wire.command(self.case, call, node, own, inputs=inputs, leaf=self.leaf(call.node))
        self._publish(topics.activities_of(queue), text)
        if not is_undo:
            return wire.asked(Consequence.CALL, call, None, score=self._card(call.node).score)
        now, cause = self._view.clock_ms, self._head.row.cause
        self._publish(topics.COMPENSATIONS, wire.compensation(self.case, call, node, own, at_ms=now, cause=cause))
        return wire.asked(Consequence.CALL, call, None)

    def _why_not(self, queue: str, inputs: Mapping[str, bytes]) -> tuple[Outcome, str] | None:
        """Why a call cannot be sent."""
        if queue not in self._view.control.policy.queues:
            return Outcome.UNKNOWN_ACTIVITY, f"the policy has no queue {queue!a} any more"
        size = len(self.case.input) + wire.total(inputs.values())
        if size > MAX_COMMAND_BYTES:
            return Outcome.NO_EFFECT, f"its inputs are {size} bytes, allowed are {MAX_COMMAND_BYTES}"
        return None

    def _cannot(self, call: Call, outcome: Outcome, why: str) -> Mapping[str, object]:
        about = {"node": call.node, "direction": call.direction, "round": call.round, "attempt": call.attempt}
        caused = Caused(EventKind.ANSWERED, {**about, "outcome": outcome, "why": why})
        answer = Answered(call.node, call.direction, call.round, call.attempt, outcome, why)
        self._unsent.append((answer, caused))
        return wire.asked(Consequence.CALL, call, None, why=why)

    def _ask(self, ask: Ask) -> Mapping[str, object]:
        policy, entropy = self._view.control, self._view.entropy()
        if ask.node is None:
            item = item_of_start(self.case, self._scorer, policy, entropy)
            self._head = self._head._replace(item=item.item_id)
        else:
            node = self.case.prepared.nodes[ask.node]
            card = self._card(ask.node) if ask.is_release else None
            inputs = self._inputs(ask.node)
            item = item_of_node(self.case, node, inputs, card, policy=policy, entropy=entropy)
            self._leaves[ask.node] = self.leaf(ask.node)._replace(item=item.item_id)
        self._hold(item)
        return wire.asked(Consequence.ASK, None, ask.node, score=item.score, why=item.why)

    def _hold(self, item: Item) -> None:
        self._published.append(Publish(topics.DELIBERATION, item.item_id, item.value, item.headers))

    def _withdraw(self, command: Withdraw) -> Mapping[str, object]:
        item_id = self._head.item if command.node is None else self.leaf(command.node).item
        if item_id is not None:
            self._hold(withdrawn(item_id, self.workflow_id, self._head.row.cause or "the workflow goes back"))
        return wire.asked(Consequence.WITHDRAW, None, command.node)

    # What a call would be given

    def _inputs(self, id_: str) -> dict[str, bytes]:
        """The results that a node is given: of the nodes it names, or of those it directly depends on."""
        node = self.case.prepared.nodes[id_]
        wanted = node.dependencies if node.inputs is None else node.inputs
        found = {one: self.leaf(one).result for one in wanted}
        return {one: result for one, result in found.items() if result is not None}

    def _holds(self, id_: str) -> bool:
        if self.case.prepared.nodes[id_].kind is not Kind.ACTIVITY:
            return False
        return self._view.control.policy.tier_of(self._card(id_).score) is not None

    def _card(self, id_: str) -> ScoreCard:
        card = self._cards.get(id_)
        if card is None:
            activity = self.case.prepared.nodes[id_].activity or ""
            results: dict[str, JsonValue] = {one: orjson.loads(text) for one, text in self._inputs(id_).items()}
            arguments = {**orjson.loads(self.case.input), "results": results}
            said = action(self.case.tenant_id, activity, arguments)
            card = self._scorer(said, self._view.control, sender_verified=self.case.verified)
            self._cards[id_] = card
        return card

    # What is kept

    def _attend(self, before: Mapping[str, Leaf | None], *, was_failing: bool) -> None:
        """Keeps the nodes that need somebody: counted all, named the first of them."""
        head, plan = self._head, self.case.prepared.plan
        attended = attending(plan, head, before, self.leaf, was_failing=was_failing)
        if attended != (head.attention, head.attention_count):
            self._head, self._told = head._replace(attention=attended[0], attention_count=attended[1]), True

    def finish(self) -> list[Effect]:
        """Everything that the record asks for."""
        head, now = self._head, self._view.clock_ms
        is_closed = head.row.state in CLOSED
        if head.row.state is not self._state_before:
            head, self._told = head._replace(closed_ms=now if is_closed else None), True
        if self._told:
            self._publish(topics.WORKFLOW_STATUS, status(self.case, head, now, self.leaf))
            if self.case.reply_to is not None and not (self._is_new and _runs(head)):
                self._published.append(answer(self.case, head, self.leaf))
        effects: list[Effect] = list(self._published)
        if is_closed and self._nothing_can_come():
            return [*effects, *self._only_closed(head)]
        if self._is_new:
            effects.append(Keep(case_key(self.workflow_id), self.case))
        due = self._forgotten_ms() if is_closed else head.row.due
        effects.append(Keep(head_key(self.workflow_id), head, due))
        effects += [Keep(leaf_key(self.workflow_id, id_), leaf, leaf.row.due) for id_, leaf in self._leaves.items()]
        return effects

    def _nothing_can_come(self) -> bool:
        rows = [self.leaf(id_).row for id_ in self.case.prepared.nodes]
        return all(row.ended and not row.lost for row in rows)

    def _only_closed(self, head: Head) -> list[Effect]:
        case = self.case
        closed = Closed(case.run, case.secret, case.content, case.tenant_id, head.row.state, head.row.version)
        forgotten = [leaf_key(self.workflow_id, id_) for id_ in case.prepared.nodes]
        kept: Keep = Keep(head_key(self.workflow_id), closed, self._forgotten_ms())
        return [kept, Forget(case_key(self.workflow_id)), *map(Forget, forgotten)]

    def _forgotten_ms(self) -> int:
        kept_for = self._view.control.policy.keep_closed_workflows
        return self._view.clock_ms + int(kept_for.total_seconds() * 1000)

    def _publish(self, topic: str, value: bytes | None) -> None:
        self._published.append(Publish(topic, self.workflow_id, value))


def _runs(head: Head) -> bool:
    return head.row.state is WorkflowState.RUNNING and not head.attention
