"""An activity worker: queues, their places and what they share, from the first command to the last commit."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from compensation.activity_set import ActivitySet
from schemas import topics
from schemas.activity import ActivityCommand
from streams.activities import generations
from streams.activities.attempt import Cut
from streams.activities.calling import Surroundings
from streams.activities.cancels import Cancels
from streams.activities.disturbance import UNDISTURBED, CallDisturbance
from streams.activities.intake import Intake
from streams.activities.outbox import Outbox, Outgoing
from streams.activities.places import Places
from streams.activities.wire import encode_heartbeat
from streams.agents.naming import Naming
from streams.broker import require_topics
from streams.claims import ClaimStore
from streams.engine.client import EngineSettings
from streams.engine.worker import Health
from streams.metrics import ActivityMeasures

_log = logging.getLogger(__name__)

GROUP = "activity-workers"
_LOOK_EVERY_S = 1.0
_STILL_S = 10.0
_END_WITHIN_S = 6.0
"""How long cancelled activities may take to end; longer than the time after which they are answered for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How an activity worker works. `concurrency` is how many activities of each queue run at once."""

    queues: Sequence[str] = (topics.DEFAULT_QUEUE,)
    concurrency: int = 100
    drain_timeout: timedelta = timedelta(seconds=30)


class ActivityWorker:
    """Runs activities for the commands of some queues until stop().

    Each command is run at least once and answered at least once, as long as any worker of the queue lives. Where this
    one ends, or a partition goes to another, what was not answered runs there; where its process is killed, also what
    was answered since the last commit, a second ago at most.
    """

    def __init__(
        self,
        activities: ActivitySet,
        settings: EngineSettings,
        own: WorkerSettings,
        measures: ActivityMeasures,
        claims: ClaimStore | None = None,
        *,
        disturbance: CallDisturbance = UNDISTURBED,
    ) -> None:
        self._disturbance = disturbance
        self._activities, self._settings, self._own, self._measures = activities, settings, own, measures
        self._claims = claims
        naming = Naming(settings.prefix)
        self._naming = naming
        self._results, self._heartbeats = naming.topic(topics.ACTIVITY_RESULTS), naming.topic(topics.HEARTBEATS)
        self._outbox = Outbox(settings, (self._results, self._heartbeats))
        self._cancels = Cancels()
        self._places: list[Places] = []
        self._intakes: list[Intake] = []
        self._stopping, self._hurrying = asyncio.Event(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._beat = time.monotonic()
        self._waits_for = "the policy in force"
        self.may_linger = False
        """Once run() has ended: whether activities were cancelled, whose threads, or they themselves, may go on."""

    async def run(self) -> None:
        """Works until stop(). On return what ran is answered, the answers are published, and the groups are left.

        Raises:
            InstallationError: topics are missing.
            BrokerError: the broker cannot be asked for them.
        """
        await self._require_topics()
        for doing in (self._outbox.run(), self._watch(), self._told_to_stop()):
            self._spawn(doing)
        beginning = self._spawn(self._begin())
        try:
            while not self._stopping.is_set():
                done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._tasks.discard(task)
                    task.result()
            beginning.cancel()
            await self._drain()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> None:
        """Takes no more commands and lets activities end; at the second call, cancels them at once."""
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    def liveness(self) -> Health:
        """Fails when the event loop stands still: an activity blocks it."""
        silent = time.monotonic() - self._beat
        why = f"the event loop has not run for {silent:.0f} s: an activity blocks it"
        return Health(ok=False, why=(why,)) if silent > _STILL_S else Health(ok=True, why=())

    def readiness(self) -> Health:
        """Fails until every queue is read, while results cannot be published, and once it is told to stop."""
        why = [f"waits for {self._waits_for}"] if self._waits_for else []
        why += [f"{intake.topic} is not read yet" for intake in self._intakes if not intake.is_ready]
        why += [self._outbox.trouble] if self._outbox.trouble else []
        why += ["it is told to stop"] if self._stopping.is_set() else []
        return Health(not why, tuple(why))

    # Its beginning

    async def _require_topics(self) -> None:
        shared = (topics.CONTROL, topics.ACTIVITY_CANCELS, topics.ACTIVITY_RESULTS, topics.HEARTBEATS)
        queues = map(topics.activities_of, self._own.queues)
        await require_topics(self._settings, [self._naming.topic(name) for name in (*shared, *queues)])

    async def _begin(self) -> None:
        known = await generations.first(self._settings)
        self._spawn(generations.keep_up(known, self._settings))
        self._waits_for = "the log of cancels"
        self._spawn(self._cancels.follow(self._settings))
        await self._cancels.is_reading.wait()
        self._waits_for = ""
        surroundings = Surroundings(self._activities, known, self._claims, self._publish_heartbeat, self._disturbance)
        for queue in self._own.queues:
            self._open(queue, surroundings)

    def _open(self, queue: str, surroundings: Surroundings) -> None:
        places = Places(
            self._own.concurrency,
            surroundings,
            self._cancels,
            self._outbox,
            self._measures.queue(queue),
            results_topic=self._results,
            worker=self._settings.client_id,
        )
        topic, group = self._naming.topic(topics.activities_of(queue)), self._settings.group(f"{GROUP}.{queue}")
        intake = Intake(topic, group, self._settings, places)
        self._places.append(places)
        self._intakes.append(intake)
        self._spawn(intake.run())

    def _spawn(self, doing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(doing)
        self._tasks.add(task)
        return task

    async def _told_to_stop(self) -> None:
        await self._stopping.wait()

    def _publish_heartbeat(self, command: ActivityCommand, details: bytes | None) -> None:
        value = encode_heartbeat(command, self._settings.client_id, details)
        self._outbox.put_fleeting(command.token, Outgoing(self._heartbeats, command.workflow_id.encode(), value))

    async def _watch(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(_LOOK_EVERY_S)

    # Its end

    async def _drain(self) -> None:
        for intake in self._intakes:
            intake.stop_fetching()
        running = sum(len(places.running) for places in self._places)
        limit_s = self._own.drain_timeout.total_seconds()
        if running:
            _log.info("stopping: %d activities may end within %.0f s; a second signal cancels them", running, limit_s)
        if not await self._until_idle(limit_s):
            cut = sum(places.cut(Cut.STOPPED) for places in self._places)
            if cut:
                _log.warning("%d activities are cancelled; what has begun is answered as failed", cut)
            self._hurrying.clear()
            await self._until_idle(_END_WITHIN_S)
        lingering = [name for places in self._places for name in places.running]
        if lingering:
            _log.error("these do not end although they are cancelled: %s", ", ".join(lingering))
        self.may_linger = bool(lingering) or any(places.has_cut for places in self._places)
        left = await self._outbox.flush(2 * self._settings.turn_timeout.total_seconds())
        if left:
            _log.error("%d results could not be published; their commands will be run again", left)

    async def _until_idle(self, within_s: float) -> bool:
        """Whether nothing runs any more; gives up after that time, or at the second signal."""
        idle, hurrying = asyncio.create_task(self._all_idle()), asyncio.create_task(self._told_to_hurry())
        await asyncio.wait([idle, hurrying], timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        is_idle = idle.done()
        for task in (idle, hurrying):
            task.cancel()
        await asyncio.gather(idle, hurrying, return_exceptions=True)
        return is_idle

    async def _all_idle(self) -> None:
        for places in self._places:
            await places.idle()

    async def _told_to_hurry(self) -> None:
        await self._hurrying.wait()
