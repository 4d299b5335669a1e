"""Scenes, recorded as they are played: the same at every run."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import orjson

from streams.engine.agent import Agent
from streams.engine.driver import LaneDriver
from streams.engine.records import InputRecord, Record
from streams.engine.turn import Bounds, Turn, TurnInProgress
from tests.golden.corpus import Corpus, Lane, Taken
from tests.golden.lines import Decisions

_NOW = datetime(2027, 1, 15, 8, tzinfo=UTC)


class Recorder:
    """Makes drivers, and keeps the turns of each."""

    def __init__(self) -> None:
        self.corpora: dict[str, Corpus] = {}
        self._scene = ""

    def play(self, scene: Callable[["Recorder"], None]) -> None:
        """Plays a scene; the lanes in it bear its name."""
        self._scene = scene.__name__
        with _pinned(self._scene):
            scene(self)

    def driver(self, agent: Agent[Any, Any], *, bounds: Bounds | None = None) -> LaneDriver[Any, Any]:
        """A driver whose turns are recorded."""
        made = Corpus(agent.name, agent.decision_version)
        corpus = self.corpora.setdefault(agent.name, made)
        partitions = bounds.partitions[agent.topics.changelog] if bounds else 1
        lane = Lane(self._scene, agent.topics.changelog.removesuffix(f"{agent.name}.changelog"), partitions)
        corpus.lanes.append(lane)
        return _Recorded(agent, bounds, lane, Decisions(agent, corpus.texts))


class _Recorded(LaneDriver[Any, Any]):
    def __init__(self, agent: Agent[Any, Any], bounds: Bounds | None, lane: Lane, decisions: Decisions) -> None:
        super().__init__(agent, bounds=bounds)
        self._lane, self._decisions = lane, decisions
        self._given: list[InputRecord] = []

    def handle(self, records: Any) -> Turn[Any, Any]:  # noqa: ANN401  # as LaneDriver has it
        self._given = [_copy(record) for record in records]
        return super().handle(records)

    def _finish(self, running: TurnInProgress[Any, Any]) -> Turn[Any, Any]:
        turn = super()._finish(running)
        given, self._given = self._given, []
        (trail,) = (batch for (topic, _), batch in turn.batches.items() if topic == self._agent.topics.audit)
        draw = bytes.fromhex(orjson.loads(trail[0][1] or b"")["entropy"])
        self._lane.turns.append(Taken(given, draw, list(turn.fired), self._decisions.of(turn, given)))
        return turn


def _copy(record: Record) -> InputRecord:
    r = record
    return InputRecord(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))


@contextmanager
def _pinned(scene: str) -> Iterator[None]:
    """Random ids and the present, as people's tools put them into what they send, are the same at each recording."""
    numbers = iter(range(1_000_000))

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # noqa: ANN401  # as datetime has it
            return _NOW.astimezone(tz)

    def uuid4() -> uuid.UUID:
        return uuid.uuid5(uuid.NAMESPACE_OID, f"{scene} {next(numbers)}")

    with patch("uuid.uuid4", uuid4), patch("streams.keys.datetime", Clock):
        yield
