"""Past inputs through the agents of now, under one policy: pure, on the engine's own turns."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

from schemas import envelope, topics
from schemas.policy import Policy
from streams.agents.building import build_agents
from streams.agents.gateway import ROUTES
from streams.agents.naming import Naming
from streams.control import KEY
from streams.engine import dead_letters
from streams.engine.agent import Agent
from streams.engine.records import Headers, InputRecord, Record, first_header
from streams.engine.rerun import Past, Range, Rerun
from streams.engine.state import Position
from streams.engine.turn import Bounds, Turn
from streams.metrics import Measures
from streams.replay.marker import AGENTS

GATEWAY_OF = {route.public: route.agent for route in ROUTES}
"""The gateway of each public topic."""


class Written(NamedTuple):
    """A record to write, with the broker's time of the input that it follows from, in milliseconds since 1970."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    at_ms: int


class Replay:
    """Every lane of the gateways and of triage, under one policy from its first record on.

    The agents are built under the replay's own prefix, so that nothing they emit can name a live topic. Their records
    say where the live inputs stand. Draws follow from the policy and the inputs: the same replay comes out the same,
    but for the nonces of what is held where it is made under another prefix or in other batches.
    """

    def __init__(self, policy: Policy, prefix: str, bounds: Bounds, begin_ms: int) -> None:
        self._naming, self._policy, self._bounds, self._begin_ms = Naming(prefix), policy.canonical(), bounds, begin_ms
        built = build_agents(AGENTS, self._naming, Measures(CollectorRegistry()), policy)
        self._agents = {agent.name: agent for agent in built}
        self._lanes: dict[tuple[str, int], Rerun[Any, Any]] = {}

    @property
    def decision_versions(self) -> dict[str, int]:
        """The version of each agent's rules."""
        return {name: agent.decision_version for name, agent in self._agents.items()}

    def take(self, public: str, records: Sequence[Record]) -> list[Written]:
        """Decides on consecutive records of one partition of a public topic (named without prefix).

        Returns what the gateway writes and, of messages that pass, what triage does, in order.
        """
        if not records:
            return []
        gateway, times = GATEWAY_OF[public], {_source(record): record.timestamp for record in records}
        turn = self._turn(gateway, records[0].partition, records, records[-1].offset + 1)
        written = list(self._written(self._agents[gateway], turn, times))
        if public == topics.IN_MESSAGES:
            inside = self._naming.topic(topics.MESSAGES)
            for lane in sorted({one.partition for one in written if one.topic == inside}):
                passed = [one for one in written if (one.topic, one.partition) == (inside, lane)]
                first = self._lane(topics.TRIAGE, lane).position.offsets[inside]
                given = [_record(one, first + number) for number, one in enumerate(passed)]
                turn = self._turn(topics.TRIAGE, lane, given, first + len(given))
                written += self._written(self._agents[topics.TRIAGE], turn, times)
        return written

    def _turn(self, agent: str, lane: int, records: Sequence[Record], next_offset: int) -> Turn[Any, Any]:
        rerun = self._lane(agent, lane)
        inbox = self._agents[agent].inbox[0]
        turn = rerun.attempt(self._past(agent, lane, Range(inbox, records, next_offset)))
        rerun.keep(turn)
        return turn

    def _lane(self, agent: str, lane: int) -> Rerun[Any, Any]:
        found = self._lanes.get((agent, lane))
        if found is None:
            made = self._agents[agent]
            found = self._lanes[agent, lane] = Rerun(made, lane)
            found.stand_at(Position(dict.fromkeys(made.inputs, 0)))
            control = self._naming.topic(topics.CONTROL)
            document = InputRecord(control, lane, 0, self._begin_ms, KEY, self._policy)
            found.keep(found.attempt(self._past(agent, lane, Range(control, [document], 1))))
        return found

    def _past(self, agent: str, lane: int, part: Range) -> Past:
        topic = part.topic.removeprefix(self._naming.prefix)
        drawn = hashlib.sha256(self._policy + f"{agent}/{lane}/{topic}/{part.next_offset}".encode()).digest()
        return Past(ranges=[part], draw=drawn, bounds=self._bounds)

    def _written(self, agent: Agent[Any, Any], turn: Turn[Any, Any], times: Mapping[bytes, int]) -> Iterator[Written]:
        own = {agent.topics.audit, agent.topics.changelog}
        last = max(times.values())
        for (topic, partition), outputs in turn.batches.items():
            for key, value, headers, _ in () if topic in own else outputs:
                source = first_header(headers, envelope.SOURCE) or first_header(headers, dead_letters.SOURCE)
                yield Written(topic, partition, key, value, headers, times.get(source or b"", last))


def _record(one: Written, offset: int) -> InputRecord:
    return InputRecord(one.topic, one.partition, offset, one.at_ms, one.key, one.value, one.headers)


def _source(record: Record) -> bytes:
    return envelope.encode_source(record.topic, record.partition, record.offset)
