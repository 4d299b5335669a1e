"""Every lane as its worker last said, how far behind it is, and what to do next."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import orjson

from schemas import topics
from streams.agents.naming import Naming
from streams.broker import read_to_end, reading, require_topics
from streams.engine import client
from streams.engine.client import Consumer, EngineSettings, TopicPartition
from streams.engine.errors import PositionLostError, PositionOvertakenError
from streams.engine.records import Record
from streams.engine.status import LaneStatus, State, decode_status

SILENT_AFTER = timedelta(seconds=30)
"""A worker says something of each of its lanes every 10 s; one that has not for so long has ended or hangs."""

STUCK_AFTER = timedelta(seconds=60)
"""How long a lane may fail, or stand before records without a commit, until a person should look."""

_KEY = b"lane/"
_ELSEWHERE = frozenset({State.IDLE, State.CLOSED})


@dataclass(frozen=True, slots=True)
class Said:
    """What a worker said of a lane, and the broker's time of it."""

    status: LaneStatus
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneView:
    """One lane for an operator. `said` is None where no worker ever told of it; `lag` counts offsets not yet read."""

    agent: str
    lane: int
    said: Said | None
    lag: int | None
    state: str
    needs_person: bool
    advice: str

    def silent_for_ms(self, now_ms: int) -> int:
        """How long its worker has said nothing of it."""
        return 0 if self.said is None else max(0, now_ms - self.said.at_ms)


@dataclass(slots=True)
class LaneBoard:
    """Reads the topic of lanes, from its start at first and from where it was at each later look.

    Lanes are told apart by worker: one that gave a lane away goes on saying that it is idle there.
    """

    settings: EngineSettings
    _said: dict[tuple[str, int], dict[str, Said]] = field(default_factory=dict[tuple[str, int], dict[str, Said]])
    _next: dict[int, int] = field(default_factory=dict[int, int])

    async def look(self, now_ms: int) -> list[LaneView]:
        """Every lane of every agent, as of now.

        Raises:
            InstallationError: the topics are missing.
            BrokerError: the broker cannot be reached or refuses.
        """
        naming = Naming(self.settings.prefix)
        lanes_topic, control = naming.topic(topics.LANES), naming.topic(topics.CONTROL)
        counts = await require_topics(self.settings, [lanes_topic, control])
        async with reading(self.settings) as consumer:
            for partition in range(counts[lanes_topic]):
                await self._read(consumer, client.topic_partition(lanes_topic, partition))
            chosen = {
                (agent, lane): _current(self._said.get((agent, lane), {}), now_ms)
                for agent in topics.LANE_AGENTS
                for lane in range(counts[control])
            }
            ends = await _ends(consumer, counts, chosen.values())
        return [_view(agent, lane, said, ends, now_ms) for (agent, lane), said in chosen.items()]

    async def _read(self, consumer: Consumer, partition: TopicPartition) -> None:
        async for record in read_to_end(consumer, partition, self._next.get(partition.partition)):
            self._take(record)
        self._next[partition.partition] = await consumer.position(partition)

    def _take(self, record: Record) -> None:
        if record.key is None or record.value is None or not record.key.startswith(_KEY):
            return
        try:
            status = decode_status(record.value)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return  # of another version of this program
        self._said.setdefault((status.agent, status.lane), {})[status.worker] = Said(status, record.timestamp)


def _current(by_worker: Mapping[str, Said], now_ms: int) -> Said | None:
    """What the lane's owner said: the newest word, but "not mine" only where nobody alive says otherwise."""

    def rank(said: Said) -> tuple[bool, int]:
        is_alive = now_ms - said.at_ms < _ms(SILENT_AFTER)
        return is_alive and said.status.state not in _ELSEWHERE, said.at_ms

    return max(by_worker.values(), key=rank, default=None)


