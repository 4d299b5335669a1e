"""The recovery agent without Kafka: breakers, answers and orders in, records out, and a clock that is set."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from compensation.definition import WorkflowDefinition
from handlers.recovery.records import workflow_id
from handlers.recovery.rows import Row, Service, decode, encode, service_key
from schemas import envelope, topics
from schemas.breaker import BreakerEvent
from schemas.model import length_ms
from schemas.policy import Policy, PublishedPolicy
from schemas.recovery import RecoveryCommand, RecoveryEvent, RecoveryRule, RecoveryState, RecoveryStatus
from schemas.workflow import CommandKind, WorkflowAnswer, WorkflowCommand
from streams.agents.naming import Naming
from streams.agents.recovery import recovery_agent
from streams.engine.driver import LaneDriver
from streams.engine.records import Headers, InputRecord
from streams.engine.turn import TIMER, Turn
from streams.metrics import Measures
from tests.support.orchestrated import SAFE, Rejected
from tests.support.product import HASH, policy

T0 = 1_800_000_000_000
RESTART, PROBE = "restart_service", "probe_service"
CHECKED = RecoveryRule(activity=RESTART, health_check=PROBE)
UNCHECKED = RecoveryRule(activity=RESTART)
ATTEMPT_MS = 2 * (30_000 + 60_000 + 1_000) + 30_000
"""How long an attempt by CHECKED may take."""
CLOSING_MS = length_ms(UNCHECKED.timeout)


def rule(**changes: Any) -> RecoveryRule:  # noqa: ANN401
    """CHECKED with changes, as a policy's document says them."""
    said = {**CHECKED.model_dump(mode="json"), **changes}
    return RecoveryRule.model_validate_json(orjson.dumps(said, default=str))


def recovery_policy(epoch: int = 1, *, hashes: tuple[str, ...] = (HASH,), **changes: Any) -> Policy:  # noqa: ANN401
    """A policy that knows the activities and, unless it says otherwise, recovers every service."""
    base = policy(epoch, hashes, recoveries={"*": CHECKED})
    return base.model_copy(update={"tools": {**base.tools, RESTART: SAFE, PROBE: SAFE}, **changes})


