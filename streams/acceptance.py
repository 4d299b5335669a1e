"""An operator's decision on a held lane: where it goes on, and what that skips or repeats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from schemas import topics
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.broker import Outgoing, reading, records_of, require_topics, write_once
from streams.engine import client
from streams.engine.client import EngineSettings
from streams.engine.state import ACCEPTED_KEY, POSITION_KEY, Accepted, Position, decode_position
from streams.errors import StreamsError
from streams.lane_board import LaneBoard, is_held
from streams.metrics import Measures

START = "start"
END = "end"


class LaneNotHeldError(StreamsError):
    """A lane that is not held needs no decision, and takes none."""


class UndecidedError(StreamsError):
    """It has to be said where the lane goes on; the message lists what there is to say."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Where to go on in an input; `topic` None for every input that has a gap. `at` is START, END or an offset."""

    topic: str | None
    at: str | int


@dataclass(frozen=True, slots=True)
class Standing:
    """A held lane in one of its inputs: its position there, None if it is lost, and what the log has."""

    topic: str
    position: int | None
    begin: int
    end: int
    is_control: bool

    @property
    def has_gap(self) -> bool:
        """Whether the lane cannot go on by itself here."""
        return self.position is None or not self.begin <= self.position <= self.end


@dataclass(frozen=True, slots=True)
class Step:
    """What a decision means in one input."""

    standing: Standing
    goes_on_at: int

    @property
    def words(self) -> str:
        """Which offsets are skipped, lost, or read again."""
        said, to = self.standing, self.goes_on_at
        if said.position is None:
            return self._without_position()
        if to > said.position:
            return f"skips {_range(said.position, to)}{self._already_deleted()}"
        if to < said.position:
            return f"reads {_range(to, min(said.position, said.end))} again" if to < said.end else "reads what comes"
        return "goes on where it stands"

    def _without_position(self) -> str:
        said, to = self.standing, self.goes_on_at
        if to == said.begin:
            return f"reads {_range(to, said.end)}, some of it perhaps again" if said.end > to else "reads what comes"
        return f"skips {_range(said.begin, to)}, some of it perhaps not read before"

    def _already_deleted(self) -> str:
        said = self.standing
        deleted = min(said.begin, self.goes_on_at) - (said.position or 0)
        return f", of which {deleted} are deleted already" if deleted > 0 else ""


def _range(first: int, after: int) -> str:
    return f"offset {first}" if after - first == 1 else f"offsets {first} to {after - 1} ({after - first})"


@dataclass(frozen=True, slots=True)
class Held:
    """A held lane: why it is, the number of its last turn, and where it stands in each input."""

    agent: str
    lane: int
    why: str
    seq: int
    standings: tuple[Standing, ...]


async def held_lane(settings: EngineSettings, agent: str, lane: int, now_ms: int) -> Held:
    """The lane, if it is held.

    Raises:
        LaneNotHeldError: it is not, or there is no such lane.
        InstallationError: topics are missing.
        BrokerError: the broker cannot be reached or refuses.
    """
    views = {(view.agent, view.lane): view for view in await LaneBoard(settings).look(now_ms)}
    view = views.get((agent, lane))
    if view is None:
        raise LaneNotHeldError(f"there is no lane {agent}/{lane}. 'acgs status' shows every lane")
    if view.said is None or not is_held(view.said.status):
        raise LaneNotHeldError(f"lane {agent}/{lane} is {view.state}, not held: there is nothing to accept")
    position = await _position(settings, agent, lane)
    standings = await _standings(settings, agent, lane, position)
    return Held(agent, lane, view.said.status.last_error or "", position.seq if position else 0, standings)


async def _position(settings: EngineSettings, agent: str, lane: int) -> Position | None:
    changelog = Naming(settings.prefix).own(agent).changelog
    counts = await require_topics(settings, [changelog])
    found: Position | None = None
    if lane < counts[changelog]:
        async for record in records_of(settings, changelog, [lane]):
            if record.key == POSITION_KEY and record.value is not None:
                found = decode_position(record.value)
    return found


