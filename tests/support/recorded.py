"""Lanes on drivers with a log in memory between them: their turns, recorded as a broker would have them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry

from schemas import topics
from schemas.policy import Policy
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.audit.facts import InstalledTopics
from streams.audit.log import MemoryLog, Place
from streams.audit.verdict import Verdict
from streams.audit.verifying import verify
from streams.engine.agent import Agent
from streams.engine.driver import LaneDriver
from streams.engine.records import Headers, InputRecord, Record
from streams.engine.state import Accepted
from streams.engine.turn import Bounds, Turn
from streams.metrics import Measures

NAMING = Naming("t.")
T0 = 1_800_000_000_000
PARTITIONS = 2
MIB = 1024 * 1024
Topics = dict[str, dict[int, list[Record]]]


def installed(partitions: int = PARTITIONS, limits: Mapping[str, int] | None = None) -> InstalledTopics:
    names = [NAMING.topic(topic.name) for topic in topics.catalogue()]
    largest = {**dict.fromkeys(names, 8 * MIB), **(limits or {})}
    return InstalledTopics(NAMING, dict.fromkeys(names, partitions), largest)


def built(names: Sequence[str]) -> tuple[Agent[Any, Any], ...]:
    return build_agents(names, NAMING, Measures(CollectorRegistry()))


class Recorder:
    """Agents on drivers, and the topics between them."""

    def __init__(self, *names: str, limits: Mapping[str, int] | None = None) -> None:
        self.agents = built(names)
        self.topics: Topics = {}
        self.now = T0
        facts = installed(limits=limits)
        self._drivers = {
            (agent.name, lane): LaneDriver(
                agent, partition=lane, bounds=Bounds(facts.partitions, facts.max_bytes), draw=_draw(agent.name, lane)
            )
            for agent in self.agents
            for lane in range(PARTITIONS)
        }

    def change_to(self, made: Sequence[Agent[Any, Any]]) -> None:
        """Lets every lane go on with another release's rules, from the state that it has."""
        self.agents = tuple(made)
        for agent in made:
            for lane in range(PARTITIONS):
                self._drivers[agent.name, lane]._agent = agent  # noqa: SLF001  # a release starts from a changelog

    def log(self, place: Place) -> list[Record]:
        return self.topics.setdefault(place[0], {}).setdefault(place[1], [])

    def append(self, place: Place, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        log = self.log(place)
        offset = log[-1].offset + 1 if log else 0
        log.append(InputRecord(*place, offset, self.now, key, value, tuple(headers)))

    def publish(self, policy: Policy) -> None:
        for partition in range(PARTITIONS):
            self.append((NAMING.topic(topics.CONTROL), partition), b"policy", policy.canonical())

    def send(self, topic: str, *values: bytes | None) -> None:
        for number, value in enumerate(values):
            self.append((NAMING.topic(topic), number % PARTITIONS), b"", value)

    def run(self, most: int = 4) -> None:
        """Lets every lane take turns of at most so many records until nothing is left."""
        busy = True
        while busy:
            busy = False
            for agent in self.agents:
                for lane in range(PARTITIONS):
                    busy |= self._turn(agent, lane, most)

    def accept(self, agent: str, lane: int, offsets: dict[str, int]) -> None:
        """Puts a lane elsewhere, as an operator's decision does at its next start."""
        self.skip(agent, lane, offsets)
        state = self._drivers[agent, lane].state
        state.accepted = Accepted(offsets, state.position.seq if state.position else 0, "olga", "test data")

    def skip(self, agent: str, lane: int, offsets: dict[str, int]) -> None:
        """Puts a lane elsewhere without a word."""
        state = self._drivers[agent, lane].state
        assert state.position is not None
        state.position = replace(state.position, offsets={**state.position.offsets, **offsets})

    def pass_time(self, ms: int) -> None:
        """Lets every lane's timers that are due by then fire."""
        self.now += ms
        for agent in self.agents:
            for lane in range(PARTITIONS):
                for turn in self._drivers[agent.name, lane].advance(self.now):
                    self._write(turn)
        self.run()

    def _turn(self, agent: Agent[Any, Any], lane: int, most: int) -> bool:
        driver = self._drivers[agent.name, lane]
        offsets = driver.state.position.offsets if driver.state.position else {}
        waiting = [r for topic in agent.inputs for r in self.log((topic, lane)) if r.offset >= offsets[topic]]
        if not waiting:
            return False
        self.now += 7
        self._write(driver.handle(waiting[:most]))
        return True

    def _write(self, turn: Turn[Any, Any]) -> None:
        for place, outputs in turn.batches.items():
            for key, value, headers, _ in outputs:
                self.append(place, key, value, headers)


async def audited(
    records: Mapping[str, Mapping[int, Sequence[Record]]],
    made: Sequence[Agent[Any, Any]],
    *,
    begins: Mapping[Place, int] | None = None,
    facts: InstalledTopics | None = None,
    **options: Any,  # noqa: ANN401
) -> Verdict:
    log = MemoryLog(records, begins or {})
    return await verify(log, facts or installed(), made, lanes=range(PARTITIONS), **options)


def copy_of(records: Mapping[str, Mapping[int, Sequence[Record]]]) -> Topics:
    """A copy to change; its records are plain ones, whatever they were."""
    return {
        topic: {
            partition: [
                InputRecord(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in log
            ]
            for partition, log in by_partition.items()
        }
        for topic, by_partition in records.items()
    }


def _draw(agent: str, lane: int) -> Callable[[int], bytes]:
    return lambda seq: f"{agent}/{lane}/{seq}".encode().ljust(32, b".")[:32]
