"""The decisions of one lane on the records that are shown, taken again by this release's rules."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from prometheus_client import CollectorRegistry

from handlers.deliberation.rows import BEGAN, Began, encode
from schemas.audit import AuditRecord, Count, Number
from schemas.model import Contract
from schemas.policy import PublishedPolicy
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.engine.agent import Agent, View
from streams.engine.digest import NO_HASH
from streams.engine.errors import ControlRefusedError
from streams.engine.records import Put, Record
from streams.engine.rerun import Past, Range, Rerun
from streams.engine.state import LaneState, Position
from streams.engine.turn import DRAW_BYTES, TIMER, Bounds, Turn, turn_of
from streams.metrics import Measures
from streams.receipts.turns import ProvenTurn, Read, Wrote

_UNBOUNDED = 2**62
_NO_DRAW = bytes(DRAW_BYTES)


class _Timer(Contract):
    """The value of a timer's record."""

    v: int
    version: Number
    due: Count


@dataclass(frozen=True, slots=True)
class Decided:
    """A record of the story, the policy it was decided by, and what follows from it."""

    read: Read
    policy: PublishedPolicy
    outputs: tuple[Wrote, ...]


class Deciding:
    """One lane, from record to record of a story. It begins without rows: what others left there is not known.

    Partitions are left out of what follows (all are 0): where a record goes by its key is no decision.

    Raises:
        KeyError: there is no agent of that name.
    """

    def __init__(self, agent: str, lane: int, prefix: str) -> None:
        self.agent: Agent[Any, Any] = build_agents([agent], Naming(prefix), Measures(CollectorRegistry()))[0]
        self.lane = lane
        self.epoch: int | None = None
        self._known: dict[int, tuple[bytes, PublishedPolicy]] = {}
        self._state: LaneState[Any, Any] = LaneState(position=Position({}))

    @property
    def policy(self) -> PublishedPolicy | None:
        """The policy in force, None where it has not been shown."""
        known: PublishedPolicy | None = self._state.control
        return known if known is not None and known.policy.epoch == self.epoch else None

    def is_control(self, topic: str) -> bool:
        """Whether a topic brings policies."""
        return self.agent.control is not None and self.agent.control.topic == topic

    def begin(self, before: AuditRecord | None) -> None:
        """Stands before a turn: the audit record before it says which policy was in force."""
        self.epoch = None if before is None else before.epoch
        if self.policy is None and self.epoch in self._known:
            self._state.control_document, self._state.control = self._known[self.epoch]

    def follow(self, document: bytes) -> None:
        """A policy arrives. It comes into force if it is the next one."""
        if self.agent.control is None:
            return
        try:
            proposed: PublishedPolicy = self.agent.control.follow(document, None)
        except ControlRefusedError:
            return
        if self.epoch is None or proposed.policy.epoch == self.epoch + 1:
            self.epoch = proposed.policy.epoch
            self._state.control, self._state.control_document = proposed, document

    def take_for_known(self, document: bytes) -> None:
        """A policy that is shown without the turn that read it.

        Only agents that keep no rows go by it: all that they write names the policy's digest, so that it is proven by
        what they wrote.
        """
        if self.agent.control is not None and self.agent.rows is None:
            with suppress(ControlRefusedError):
                proposed: PublishedPolicy = self.agent.control.follow(document, None)
                self._known[proposed.policy.epoch] = document, proposed

    def decide(self, turn: AuditRecord, read: Read) -> tuple[Wrote, ...]:
        """What follows from a record under the policy in force."""
        if is_timer(read.record):
            self._take_for_current(read)
        derived = self._take(self.agent, turn.seq, bytes.fromhex(turn.entropy), read)
        return tuple(written_by(derived, self.agent))

    def _take(self, agent: Agent[Any, Any], seq: int, draw: bytes, read: Read) -> Turn[Any, Any]:
        """One record in a turn of its own."""
        record, rerun = read.record, Rerun(agent, self.lane)
        rerun.state = self._state
        rerun.stand_at(
            Position({**dict.fromkeys(agent.inputs, 0), record.topic: record.offset}, seq - 1, NO_HASH, read.clock_ms)
        )
        written = agent.written_under(self._state.control)
        bounds = Bounds(dict.fromkeys(written, 1), dict.fromkeys(written, _UNBOUNDED))
        ranges = [Range(record.topic, [record], record.offset + 1)]
        taken = rerun.attempt(Past(ranges=ranges, draw=draw, bounds=bounds))
        rerun.keep(taken)
        return taken

    def _take_for_current(self, timer: Read) -> None:
        """Gives a row the version that its timer names, if it is from the same turn.

        The rest of a version counts what that turn wrote for others too. The row of the agent's beginning is there from
        the lane's first item on, which is somebody else's.
        """
        try:
            key, said = (timer.record.key or b"").decode(), _Timer.model_validate_json(timer.record.value or b"")
        except ValueError:
            return
        seq, rows = turn_of(said.version), self._state.rows
        if key == BEGAN and key not in rows:
            self._take(_keeping(self.agent, Put(BEGAN, encode(Began()), said.due)), seq, _NO_DRAW, timer)
        stored = rows.get(key)
        if stored is not None and turn_of(stored.version) == seq:
            rows[key] = stored._replace(version=said.version)


def _keeping(agent: Agent[Any, Any], row: Put[Any]) -> Agent[Any, Any]:
    """The agent, if all that it did were to keep a row."""

    def keep(view: View[Any, Any], record: Record) -> tuple[Put[Any]]:
        del view, record
        return (row,)

    return replace(agent, handler=keep, on_timer=None)


def written_by(turn: Turn[Any, Any], agent: Agent[Any, Any]) -> list[Wrote]:
    """What a turn writes but for its changelog and its audit record, in the order of its audit record's hashes."""
    own = agent.topics.changelog, agent.topics.audit
    return [
        Wrote(topic, partition, key, value, tuple(headers))
        for (topic, partition), outputs in turn.batches.items()
        if topic not in own
        for key, value, headers, _ in outputs
    ]


def is_timer(record: Record) -> bool:
    """Whether a lane wrote it to its own inbox because a row's time had come."""
    return bool(record.headers) and record.headers[0][0] == TIMER


def decide_turn(turn: ProvenTurn, deciding: Deciding) -> list[Decided] | None:
    """The story's decisions of a turn; None where the policy in force for one has not been shown."""
    decided: list[Decided] = []
    deciding.begin(turn.before)
    for read in turn.inputs:
        if deciding.is_control(read.record.topic):
            deciding.follow(read.record.value or b"")
            continue
        policy = deciding.policy
        if policy is None:
            return None
        decided.append(Decided(read, policy, deciding.decide(turn.record, read)))
    return decided


def same_but_for_place(one: Sequence[Wrote], other: Sequence[Wrote], everywhere: str) -> bool:
    """Whether the same records are written, each as often; to the topic `everywhere`, one stands for its copies."""
    return _counted(one, everywhere) == _counted(other, everywhere)


def _counted(every: Sequence[Wrote], everywhere: str) -> list[tuple[object, ...]]:
    images = [(one.topic, one.key, one.value, one.headers) for one in every]
    once = {image for image in images if image[0] == everywhere}
    return sorted([*(image for image in images if image[0] != everywhere), *once], key=repr)