async def _standings(
    settings: EngineSettings, agent: str, lane: int, position: Position | None
) -> tuple[Standing, ...]:
    naming = Naming(settings.prefix)
    inputs = build_agents([agent], naming, Measures(CollectorRegistry()))[0].inputs
    await require_topics(settings, inputs)
    partitions = {topic: client.topic_partition(topic, lane) for topic in inputs}
    async with reading(settings) as consumer:
        begins = await consumer.beginning_offsets(list(partitions.values()))
        ends = await consumer.end_offsets(list(partitions.values()))
    known: Mapping[str, int] = position.offsets if position else {}
    control = naming.topic(topics.CONTROL)
    return tuple(
        Standing(topic, known.get(topic), begins[at], ends[at], topic == control) for topic, at in partitions.items()
    )


def decide(held: Held, choices: Sequence[Choice]) -> tuple[Step, ...]:
    """What the choices mean in each input. Where the log was overtaken and nothing is chosen, its start.

    The policy's log is read again from its start if there is a gap, unless a choice names it: a lane that skipped a
    policy would decide by an old one.

    Raises:
        UndecidedError: the lane's position is lost and nothing is chosen; or a choice is outside the log, or names no
            input of the lane.
    """
    inputs = {standing.topic for standing in held.standings}
    for choice in choices:
        if choice.topic is not None and choice.topic not in inputs:
            raise UndecidedError(f"{choice.topic} is no input of the lane; its inputs are {', '.join(sorted(inputs))}")
    return tuple(Step(standing, _goes_on_at(standing, choices)) for standing in held.standings)


def _goes_on_at(standing: Standing, choices: Sequence[Choice]) -> int:
    named = next((choice for choice in choices if choice.topic == standing.topic), None)
    general = next((choice for choice in choices if choice.topic is None), None)
    if named is not None:
        return _offset(standing, named.at)
    if not standing.has_gap:
        return standing.position or 0
    if standing.is_control:
        return standing.begin
    if general is not None:
        return _offset(standing, general.at)
    if standing.position is None:
        raise UndecidedError(
            f"where the lane stood in {standing.topic} is not known, so that you have to say where it goes on. "
            "--from start reads all that is there, some of it perhaps a second time; --from end skips all that is "
            f"there; --from OFFSET ({standing.begin} to {standing.end}) is for those who know better"
        )
    return standing.begin


def _offset(standing: Standing, at: str | int) -> int:
    offset = {START: standing.begin, END: standing.end}.get(str(at))
    if offset is None:
        offset = int(at)
    if not standing.begin <= offset <= standing.end:
        raise UndecidedError(
            f"offset {offset} is not in {standing.topic}, whose log has {standing.begin} to {standing.end}"
        )
    return offset


async def accept(
    settings: EngineSettings, held: Held, steps: Sequence[Step], *, operator: str, reason: str, now_ms: int
) -> None:
    """Writes the decision to the lane's changelog; the lane finds it at its next try, within some 5 s.

    Raises:
        LaneNotHeldError: the lane is held no longer, or stands elsewhere than when it was looked at.
        BrokerError: the broker cannot be reached or refuses.
    """
    offsets = {step.standing.topic: step.goes_on_at for step in steps}
    accepted = Accepted(offsets, held.seq, operator, reason)
    changelog = Naming(settings.prefix).own(held.agent).changelog

    async def decide_again() -> Sequence[Outgoing]:
        now = await held_lane(settings, held.agent, held.lane, now_ms)
        if now.seq != held.seq:
            raise LaneNotHeldError(f"lane {held.agent}/{held.lane} has moved on meanwhile; look at it again")
        return [Outgoing(changelog, held.lane, ACCEPTED_KEY, accepted.encode())]

    await write_once(settings, f"{settings.prefix}operators-lane-{held.agent}-{held.lane}", decide_again)