class Recovered:
    """One lane of the recovery agent; every record that it writes is held to its contract."""

    def __init__(self, driver: Callable[..., Any] = LaneDriver, **changes: Any) -> None:  # noqa: ANN401
        self.naming = Naming("p.")
        self.registry = CollectorRegistry()
        self.driver: LaneDriver[Row, PublishedPolicy] = driver(recovery_agent(self.naming, Measures(self.registry)))
        self.now = T0
        self.events: list[RecoveryEvent] = []
        self.statuses: dict[str, RecoveryStatus] = {}
        self.started: list[WorkflowCommand] = []
        self.cancelled: list[str] = []
        self.rejected: list[Rejected] = []
        self.changed_rows: list[set[str]] = []
        self.stands_still = False
        """Whether no timer fires after a record."""
        self._sequence = 0
        self._epoch = 0
        self._changes = changes
        self.publish()

    def publish(self, **changes: Any) -> None:  # noqa: ANN401
        """The next epoch of the policy."""
        self._epoch += 1
        document = recovery_policy(self._epoch, **{**self._changes, **changes}).canonical()
        self._take(self.driver.send(self.naming.topic(topics.CONTROL), document, timestamp=self.now))

    # What comes in

    def breaker(self, service: str = "payments", state: str = "open", **changes: Any) -> None:  # noqa: ANN401
        """A breaker event as its gateway passes it on."""
        self._sequence += 1
        said = {
            "event_id": str(uuid.UUID(int=self._sequence)),
            "kind": "state_change",
            "service": service,
            "breaker": "calls",
            "instance": "shop-1",
            "sequence": self._sequence,
            "state": state,
            "at": "2026-01-31T09:30:00Z",
            "ttl_s": 86_400,
            "constitutional_hash": HASH,
            **changes,
        }
        value = orjson.dumps(said)
        BreakerEvent.model_validate_json(value)
        self.send(topics.BREAKERS, service, value, _PASSED)

    def order(
        self,
        command: str,
        service: str = "payments",
        *,
        verified: bool = True,
        **changes: Any,  # noqa: ANN401
    ) -> str:
        """A command as its gateway passes it on; approve and cancel name the present version. Returns its id."""
        said = {
            "command": command,
            "command_id": str(uuid.uuid4()),
            "service": service,
            "requested_by": "olga",
            "reason": "as agreed",
            "constitutional_hash": HASH,
            "created_at": "2026-01-31T09:30:00Z",
            **({} if command == "schedule" else {"version": self.task(service).version}),
            **changes,
        }
        value = orjson.dumps(said)
        RecoveryCommand.model_validate_json(value)
        proof = (envelope.SENDER_VERIFIED, b"true" if verified else b"false")
        self.send(topics.RECOVERY, service, value, (*_PASSED, proof))
        return str(said["command_id"])

    def answer(self, service: str = "payments", state: str = "completed", **changes: Any) -> None:  # noqa: ANN401
        """The orchestrator's answer about the workflow of the present attempt; well unless it says otherwise."""
        said = {
            "workflow_id": workflow_id(service, self.row(service).task),
            "run": "0" * 32,
            "state": state,
            "commanded": True,
            "taken": True,
            "results": {"check": {"value": True}} if state == "completed" else None,
            **changes,
        }
        value = orjson.dumps(said)
        WorkflowAnswer.model_validate_json(value)
        self.send(topics.RECOVERY, service, value)

    def send(self, topic: str, key: str, value: bytes | None, headers: Headers = ()) -> None:
        name, position = self.naming.topic(topic), self.driver.state.position
        assert position is not None
        record = InputRecord(name, 0, position.offsets[name], self.now, key.encode(), value, headers)
        self._take(self.driver.handle([record]))
        if not self.stands_still:
            self.pass_time(0)

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

    def row(self, service: str = "payments") -> Service:
        stored = self.driver.state.rows.get(service_key(service))
        assert stored is None or isinstance(stored.row, Service)
        return Service() if stored is None else stored.row

    def task(self, service: str = "payments") -> RecoveryStatus | Any:  # noqa: ANN401
        """How a service's recovery stands, as everybody can read it."""
        return self.statuses.get(service) or self.row(service).task

    def state(self, service: str = "payments") -> RecoveryState:
        status = self.statuses.get(service)
        return RecoveryState.IDLE if status is None else status.state

    def states(self, service: str = "payments") -> list[str]:
        """Every state that it came into."""
        return [event.state.value for event in self.events if event.service == service]

    @property
    def attempts(self) -> list[str]:
        """The services of the attempts that were started, in order."""
        return [str((command.input or {})["service"]) for command in self.started]

    def _take(self, turn: Turn[Row, PublishedPolicy]) -> None:
        letters = turn.batches.get((self.naming.own(topics.RECOVERER).dead_letters, 0), ())
        assert not letters, letters
        for stored in turn.changes.values():
            if stored is not None:
                assert decode(encode(stored.row)) == stored.row
        self.changed_rows.append(set(turn.changes))
        for (name, _), records in turn.batches.items():
            for key, value, headers, _ in records:
                self._take_record(name.removeprefix("p."), (key or b"").decode(), value, dict(headers))

    def _take_record(self, topic: str, key: str, value: bytes | None, headers: Mapping[str, Any]) -> None:
        if TIMER in headers or topic in {topics.AUDIT, topics.changelog(topics.RECOVERER)}:
            return
        match topic:
            case topics.RECOVERY_EVENTS:
                self.events.append(RecoveryEvent.model_validate_json(value or b""))
            case topics.RECOVERY_STATUS if value is None:
                del self.statuses[key]
            case topics.RECOVERY_STATUS:
                self.statuses[key] = RecoveryStatus.model_validate_json(value or b"")
            case topics.REJECTED:
                reason, detail = headers[envelope.REASON].decode(), headers[envelope.DETAIL].decode()
                self.rejected.append(Rejected(reason, detail, value))
            case topics.WORKFLOWS:
                self._take_command(WorkflowCommand.model_validate_json(value or b""), headers)
            case _:
                raise AssertionError(topic)

    def _take_command(self, command: WorkflowCommand, headers: Mapping[str, Any]) -> None:
        assert headers[envelope.REPLY_TO].startswith(b"recovery/")
        assert envelope.SOURCE not in headers
        if command.command is CommandKind.CANCEL:
            self.cancelled.append(command.workflow_id)
            return
        assert command.definition is not None
        WorkflowDefinition.parse(orjson.dumps(command.definition))
        self.started.append(command)


_PASSED: Headers = ((envelope.VERSION, b"1"), (envelope.SOURCE, b"p.in.breakers/0/7"), (envelope.POLICY, b"1:x"))
