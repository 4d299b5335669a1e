"""A worker: the pumps of several agents in one process, what it tells of them, and how it ends."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import KafkaError

from streams.engine import client
from streams.engine.agent import Agent
from streams.engine.client import EngineSettings, Producer
from streams.engine.metrics import EngineMetrics
from streams.engine.pump import Pump
from streams.engine.status import LaneStatus, State

_log = logging.getLogger(__name__)

_TELL_EVERY_S = 1.0
_TELL_UNCHANGED_EVERY_S = 10.0
_ALIVE_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a worker does its work. `why` lists what is wrong, in words."""

    ok: bool
    why: tuple[str, ...]


class Worker:
    """Runs agents until stop(). Each agent's lanes are shared with the other workers of its group."""

    def __init__(
        self, agents: Sequence[Agent[Any, Any]], settings: EngineSettings, metrics: EngineMetrics, *, lanes_topic: str
    ) -> None:
        client.tune()
        self._settings, self._metrics, self._lanes_topic = settings, metrics, lanes_topic
        self._pumps = [Pump(agent, settings, metrics) for agent in agents]
        self._beat = time.monotonic()
        self._stopping = asyncio.Event()
        self._told: dict[bytes, tuple[float, State, str | None]] = {}

    async def run(self) -> None:
        """Runs until stop(). On return every lane has finished its turn and left its group.

        Raises:
            Exception: an agent's configuration is wrong, or a lane died; the others have been stopped.
        """
        pumps = [asyncio.create_task(pump.run()) for pump in self._pumps]
        telling = asyncio.create_task(self._tell())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([*pumps, stopping], return_when=asyncio.FIRST_COMPLETED)
        for pump in self._pumps:
            pump.stop()
        results = await asyncio.gather(*pumps, return_exceptions=True)
        self._stopping.set()
        await asyncio.wait([telling], timeout=self._settings.turn_timeout.total_seconds())
        for task in (telling, stopping):
            task.cancel()
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

    async def _tell(self) -> None:
        """Writes changed statuses to the topic of lanes; a failure to do so harms nothing and is tried again."""
        producer: Producer | None = None
        while not self._stopping.is_set():
            self._beat = time.monotonic()
            try:
                if producer is None:
                    producer = client.plain_producer(self._settings, "status")
                    await producer.start()
                await self._tell_once(producer)
            except (KafkaError, OSError, TimeoutError, AssertionError) as error:
                _log.debug("lane status not written: %r", error)
                if producer is not None:
                    await client.abandon(producer)
                producer = None
            await self._sleep()
        if producer is not None:
            await client.abandon(producer)

    async def _tell_once(self, producer: Producer) -> None:
        now = time.monotonic()
        for status in self.statuses():
            oldest = status.oldest_ms
            lag = 0.0 if oldest is None else max(0.0, (status.at_ms - oldest) / 1000)
            self._metrics.lane(status.agent, status.lane).lag(lag)
            at, state, error = self._told.get(status.key, (0.0, State.CLOSED, None))
            if (state, error) != (status.state, status.last_error) or now - at > _TELL_UNCHANGED_EVERY_S or lag > 1:
                async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
                    await producer.send_and_wait(self._lanes_topic, key=status.key, value=status.encode())
                self._told[status.key] = (now, status.state, status.last_error)

    async def _sleep(self) -> None:
        try:
            async with asyncio.timeout(_TELL_EVERY_S):
                await self._stopping.wait()
        except TimeoutError:
            return
