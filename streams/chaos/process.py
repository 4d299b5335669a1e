"""A process that chaos may be done to: it was started with --chaos."""

import asyncio
import logging
from collections.abc import Callable, Collection
from datetime import timedelta

from prometheus_client import CollectorRegistry

from schemas import topics
from streams.agents.naming import Naming
from streams.chaos.board import ChaosBoard
from streams.chaos.calls import CallChaos
from streams.chaos.exhaustion import Exhaustion
from streams.chaos.lanes import LaneChaos
from streams.engine.client import EngineSettings
from streams.engine.worker import Health
from streams.errors import BrokerError, StreamsError
from streams.following import Follower
from streams.metrics import ChaosMeasures
from streams.serving import Service

_log = logging.getLogger(__name__)

_RETRY = timedelta(seconds=2)
LOOK_EVERY, SIGHT = timedelta(seconds=2), timedelta(seconds=8)
"""How often a process makes sure that it would read an emergency stop, and how long it waits: 10 s together."""


class Chaos:
    """What a process needs for chaos to be done to it.

    `lanes` goes to its lanes, `calls` to its activity worker, and around() around what it serves.
    """

    def __init__(self, settings: EngineSettings, registry: CollectorRegistry) -> None:
        self._settings, self._measures = settings, ChaosMeasures(registry)
        self.board = ChaosBoard()
        self._measures.in_force(lambda: float(len(self.board.in_force())))
        self.lanes, self.calls = LaneChaos(self.board, self._measures), CallChaos(self.board, self._measures)

    def around(self, service: Service, residents: Collection[str]) -> Service:
        """The service, with chaos being followed for as long as it runs; `residents` are its agents or queues."""
        return _Chaotic(service, self._settings, self.board, Exhaustion(self.board, self._measures, residents))


class _Chaotic:
    """A service that chaos may be done to. It ends as it would without."""

    def __init__(self, inner: Service, settings: EngineSettings, board: ChaosBoard, exhaustion: Exhaustion) -> None:
        self._inner, self._settings, self._board, self._exhaustion = inner, settings, board, exhaustion

    def liveness(self) -> Health:
        """The service's own."""
        return self._inner.liveness()

    def readiness(self) -> Health:
        """The service's own."""
        return self._inner.readiness()

    def stop(self) -> None:
        """Stops the service."""
        self._inner.stop()

    async def run(self) -> None:
        """Serves until stop(); follows what is in force meanwhile."""
        _log.warning("operators may have chaos done to this process: it was started with --chaos")
        beside = [
            asyncio.create_task(follow(self._board, self._settings)),
            asyncio.create_task(self._exhaustion.run()),
        ]
        try:
            await self._inner.run()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)


async def follow(board: ChaosBoard, settings: EngineSettings) -> None:
    """Tells the board what is in force, for ever. While the topic cannot be followed, nothing is."""
    while True:
        try:
            await _follow(board, settings)
        except StreamsError as error:
            _log.warning("the topic of chaos cannot be followed, nothing is in force here: %s", error)
        finally:
            board.lost_sight()
        await asyncio.sleep(_RETRY.total_seconds())


async def _see(follower: Follower, board: ChaosBoard) -> None:
    await follower.caught_up.wait()
    board.became_whole()


async def keep_sight(follower: Follower, board: ChaosBoard) -> StreamsError:
    """Returns, with why, once the topic is out of sight: by then nothing is in force."""
    while True:
        await asyncio.sleep(LOOK_EVERY.total_seconds())
        try:
            async with asyncio.timeout(SIGHT.total_seconds()):
                await follower.seen()
        except TimeoutError:
            board.lost_sight()
            return BrokerError(f"nothing was read of it for {SIGHT.total_seconds():g} s")
        except StreamsError as error:
            board.lost_sight()
            return error


async def _keep_sight(follower: Follower, board: ChaosBoard, fail: Callable[[StreamsError], None]) -> None:
    fail(await keep_sight(follower, board))


async def _follow(board: ChaosBoard, settings: EngineSettings) -> None:
    """Returns never.

    Raises:
        StreamsError: the topic is missing, or the broker refuses.
    """
    topic = Naming(settings.prefix).topic(topics.CHAOS)
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(error: StreamsError) -> None:
        if not failed.done():
            failed.set_exception(error)

    follower = Follower(settings, [topic], board.take, fail, whole=frozenset({topic}))
    try:
        await follower.start()
        beside = [
            asyncio.create_task(_see(follower, board)),
            asyncio.create_task(_keep_sight(follower, board, fail)),
        ]
        try:
            await failed
        finally:
            for task in beside:
                task.cancel()
            board.lost_sight()
    finally:
        failed.cancel()
        await follower.stop()