async def _ends(
    consumer: Consumer, counts: Mapping[str, int], chosen: Iterable[Said | None]
) -> Mapping[TopicPartition, int]:
    """The end of every input that a lane stands in, as far as it is still there."""
    wanted = {
        client.topic_partition(topic, said.status.lane)
        for said in chosen
        if said is not None
        for topic in said.status.offsets
        if said.status.lane < counts.get(topic, 0)
    }
    return await consumer.end_offsets(sorted(wanted)) if wanted else {}


def _view(agent: str, lane: int, said: Said | None, ends: Mapping[TopicPartition, int], now_ms: int) -> LaneView:
    if said is None:
        advice = "no worker has run it yet: acgs run"
        return LaneView(
            agent=agent, lane=lane, said=None, lag=None, state="never ran", needs_person=True, advice=advice
        )
    behind = {topic: end - said.status.offsets[topic] for (topic, p), end in ends.items() if _is_of(said, topic, p)}
    lag = sum(max(0, count) for count in behind.values()) if behind else None
    is_silent = now_ms - said.at_ms >= _ms(SILENT_AFTER)
    needs_person, advice = _silent(said.status) if is_silent else _advice(said.status, behind, now_ms)
    state = State.HELD if is_held(said.status) else said.status.state
    return LaneView(agent=agent, lane=lane, said=said, lag=lag, state=state, needs_person=needs_person, advice=advice)


def _is_of(said: Said, topic: str, partition: int) -> bool:
    return partition == said.status.lane and topic in said.status.offsets


def _silent(status: LaneStatus) -> tuple[bool, str]:
    return True, f"its worker {status.worker} has stopped or hangs: start one with acgs run"


_TRYING = frozenset({State.STARTING, State.RESTORING})
_FAILING = _TRYING | {State.RENEWING, State.HELD, State.CLOSED}
_HOLDS = tuple(f"{error.__name__}:" for error in (PositionLostError, PositionOvertakenError))


def current_error(status: LaneStatus) -> str | None:
    """The lane's last error, if it has not got over it."""
    is_newest = (status.last_error_ms or 0) > (status.last_commit_ms or 0)
    return status.last_error if is_newest and status.state in _FAILING else None


def is_held(status: LaneStatus) -> bool:
    """Whether the lane waits for an operator. It looks again every few seconds, and is held between and meanwhile."""
    is_looking = status.state in _TRYING and (current_error(status) or "").startswith(_HOLDS)
    return status.state is State.HELD or is_looking


_PERSON = {
    State.HELD: "decide where it goes on: acgs lanes accept {agent} {lane} --reason WHY",
    State.CLOSED: "its worker {worker} has ended: start one with acgs run",
    State.WAITING: "there is no policy to decide by: acgs policy publish",
}
_BY_ITSELF = {
    State.STARTING: "it is starting; wait a moment",
    State.RESTORING: "it is reading its changelog; wait a moment",
    State.WAITING: "it is reading the policy; wait a moment",
    State.RENEWING: "a turn failed; it finds out by itself what was committed",
    State.IDLE: "no worker owns it just now; the group is sharing out its lanes",
    State.RUNNING: "",
}


def _advice(status: LaneStatus, behind: Mapping[str, int], now_ms: int) -> tuple[bool, str]:
    """Whether a person is needed, and what to do next."""
    state = State.HELD if is_held(status) else status.state
    is_reading_policy = state is State.WAITING and any(behind.values())
    if state in _PERSON and not is_reading_policy:
        return True, _PERSON[state].format(agent=status.agent, lane=status.lane, worker=status.worker)
    if _is_stuck(status, behind, now_ms):
        return True, "it has not committed for a minute although records wait: acgs doctor looks for the cause"
    return False, _BY_ITSELF[status.state]


def _is_stuck(status: LaneStatus, behind: Mapping[str, int], now_ms: int) -> bool:
    since = status.last_commit_ms or status.last_error_ms
    is_late = since is not None and now_ms - since > _ms(STUCK_AFTER)
    waits = status.oldest_ms is not None and now_ms - status.oldest_ms > _ms(STUCK_AFTER)
    return is_late and any(behind.values()) and (waits or current_error(status) is not None)


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
