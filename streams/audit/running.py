"""An audit of an installation: its moment, its lanes in one process or in several, and the verdict."""

import asyncio
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from schemas import topics
from streams import loop
from streams.agents.building import build_agents
from streams.audit.anchoring import Checkpoints
from streams.audit.erased import NOTHING, Erased
from streams.audit.facts import InstalledTopics
from streams.audit.kafka_log import KafkaLog, Moment, installed, moment
from streams.audit.lane import LaneAudit
from streams.audit.processes import started
from streams.audit.releases import Pythons
from streams.audit.report import LaneReport, Window
from streams.audit.verdict import Verdict
from streams.audit.verifying import EVERYTHING, conclude
from streams.engine.agent import Agent
from streams.engine.client import EngineSettings
from streams.engine.worker import settle_garbage
from streams.errors import StreamsError
from streams.metrics import Measures
from streams.settings import Settings

_CLIENT = "acgs-audit"
_LOOK_EVERY_S = 0.2
_AT_A_TIME = 4
"""Lanes that one process reads at once: of small ones most of the time is waiting for the broker."""


class UnknownLaneError(StreamsError):
    """A lane is to be verified that the installation does not have."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which lanes, and which of their turns. Empty means all.

    `erased` are records that have left their hashes, `pythons` have the rules of other releases.
    """

    agents: tuple[str, ...] = ()
    lanes: tuple[int, ...] = ()
    window: Window = EVERYTHING
    erased: Erased = NOTHING
    pythons: Pythons = field(default_factory=dict[tuple[str, int], Path])

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out, so that records nobody wrote can be told."""
        return not self.agents and not self.lanes and self.window.is_everything


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an audit is."""

    lanes: int
    lanes_done: int
    turns: int


@dataclass(frozen=True, slots=True)
class _Job:
    """One lane, for a process of its own: settings that can be sent there, and the moment that all share."""

    settings: Settings
    facts: InstalledTopics
    moment: Moment
    selection: Selection
    agent: str
    lane: int


def run(
    settings: Settings,
    selection: Selection,
    workers: int,
    on_progress: Callable[[Progress], None] = lambda _: None,
    checkpoints: Checkpoints | None = None,
) -> Verdict:
    """Verifies what is selected, as of now. Blocks, and with several workers starts processes that end with it.

    With checkpoints, the whole trail is held to them, whatever is selected.

    Raises:
        UnknownLaneError: a lane is selected that is not there.
        InstallationError: topics of the catalogue are missing.
        BrokerError: the broker cannot be reached or refuses.
        StreamsError: a file of checkpoints cannot be read.
    """
    engine = settings.engine(client_id=_CLIENT)
    facts, now = loop.run(_look(engine))
    count = facts.partitions[facts.naming.topic(topics.CONTROL)]
    names = selection.agents or topics.LANE_AGENTS
    unknown = [lane for lane in selection.lanes if lane >= count]
    if unknown:
        raise UnknownLaneError(f"there is no lane {unknown[0]}: there are {count}, from 0 to {count - 1}")
    lanes = [lane for lane in range(count) if not selection.lanes or lane in selection.lanes]
    jobs = [_Job(settings, facts, now, selection, name, lane) for name in names for lane in lanes]
    if workers == 1 or not jobs:
        reports = loop.run(_in_this_process(engine, jobs, on_progress)) if jobs else []
    else:
        reports = _at_once(jobs, workers, on_progress)
    return loop.run(_conclude(engine, facts, now, reports, checkpoints=checkpoints, selection=selection))


async def _look(engine: EngineSettings) -> tuple[InstalledTopics, Moment]:
    facts = await installed(engine)
    return facts, await moment(engine, facts)


async def _conclude(
    engine: EngineSettings,
    facts: InstalledTopics,
    now: Moment,
    reports: Sequence[LaneReport],
    *,
    checkpoints: Checkpoints | None,
    selection: Selection,
) -> Verdict:
    async with KafkaLog(engine, now) as log:
        return await conclude(
            log,
            facts,
            reports,
            checkpoints,
            accounts=selection.is_everything,
            window=selection.window,
            erased=selection.erased,
        )


async def _in_this_process(
    engine: EngineSettings, jobs: Sequence[_Job], on_progress: Callable[[Progress], None]
) -> list[LaneReport]:
    turns = done = 0
    free = asyncio.Semaphore(_AT_A_TIME)

    def on_turns(more: int) -> None:
        nonlocal turns
        turns += more
        on_progress(Progress(len(jobs), done, turns))

    async def one(job: _Job) -> LaneReport:
        nonlocal done
        async with free:
            report = await _verify(log, job, on_turns)
        done += 1
        on_turns(0)
        return report

    async with KafkaLog(engine, jobs[0].moment) as log, asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(job)) for job in jobs]
    return [task.result() for task in tasks]


def _at_once(jobs: Sequence[_Job], workers: int, on_progress: Callable[[Progress], None]) -> list[LaneReport]:
    context = multiprocessing.get_context("spawn")
    turns: Any = context.Value("Q", 0)
    at_most = min(workers, len(jobs))
    with started(context, _in_a_process, jobs, workers=at_most, prepare=_share, given=(turns,)) as running:
        left = set(running)
        while left:
            _, left = wait(left, _LOOK_EVERY_S, FIRST_COMPLETED)
            on_progress(Progress(len(jobs), len(jobs) - len(left), turns.value))
        return [one.result() for one in running]


class _Shared:
    """What a process counts its turns in, for all to see."""

    turns: Any = None


def _share(turns: Any) -> None:  # noqa: ANN401  # multiprocessing's values have no public type
    _Shared.turns = turns


def _in_a_process(job: _Job) -> LaneReport:
    def on_turns(more: int) -> None:
        with _Shared.turns.get_lock():
            _Shared.turns.value += more

    async def verify() -> LaneReport:
        async with KafkaLog(job.settings.engine(client_id=_CLIENT), job.moment) as log:
            return await _verify(log, job, on_turns)

    settle_garbage()
    return loop.run(verify())


async def _verify(log: KafkaLog, job: _Job, on_turns: Callable[[int], None]) -> LaneReport:
    made: Agent[Any, Any] = build_agents([job.agent], job.facts.naming, Measures(CollectorRegistry()))[0]
    asked = job.selection
    return await LaneAudit(
        made,
        job.lane,
        log,
        job.facts,
        window=asked.window,
        erased=asked.erased,
        pythons=asked.pythons,
        on_turns=on_turns,
    ).run()
