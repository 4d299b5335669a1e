"""Workers of the engine inside a test's own event loop."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from streams.engine.agent import Agent
from streams.engine.client import EngineSettings
from streams.engine.disturbance import UNDISTURBED, Disturbance
from streams.engine.metrics import EngineMetrics
from streams.engine.status import LaneStatus, State
from streams.engine.worker import Worker
from tests.support.eventually import eventually


class RunningWorker:
    """A worker, its task and what it measures."""

    def __init__(
        self, agents: Sequence[Agent[Any, Any]], settings: EngineSettings, disturbance: Disturbance = UNDISTURBED
    ) -> None:
        self.registry = CollectorRegistry()
        metrics = EngineMetrics(self.registry)
        lanes_topic = f"{settings.prefix}lanes"
        self.worker = Worker(agents, settings, metrics, lanes_topic=lanes_topic, disturbance=disturbance)
        self.task = asyncio.create_task(self.worker.run())

    def lanes(self, *states: State) -> list[LaneStatus]:
        """Its lanes that are in one of these states; all of them if none is named."""
        self.raise_if_ended()
        return [status for status in self.worker.statuses() if not states or status.state in states]

    def position(self, agent: str, lane: int, topic: str) -> int:
        """Where a lane stands in an input; -1 if it does not run here."""
        found = [s for s in self.lanes() if (s.agent, s.lane) == (agent, lane) and s.state is not State.CLOSED]
        return found[0].offsets.get(topic, -1) if found else -1

    async def until(self, state: State, lanes: int) -> None:
        """Returns when that many lanes are in the state."""
        await eventually(lambda: len(self.lanes(state)) == lanes, account=self.lanes)

    def raise_if_ended(self) -> None:
        if self.task.done():
            self.task.result()
            raise AssertionError("the worker ended by itself")

    async def stop(self) -> None:
        self.worker.stop()
        await self.task


@asynccontextmanager
async def running(
    agents: Sequence[Agent[Any, Any]], settings: EngineSettings, disturbance: Disturbance = UNDISTURBED
) -> AsyncIterator[RunningWorker]:
    """A worker that is stopped in good order at the end."""
    started = RunningWorker(agents, settings, disturbance)
    try:
        yield started
    finally:
        if not started.task.done():
            await started.stop()
