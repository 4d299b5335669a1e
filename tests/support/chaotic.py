"""A chaos agent on a LaneDriver, operators with keys, and commands for chaos."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from handlers.chaos.admitting import KEY
from schemas import envelope, topics
from schemas.breaker import BreakerEvent
from schemas.chaos import EVERYTHING, ChaosStatus, EmergencyStop
from schemas.policy import ChaosLimits, Policy, PublishedPolicy
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.engine.driver import LaneDriver
from streams.engine.records import Headers, InputRecord
from streams.engine.turn import Bounds, Turn
from streams.metrics import Measures
from tests.support.deliberated import Written
from tests.support.product import HASH, policy
from tests.support.signing import approver, key

NAMING = Naming("t.")
T0 = 1_800_000_000_000
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
OLGA, OTTO = "olga", "otto"
LIMITS = ChaosLimits(
    targets=("agent:*", "queue:*", "activity:*", "service:*"), max_duration=timedelta(seconds=300), at_once=3
)


def chaotic_policy(epoch: int = 1, chaos: ChaosLimits | None = LIMITS, **changes: Any) -> Policy:  # noqa: ANN401
    """A policy with two operators that allows chaos."""
    said = {"approvers": (approver(OLGA), approver(OTTO)), "operators": (OLGA, OTTO), "chaos": chaos, **changes}
    return Policy.model_validate_json(policy(epoch).model_copy(update=said).canonical())


def scenario_id(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"scenario {number}"))


def run(number: int = 0, *, at_ms: int = T0, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A command that brings latency to triage for 10 s."""
    return {
        **order("run", at_ms=at_ms),
        "scenario_id": scenario_id(number),
        "name": f"scenario {number}",
        "chaos_type": "latency",
        "target": "agent:triage",
        "duration_ms": 10 * SECOND,
        "blast_radius": ["agent:triage"],
        "parameters": {"latency_ms": 100},
        **changes,
    }


def forced(number: int = 0, service: str = "bank", **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A command that forces a service's breaker open for 10 s."""
    target = f"service:{service}"
    return run(number, chaos_type="circuit_breaker", target=target, blast_radius=[target], parameters={}, **changes)


def order(command: str, *, at_ms: int = T0, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    created = datetime.fromtimestamp(at_ms / 1_000, UTC)
    return {
        "command": command,
        "command_id": str(uuid.uuid4()),
        "requested_by": OLGA,
        "reason": "game day",
        "constitutional_hash": HASH,
        "created_at": created.isoformat(),
        "expires_at": (created + timedelta(minutes=2)).isoformat(),
        **changes,
    }


def signed(said: dict[str, Any], by: str | None = None) -> tuple[bytes, Headers]:
    """The bytes of a command, and the header with the signature of whoever it names, or of somebody else."""
    value = orjson.dumps(said)
    return value, ((envelope.SIGNATURE, key(by or said["requested_by"]).message_signature(value)),)


class ChaosDesk:
    """One lane of the agent, and what it has written. Time is the log's, in milliseconds after T0."""

    def __init__(self, document: Policy | None = None, driver: Callable[..., Any] = LaneDriver) -> None:
        (self.agent,) = build_agents([topics.CHAOS_AGENT], NAMING, Measures(CollectorRegistry()))
        self.written: list[Written] = []
        self.now = 0
        names = self.agent.written
        self.driver: LaneDriver[bytes, PublishedPolicy] = driver(
            self.agent, bounds=Bounds(dict.fromkeys(names, 2), dict.fromkeys(names, 4 * 1024 * 1024))
        )
        self.publish(document or chaotic_policy())

    def publish(self, document: Policy) -> None:
        """A new epoch comes into force on this lane."""
        self._handle(NAMING.topic(topics.CONTROL), document.canonical(), ())

    def take(self, said: dict[str, Any], *, by: str | None = None) -> None:
        """A command that has passed its gateway."""
        self.take_bytes(*signed(said, by))

    def take_bytes(self, value: bytes, headers: Headers) -> None:
        stamp = ((envelope.VERSION, b"1"), (envelope.SOURCE, b"t.in.chaos/0/7"), (envelope.SENDER_VERIFIED, b"true"))
        self._handle(NAMING.topic(topics.CHAOS_REQUESTS), value, (*stamp, *headers))
        self.pass_time(0)

    def pass_time(self, ms: int) -> None:
        """Timers fire as the lane's time goes on."""
        self.now += ms
        for turn in self.driver.advance(T0 + self.now):
            self._take(turn)

    @property
    def at_ms(self) -> int:
        return T0 + self.now

    def on(self, topic: str) -> list[Written]:
        return [one for one in self.written if one.topic == NAMING.topic(topic)]

    @property
    def reasons(self) -> list[str]:
        return [one.reason for one in self.on(topics.REJECTED)]

    def statuses(self, number: int = 0) -> list[ChaosStatus | None]:
        """What was said of a scenario, in order; None where it was deleted."""
        key_ = scenario_id(number).encode()
        said = [one.value for one in self.on(topics.CHAOS) if one.key == key_]
        return [None if value is None else ChaosStatus.model_validate_json(value) for value in said]

    def status(self, number: int = 0) -> ChaosStatus:
        """The last that was said of a scenario."""
        last = self.statuses(number)[-1]
        assert last is not None
        return last

    @property
    def emergency_stops(self) -> list[EmergencyStop]:
        said = [one.value or b"" for one in self.on(topics.CHAOS) if one.key == EVERYTHING.encode()]
        return [EmergencyStop.model_validate_json(value) for value in said]

    @property
    def breakers(self) -> list[BreakerEvent]:
        return [BreakerEvent.model_validate_json(one.value or b"") for one in self.on(topics.BREAKERS)]

    @property
    def rows(self) -> list[str]:
        return sorted(self.driver.state.rows)

    def _handle(self, topic: str, value: bytes, headers: Headers) -> None:
        position = self.driver.state.position
        offset = position.offsets[topic] if position else 0
        record = InputRecord(topic, 0, offset, T0 + self.now, KEY.encode(), value, headers)
        self._take(self.driver.handle([record]))

    def _take(self, turn: Turn[bytes, PublishedPolicy]) -> None:
        letters = [out[2] for (topic, _), batch in turn.batches.items() if "dead-letters" in topic for out in batch]
        assert turn.dead_letters == 0, letters
        for (topic, partition), outputs in turn.batches.items():
            self.written += [Written(topic, partition, k, v, dict(reversed(list(h)))) for k, v, h, _ in outputs]
