"""A deliberation agent on a LaneDriver, people with keys, and items to decide on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from handlers import triage
from schemas import deliberation, envelope, topics
from schemas.decision import Decision
from schemas.deliberation import DeliberationItem, DeliberationStatus, DeliberationVerdict, Terms
from schemas.policy import Policy, PublishedPolicy, Tier
from schemas.registry import Relay
from streams import keys
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.engine.driver import LaneDriver
from streams.engine.records import Headers, InputRecord
from streams.engine.turn import Bounds, Turn
from streams.metrics import Measures
from tests.support.product import UNKNOWN_TOOL, message, policy
from tests.support.signing import approver, public

NAMING = Naming("t.")
T0 = 1_800_000_000_000
HOUR = 3_600_000
PARTITIONS = 2
AGENT = "planner"
"""Who asks, in the messages of tests.product."""


LEE, SAM, SUE, OLA, CAL = (
    approver("lee", "lead"),
    approver("sam", "security"),
    approver("sue", "security", accounts={"slack": "U1"}),
    approver("ola", "lead", "security", operates=(AGENT,)),
    approver("cal", "compliance", accounts={"slack": "U2"}),
)
TWO = Tier(name="high", at_least=8_000, approvals=2, roles=("lead", "security"), deadline=timedelta(hours=24))
THREE = Tier(
    name="severe",
    at_least=9_000,
    approvals=3,
    roles=("lead", "security", "compliance"),
    deadline=timedelta(hours=4),
)


def registry(epoch: int = 1, **changes: Any) -> Policy:  # noqa: ANN401
    """A policy with approvers, two tiers and a callback server."""
    said = {
        "approvers": (LEE, SAM, SUE, OLA, CAL),
        "relays": (Relay(id="office", keys=(public("office"),)),),
        "tiers": (TWO, THREE),
        **changes,
    }
    return Policy.model_validate_json(policy(epoch).model_copy(update=said).canonical())


@dataclass(frozen=True, slots=True)
class Held:
    """A message that waits: its bytes and headers as triage writes them."""

    item: DeliberationItem
    value: bytes
    headers: Headers

    def with_value(self, value: bytes) -> "Held":
        return Held(self.item, value, self.headers)

    def verified(self) -> "Held":
        """The same where a signature proves who sent it."""
        item = self.item.model_copy(update={"sender_verified": True})
        headers = [(n, item.model_dump_json().encode() if n == envelope.ITEM else c) for n, c in self.headers]
        return Held(item, self.value, tuple(headers))


def held(in_force: PublishedPolicy, number: int = 0, *, terms: Terms | None = None, **changes: Any) -> Held:  # noqa: ANN401
    """What triage makes of a message that asks for an unknown tool."""
    said = message(number, **{"tool": UNKNOWN_TOOL, **changes})
    value = orjson.dumps(said)
    decided = triage.decide(said, in_force)
    digest = deliberation.digest_of(value)
    item_id = deliberation.item_id(said["message_id"], digest, 0)
    chosen = terms or decided.terms
    assert chosen is not None
    fields = {
        **chosen._asdict(),
        "item_id": item_id,
        "kind": decided.kind,
        "message_id": said["message_id"],
        "digest": digest,
        "generation": 0,
        "expires_at": said.get("expires_at"),
        "nonce": deliberation.nonce_of(b"entropy", item_id),
        "policy": in_force.reference,
        "tenant_id": said["tenant_id"],
        "sender": said["from_agent"],
        "sender_verified": False,
        "constitutional_hash": said["constitutional_hash"],
        "action": deliberation.action_digest(said["tenant_id"], said["from_agent"], decided.card.tool, said["content"]),
        "receiver": decided.receiver,
        "tenant_topic": decided.tenant_topic,
        "score": decided.card.score,
        "tool": decided.card.tool,
    }
    item = DeliberationItem.model_validate(fields)
    headers = (
        (envelope.VERSION, b"1"),
        (envelope.SOURCE, f"t.in.messages/0/{number}".encode()),
        ("trace", b"\xff\x00"),
        (envelope.ITEM, item.model_dump_json().encode()),
    )
    return Held(item, value, headers)


@dataclass(frozen=True, slots=True)
class Written:
    """A record that the agent wrote."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]

    @property
    def reason(self) -> str:
        return (self.headers[envelope.REASON] or b"").decode()


