"""What a storm of items must have left behind, read back from the topics."""

import base64
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from prometheus_client import CollectorRegistry

from schemas import envelope, topics
from schemas.decision import Decision, Vote
from schemas.deliberation import DeliberationItem, DeliberationState, DeliberationVerdict, digest_of
from schemas.policy import Policy
from schemas.reasons import Reason
from schemas.registry import raw_key
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.engine.agent import Agent
from streams.engine.driver import LaneDriver
from streams.engine.records import Record
from streams.engine.turn import Bounds
from streams.metrics import Measures
from tests.support.kafka import header
from tests.support.trail import Topics, in_order, turns

Image = tuple[str, bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]


class Proof:
    """Everything that was written, held to what was promised.

    Knows the rules by itself; only the replay uses the product's own code.
    """

    def __init__(self, read: Topics, naming: Naming, partitions: int, policy: Policy) -> None:
        self._read, self._naming, self._partitions, self._policy = read, naming, partitions, policy
        self._items = {item.item_id: record for record, item in self._held()}
        self._terms = {item.item_id: item for _, item in self._held()}
        self._verdicts = [
            DeliberationVerdict.model_validate_json(record.value or b"") for record in self._all(topics.VERDICTS)
        ]
        self._refused = Counter(header(record, envelope.SOURCE) for record in self._all(topics.REJECTED))
        self._counted = Counter(vote.decision.decision_id for verdict in self._verdicts for vote in verdict.votes)

    def wrongs(self) -> Iterator[str]:
        """What is not as it must be."""
        yield from self._every_message_was_held_or_came_too_late()
        yield from self._every_item_ended_once()
        yield from self._only_what_was_approved_is_delivered()
        yield from self._approvals_suffice()
        yield from self._every_decision_is_accounted_for()
        yield from self._a_replay_decides_the_same()
        letters = [r for agent in topics.LANE_AGENTS for r in self._all(topics.dead_letters(agent))]
        yield from (f"a dead letter: {record.headers}" for record in letters)

    def open_decisions(self) -> list[str]:
        """Decisions that have neither counted nor been refused."""
        return list(self._unaccounted())

    def figures(self) -> Mapping[str, int]:
        """How much there was of what."""
        states = Counter(verdict.state.value for verdict in self._verdicts)
        reasons = Counter(_reason(record) for record in self._all(topics.REJECTED))
        too_late = reasons.pop(Reason.EXPIRED, 0)
        totals = {"messages": len(self._all(topics.IN_MESSAGES)), "items": len(self._items), "too_late": too_late}
        return {**states, **reasons, **totals, "decisions": len(self._all(topics.IN_DECISIONS))}

    # What is promised

    def _every_message_was_held_or_came_too_late(self) -> Iterator[str]:
        """A message is refused only as its own time is over by the clock of the log."""
        topic = self._naming.topic(topics.IN_MESSAGES)
        held = Counter(record.value for record, _ in self._held())
        too_late = {header(r, envelope.SOURCE): r for r in self._all(topics.REJECTED) if _reason(r) == Reason.EXPIRED}
        for record in self._all(topics.IN_MESSAGES):
            source = envelope.encode_source(topic, record.partition, record.offset)
            refused = too_late.get(source)
            times = held.pop(record.value, 0)
            if times + self._refused[source] != 1:
                yield f"{source!r} was held {times} times and refused {self._refused[source]} times"
            if self._refused[source] and (refused is None or refused.timestamp < _expires_at_ms(record)):
                yield f"{source!r} was refused, but it had time left"
        yield from (f"held, but no message: {value!r}" for value in held)

    def _every_item_ended_once(self) -> Iterator[str]:
        held = list(self._held())
        if len(self._items) != len(held):
            yield f"{len(held)} held, {len(self._items)} of them different"
        ends = Counter(verdict.item.item_id for verdict in self._verdicts)
        yield from (f"item {item_id} ended {ends[item_id]} times" for item_id in self._items if ends[item_id] != 1)
        last: dict[bytes | None, Any] = {}
        for record in self._all(topics.DELIBERATION_STATUS):
            last[record.key] = orjson.loads(record.value or b"null")
        for verdict in self._verdicts:
            said = last[verdict.item.item_id.encode()]
            if (said["state"], said["closed"]) != (verdict.state.value, verdict.closed):
                yield f"item {verdict.item.item_id} is {verdict.state} and its status {said['state']}"

    def _only_what_was_approved_is_delivered(self) -> Iterator[str]:
        delivered = Counter((header(r, envelope.ITEM), r.value) for r in self._all(topics.DELIVERIES))
        for verdict in self._verdicts:
            record = self._items[verdict.item.item_id]
            times = delivered.pop((header(record, envelope.ITEM), record.value), 0)
            expected = 1 if verdict.state is DeliberationState.APPROVED else 0
            if times != expected:
                yield f"item {verdict.item.item_id} is {verdict.state} and was delivered {times} times"
        yield from (f"delivered, but no item: {value!r}" for _, value in delivered)

    def _approvals_suffice(self) -> Iterator[str]:
        for verdict in self._verdicts:
            item, deadline = verdict.item, verdict.deadline or 0
            proven = [vote for vote in verdict.votes if self._is_signed(vote.decision, item)]
            if len(proven) != len(verdict.votes):
                yield f"item {item.item_id} counts a vote that nobody has signed"
            roles = {
                role for vote in proven for role in self._roles(vote.decision) if vote.decision.vote is Vote.APPROVE
            }
            people = {vote.decision.approver for vote in proven if vote.decision.vote is Vote.APPROVE}
            suffices = {"lead", "security"} <= roles and len(people) >= 2
            has_veto = any(vote.decision.vote is Vote.VETO for vote in proven)
            late = [vote for vote in verdict.votes if vote.at >= deadline]
            expected = {
                DeliberationState.APPROVED: suffices and not has_veto,
                DeliberationState.REJECTED: has_veto,
                DeliberationState.EXPIRED: not suffices and not has_veto and verdict.closed >= deadline,
            }
            if late or not expected.get(verdict.state):
                yield f"item {item.item_id} is {verdict.state} by {[v.decision.approver for v in proven]}, late: {late}"

    def _every_decision_is_accounted_for(self) -> Iterator[str]:
        yield from self._unaccounted()
        yield from (f"decision {id_} counted {times} times" for id_, times in self._counted.items() if times > 1)

    def _unaccounted(self) -> Iterator[str]:
        topic = self._naming.topic(topics.IN_DECISIONS)
        accepted: Counter[str] = Counter()
        for record in self._all(topics.IN_DECISIONS):
            source = envelope.encode_source(topic, record.partition, record.offset)
            decision_id = orjson.loads(record.value or b"")["decision_id"]
            if self._refused[source] > 1:
                yield f"{source!r} was refused {self._refused[source]} times"
            if not self._refused[source]:
                accepted[decision_id] += 1
        for decision_id, times in accepted.items():
            if times != self._counted[decision_id]:
                yield f"decision {decision_id}: {times} not refused, {self._counted[decision_id]} counted"

    def _a_replay_decides_the_same(self) -> Iterator[str]:
        """The handlers, given each lane's turns with their records in the order they were taken, write the same."""
        written = (topics.VERDICTS, topics.DELIBERATION_STATUS, topics.DELIVERIES, topics.REJECTED)
        names = {self._naming.topic(name) for name in written}
        replayed: Counter[Image] = Counter()
        for lane in range(self._partitions):
            replayed.update(image for image in self._replayed(lane) if image[0] in names)
        real = Counter(_image(record) for name in written for record in self._all(name))
        real.subtract(_image(record) for record in self._all(topics.REJECTED) if _reason(record) == Reason.EXPIRED)
        yield from (f"only a replay writes {image}" for image in replayed - real)
        yield from (f"a replay does not write {image}" for image in real - replayed)

    def _replayed(self, lane: int) -> Iterator[Image]:
        agent: Agent[Any, Any] = build_agents([topics.DELIBERATOR], self._naming, Measures(CollectorRegistry()))[0]
        taken = turns(self._read, agent.topics.audit, agent.name, lane)
        bounds = Bounds(dict.fromkeys(agent.written, self._partitions), dict.fromkeys(agent.written, 8 * 1024 * 1024))
        driver: LaneDriver[Any, Any] = LaneDriver(agent, partition=lane, bounds=bounds)
        for turn in taken:
            for (topic, _), outputs in driver.handle(list(in_order(self._read, [turn], lane))).batches.items():
                for key, value, headers, _ in outputs:
                    yield topic, key, value, tuple(headers)

    # Reading

    def _held(self) -> Iterator[tuple[Record, DeliberationItem]]:
        for record in self._all(topics.DELIBERATION):
            told = header(record, envelope.ITEM)
            if told is not None:
                yield record, DeliberationItem.model_validate_json(told)

    def _is_signed(self, decision: Decision, item: DeliberationItem) -> bool:
        """By the approver's own key, over exactly this item's bytes; worked out without the product's code for it."""
        approver = self._policy.approver(decision.approver)
        if approver is None or decision.signature is None:
            return False
        said = {k: v for k, v in decision.model_dump(mode="json").items() if k != "signature" and v is not None}
        image = b"acgs-decision-v1\n" + orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
        value = self._items[item.item_id].value or b""
        if (decision.item_id, decision.digest, decision.nonce) != (item.item_id, digest_of(value), item.nonce):
            return False
        try:
            public = Ed25519PublicKey.from_public_bytes(raw_key(approver.keys[0].public_key))
            public.verify(base64.b64decode(decision.signature), image)
        except InvalidSignature:
            return False
        return True

    def _roles(self, decision: Decision) -> Sequence[str]:
        approver = self._policy.approver(decision.approver)
        return () if approver is None else approver.roles

    def _all(self, name: str) -> list[Record]:
        return [record for records in self._read[self._naming.topic(name)].values() for record in records]


def _reason(record: Record) -> str:
    return (header(record, envelope.REASON) or b"").decode()


def _expires_at_ms(record: Record) -> float:
    return datetime.fromisoformat(orjson.loads(record.value or b"")["expires_at"]).timestamp() * 1000


def _image(record: Record) -> Image:
    return record.topic, record.key, record.value, tuple(record.headers)
