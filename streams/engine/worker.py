"""A worker: the pumps of several agents in one process, what it tells of them, and how it ends."""

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streams.engine.agent import Agent
from streams.engine.client import EngineSettings
from streams.engine.disturbance import UNDISTURBED, Disturbance
from streams.engine.metrics import EngineMetrics
from streams.engine.pump import Pump
from streams.engine.status import LaneStatus
from streams.engine.teller import Teller

_COLLECT_AFTER = 20_000
"""New objects before the collector looks at the young ones; Python's default is 700."""

_LOOK_EVERY_S = 1.0
_ALIVE_WITHIN_S = 10.0


def settle_garbage() -> None:
    """Takes what start-up made out of the garbage collector's sight, and lets it look less often. Once a process.

    A turn makes thousands of short-lived tuples and no cycles: looking through them again and again finds nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a worker does its work. `why` lists what is wrong, in words."""

    ok: bool
    why: tuple[str, ...]


class Worker:
    """Runs agents until stop(). Each agent's lanes are shared with the other workers of its group.

    Its lanes may be disturbed on purpose.
    """

    def __init__(
        self,
        agents: Sequence[Agent[Any, Any]],
        settings: EngineSettings,
        metrics: EngineMetrics,
        *,
        lanes_topic: str,
        disturbance: Disturbance = UNDISTURBED,
    ) -> None:
        self._settings, self._metrics = settings, metrics
        self._teller = Teller(settings, lanes_topic)
        self._pumps = [Pump(agent, settings, metrics, disturbance) for agent in agents]
        self._beat = time.monotonic()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Runs until stop(). On return every lane has finished its turn and left its group.

        Raises:
            Exception: an agent's configuration is wrong, or a lane died; the others have been stopped.
        """
        pumps = [asyncio.create_task(pump.run()) for pump in self._pumps]
        watching = asyncio.create_task(self._watch())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([*pumps, stopping], return_when=asyncio.FIRST_COMPLETED)
        for pump in self._pumps:
            pump.stop()
        results = await asyncio.gather(*pumps, return_exceptions=True)
        for task in (watching, stopping):
            task.cancel()
        await asyncio.wait([watching])
        await self._teller.tell_the_end()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def stop(self) -> None:
        """Finishes the open turns and ends run()."""
        self._stopping.set()

    def liveness(self) -> Health:
        """Fails when a lane has had work for `stall_after` without a commit, or the event loop stands still."""
        limit = self._settings.stall_after.total_seconds()
        why = [
            f"lane {lane.agent.name}/{lane.partition} has not progressed for {lane.stalled_for_s:.0f} s"
            for lane in self._all_lanes()
            if lane.stalled_for_s > limit
        ]
        silent = time.monotonic() - self._beat
        if silent > max(limit, _ALIVE_WITHIN_S):
            why.append(f"the event loop has not run for {silent:.0f} s")
        return Health(not why, tuple(why))

    def readiness(self) -> Health:
        """Fails until every agent has joined its group and every lane here is restored and has its control document."""
        why = [f"agent {pump.agent_name} has not joined its group" for pump in self._pumps if not pump.has_joined]
        for lane in self._all_lanes():
            if not lane.is_ready:
                status = lane.status(self._settings.client_id)
                why.append(
                    f"lane {status.agent}/{status.lane} is {status.state}: {status.last_error or 'not yet done'}"
                )
        return Health(not why, tuple(why))

    def statuses(self) -> list[LaneStatus]:
        """Every lane that runs here."""
        return [lane.status(self._settings.client_id) for lane in self._all_lanes()]

    def _all_lanes(self) -> list[Any]:
        return [lane for pump in self._pumps for lane in list(pump.lanes)]

    async def _watch(self) -> None:
        """Once a second: the sign of life, the lag of each lane, and what operators should know."""
        while True:
            self._beat = time.monotonic()
            statuses = self.statuses()
            for status in statuses:
                late_ms = 0 if status.oldest_ms is None else max(0, status.at_ms - status.oldest_ms)
                self._metrics.lane(status.agent, status.lane).lag(late_ms / 1000)
            await self._teller.tell(statuses)
            await asyncio.sleep(_LOOK_EVERY_S)