class Desk:
    """One lane of the agent, and what it has written. Time is the log's, in milliseconds after T0."""

    def __init__(
        self, policy: Policy | None = None, *, has_begun: bool = True, driver: Callable[..., Any] = LaneDriver
    ) -> None:
        self.written: list[Written] = []
        built = build_agents([topics.DELIBERATOR], NAMING, Measures(CollectorRegistry()), policy or registry())
        self.agent = built[0]
        self._topic, self.now = NAMING.topic(topics.DELIBERATION), 0
        bounds = Bounds(
            dict.fromkeys(self.agent.written_under(None), PARTITIONS),
            dict.fromkeys(self.agent.written_under(None), 4 * 1024 * 1024),
        )
        self.driver: LaneDriver[bytes, PublishedPolicy] = driver(self.agent, bounds=bounds)
        self.publish(policy or registry())
        if has_begun:
            first = self.hold(held(self.in_force, 9_999, from_agent="nobody"))
            self.pass_time(1)
            self.send(b"{}", ((envelope.WITHDRAWN, first.item_id.encode()),), first.item_id)
            self.written.clear()

    @property
    def in_force(self) -> PublishedPolicy:
        found = self.driver.state.control
        assert found is not None
        return found

    def publish(self, policy: Policy) -> None:
        """A new epoch comes into force on this lane."""
        self._handle(NAMING.topic(topics.CONTROL), policy.canonical(), (), "policy")

    def hold(self, one: Held) -> DeliberationItem:
        self.send(one.value, one.headers, one.item.item_id)
        return one.item

    def take(self, *decisions: Decision) -> None:
        """Decisions that have passed their gateway, each in a turn of its own."""
        for decision in decisions:
            source = (envelope.SOURCE, b"t.in.decisions/0/%d" % len(self.written))
            self.send(keys.encode(decision), (source, (envelope.POLICY, b"1:x")), decision.item_id)

    def send(self, value: bytes | None, headers: Headers, key: str) -> None:
        self._handle(self._topic, value, headers, key)
        self.pass_time(0)

    def pass_time(self, ms: int) -> None:
        """Timers fire as the lane's time goes on."""
        self.now += ms
        for turn in self.driver.advance(T0 + self.now):
            self._take(turn)

    def on(self, topic: str) -> list[Written]:
        return [one for one in self.written if one.topic == NAMING.topic(topic)]

    @property
    def verdicts(self) -> list[DeliberationVerdict]:
        return [DeliberationVerdict.model_validate_json(one.value or b"") for one in self.on(topics.VERDICTS)]

    @property
    def reasons(self) -> list[str]:
        return [one.reason for one in self.on(topics.REJECTED)]

    def status(self, item: DeliberationItem) -> DeliberationStatus | None:
        """The last that was said of an item."""
        said = [one.value for one in self.on(topics.DELIBERATION_STATUS) if one.key == item.item_id.encode()]
        return DeliberationStatus.model_validate_json(said[-1]) if said and said[-1] is not None else None

    def rows(self, prefix: str) -> list[str]:
        return [name for name in self.driver.state.rows if name.startswith(prefix)]

    def _handle(self, topic: str, value: bytes | None, headers: Headers, key: str) -> None:
        position = self.driver.state.position
        offset = position.offsets[topic] if position else 0
        record = InputRecord(topic, 0, offset, T0 + self.now, key.encode(), value, headers)
        self._take(self.driver.handle([record]))

    def _take(self, turn: Turn[bytes, PublishedPolicy]) -> None:
        assert turn.dead_letters == 0, _letters(turn)
        for (topic, partition), outputs in turn.batches.items():
            self.written += [Written(topic, partition, k, v, dict(reversed(list(h)))) for k, v, h, _ in outputs]


def _letters(turn: Turn[bytes, PublishedPolicy]) -> Sequence[object]:
    return [output[2] for (topic, _), batch in turn.batches.items() if "dead-letters" in topic for output in batch]
