"""The orchestrator without Kafka: commands in, records out, each held to its contract, and a clock that is set."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from compensation.definition import WorkflowDefinition
from compensation.durable.rows import Head, Row, decode, encode, head_key
from schemas import envelope, topics
from schemas.activity import ActivityCancel, ActivityCommand, Attempt, Direction, Heartbeat, Outcome
from schemas.deliberation import DeliberationItem
from schemas.policy import Policy, PublishedPolicy, Tool, Verb
from schemas.workflow import (
    CompensationRecord,
    WorkflowCommand,
    WorkflowEvent,
    WorkflowState,
    WorkflowStatus,
    WorkflowVerdict,
)
from streams.agents.naming import Naming
from streams.agents.orchestrator import orchestrator_agent
from streams.engine.driver import LaneDriver
from streams.engine.records import Headers, InputRecord
from streams.engine.turn import TIMER, Turn
from streams.metrics import Measures
from tests.support.product import HASH, policy

DAY_MS = 24 * 3_600_000
_CONTRACTS: Mapping[str, type[BaseModel]] = {
    topics.activities_of("default"): ActivityCommand,
    topics.activities_of("other"): ActivityCommand,
    topics.ACTIVITY_CANCELS: ActivityCancel,
    topics.COMPENSATIONS: CompensationRecord,
    topics.WORKFLOW_EVENTS: WorkflowEvent,
}
SAFE = Tool(verb=Verb.CHANGE)


class Held(NamedTuple):
    """What waits for approval."""

    item: DeliberationItem
    value: dict[str, Any]
    headers: Mapping[str, bytes]


class Rejected(NamedTuple):
    reason: str
    detail: str
    value: bytes | None


def workflow_policy(epoch: int = 1, *activities: str, **changes: Any) -> Policy:  # noqa: ANN401
    """A policy that knows the activities, but for those whose name begins with `grave`."""
    known = {name: SAFE for name in activities if not name.startswith("grave")}
    base = policy(epoch, **changes)
    return base.model_copy(update={"tools": {**base.tools, **known}})


def activities_of(definition: WorkflowDefinition) -> set[str]:
    forward = {node.activity for node in definition.nodes if node.activity}
    return forward | {node.compensation.activity for node in definition.nodes if node.compensation}


class Orchestrated:
    """One lane of the orchestrator under a policy that knows the given activities."""

    def __init__(self, *activities: str, driver: Callable[..., Any] = LaneDriver, **changes: Any) -> None:  # noqa: ANN401
        self.naming = Naming("p.")
        agent = orchestrator_agent(self.naming, Measures(CollectorRegistry()), ("default", "other"))
        self.driver: LaneDriver[Row, PublishedPolicy] = driver(agent)
        self.now = 1_700_000_000_000
        self.activities = activities
        self.sent: list[ActivityCommand] = []
        self.events: list[WorkflowEvent] = []
        self.cancels: list[ActivityCancel] = []
        self.compensations: list[CompensationRecord] = []
        self.statuses: dict[str, WorkflowStatus] = {}
        self.held: list[Held] = []
        self.withdrawn: list[str] = []
        self.rejected: list[Rejected] = []
        self._changes = changes
        self.publish(1, *activities)

    def publish(self, epoch: int, *activities: str, **changes: Any) -> None:  # noqa: ANN401
        document = workflow_policy(epoch, *activities, **{**self._changes, **changes}).canonical()
        self._take(self.driver.send(self.naming.topic(topics.CONTROL), document, timestamp=self.now))

    # What comes in

    def start(
        self,
        definition: WorkflowDefinition | Mapping[str, Any],
        given: Mapping[str, Any] | None = None,
        **changes: Any,  # noqa: ANN401
    ) -> None:
        text = definition.canonical() if isinstance(definition, WorkflowDefinition) else orjson.dumps(definition)
        self.command("start", definition=orjson.loads(text), input=given or {}, **changes)

    def command(self, command: str, *, verified: bool | None = None, ours: bool = False, **fields: Any) -> str:  # noqa: ANN401
        """Sends a command as the gateway passes it on; returns its id."""
        made = {
            "command": command,
            "command_id": str(uuid.uuid4()),
            "workflow_id": "w",
            "tenant_id": "acme",
            "requested_by": "ada",
            "constitutional_hash": HASH,
            "created_at": "2026-01-31T09:30:00Z",
            **fields,
        }
        value = orjson.dumps(made)
        WorkflowCommand.model_validate_json(value)
        headers: Headers = (
            (envelope.VERSION, b"1"),
            (envelope.SOURCE, b"p.in.workflows/0/7"),
            (envelope.POLICY, b"1:x"),
        )
        if verified is not None:
            headers = (*headers, (envelope.SENDER_VERIFIED, b"true" if verified else b"false"))
        if ours:
            headers = (*headers, (envelope.REPLY_TO, b"recovery"))
        self.send(topics.WORKFLOWS, value, headers)
        return str(made["command_id"])

    def send(self, topic: str, value: bytes | None, headers: Headers = ()) -> None:
        turn = self.driver.handle([self._record(topic, value, headers)])
        self._take(turn)
        self.pass_time(0)

    def answer(
        self,
        command: ActivityCommand,
        outcome: Outcome = Outcome.COMPLETED,
        result: object = None,
        said: Mapping[str, Any] | None = None,
    ) -> None:
        """The answer of a worker; `said` has fields that are otherwise."""
        made: dict[str, Any] = {**attempt(command), "outcome": outcome.value, "worker": "worker-1"}
        made |= {"result": {"value": result}} if outcome is Outcome.COMPLETED else {"error": outcome.value}
        self.send(topics.ACTIVITY_RESULTS, orjson.dumps({**made, **(said or {})}))

    def beat(self, command: ActivityCommand, details: object = None) -> None:
        value = orjson.dumps({**attempt(command), "details": details, "worker": "worker-1"})
        Heartbeat.model_validate_json(value)
        self.send(topics.HEARTBEATS, value)

    def verdict(self, *, approved: bool, item: Held | None = None, **changes: Any) -> None:  # noqa: ANN401
        """The deliberation agent's answer to what is held, the last if none is named."""
        held = item or self.held[-1]
        said = {
            "v": 1,
            "item_id": held.item.item_id,
            "workflow_id": held.value["workflow_id"],
            "run": held.value["run"],
            "node": held.value["node"],
            "approved": approved,
            "why": "said so",
            **changes,
        }
        value = orjson.dumps(said)
        WorkflowVerdict.model_validate_json(value)
        self.send(topics.WORKFLOWS, value, ((envelope.VERSION, b"1"),))

    def pass_time(self, ms: int) -> None:
        """Lets the time pass, each timer firing at its moment."""
        until = self.now + ms
        while (due := self.next_due()) is not None and due <= until:
            self.now = max(self.now, due)
            turns = self.driver.advance(self.now)
            assert turns, f"a timer due at {due} does not fire"
            for turn in turns:
                self._take(turn)
        self.now = until

    def next_due(self) -> int | None:
        return min((row.due_ms for row in self.driver.state.rows.values() if row.due_ms is not None), default=None)

    # What came of it

    def last(self, node: str, direction: Direction = Direction.DO) -> ActivityCommand:
        """The last command for a node."""
        return next(one for one in reversed(self.sent) if (one.node, one.direction) == (node, direction))

    def done(self) -> list[str]:
        return [one.node for one in self.sent if one.direction is Direction.DO]

    def undone(self) -> list[str]:
        return [one.node for one in self.sent if one.direction is Direction.UNDO]

    def status(self, workflow_id: str = "w") -> WorkflowStatus:
        return self.statuses[workflow_id]

    @property
    def state(self) -> WorkflowState:
        return self.statuses["w"].state

    def version(self, workflow_id: str = "w") -> int:
        row = self.driver.state.rows[head_key(workflow_id)].row
        assert isinstance(row, Head)
        return row.row.version

    def _record(self, topic: str, value: bytes | None, headers: Headers) -> InputRecord:
        name = self.naming.topic(topic)
        position = self.driver.state.position
        assert position is not None
        return InputRecord(name, 0, position.offsets[name], self.now, b"w", value, headers)

    def _take(self, turn: Turn[Row, PublishedPolicy]) -> None:
        letters = turn.batches.get((self.naming.own(topics.ORCHESTRATOR).dead_letters, 0), ())
        assert not letters, letters
        for stored in turn.changes.values():
            if stored is not None:
                assert decode(encode(stored.row)) == stored.row
        for (name, _), records in turn.batches.items():
            for key, value, headers, _ in records:
                self._take_record(name.removeprefix("p."), key, value, dict(headers))

    def _take_record(self, topic: str, key: bytes | None, value: bytes | None, headers: dict[str, Any]) -> None:
        if TIMER in headers or topic in {topics.AUDIT, topics.changelog(topics.ORCHESTRATOR)}:
            return
        contract = _CONTRACTS.get(topic)
        made = contract.model_validate_json(value or b"") if contract else None
        match made:
            case ActivityCommand():
                self.sent.append(made)
            case ActivityCancel():
                self.cancels.append(made)
            case CompensationRecord():
                self.compensations.append(made)
            case WorkflowEvent():
                self.events.append(made)
            case _:
                self._take_other(topic, (key or b"").decode(), value, headers)

    def _take_other(self, topic: str, key: str, value: bytes | None, headers: dict[str, Any]) -> None:
        if topic == topics.WORKFLOW_STATUS and value is None:
            del self.statuses[key]
        elif topic == topics.WORKFLOW_STATUS:
            self.statuses[key] = WorkflowStatus.model_validate_json(value or b"")
        elif topic == topics.REJECTED:
            reason, detail = headers[envelope.REASON].decode(), headers[envelope.DETAIL].decode()
            self.rejected.append(Rejected(reason, detail, value))
        elif envelope.WITHDRAWN in headers:
            self.withdrawn.append(headers[envelope.WITHDRAWN].decode())
        else:
            assert topic == topics.DELIBERATION
            item = DeliberationItem.model_validate_json(headers[envelope.ITEM])
            assert key == item.item_id
            self.held.append(Held(item, orjson.loads(value or b""), headers))


def attempt(command: Attempt) -> dict[str, Any]:
    return command.model_dump(mode="json", include=set(Attempt.model_fields))
