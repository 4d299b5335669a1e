"""Chaos in lanes."""

from collections.abc import Callable

from schemas.chaos import MAX_DURATION, ChaosStatus, ChaosType
from streams.chaos.board import ChaosBoard
from streams.chaos.chance import Chance, probability
from streams.chaos.errors import InjectedError
from streams.metrics import ChaosMeasures

_FOR_EVER_S = MAX_DURATION.total_seconds()


class LaneChaos:
    """Does to lanes what the board says is in force (a Disturbance of the engine).

    Of the turns that error and timeout meet, half fail before they commit and half after: the lane has to find out
    that those have.
    """

    def __init__(self, board: ChaosBoard, measures: ChaosMeasures, chance: Chance | None = None) -> None:
        self._board, self._measures, self._chance = board, measures, chance or Chance()

    async def before_turn(self, agent: str, lane: int) -> None:
        """Holds the turn up, where latency is in force."""
        status = self._met(ChaosType.LATENCY, agent, lane)
        if status is not None:
            await self._board.hold(status, (status.parameters.latency_ms or 0) / 1_000)

    async def reach_broker(self, agent: str, lane: int) -> None:
        """Raises where the lane is cut off.

        Raises:
            ConnectionError: it is.
        """
        status = self._met(ChaosType.NETWORK_PARTITION, agent, lane)
        if status is not None:
            raise ConnectionError(f"chaos {status.name!a} has cut lane {agent}/{lane} off from Kafka")

    async def before_commit(self, agent: str, lane: int) -> None:
        """Fails the turn, or keeps it from its commit.

        Raises:
            ConnectionError: the lane has been cut off meanwhile.
            InjectedError: error is in force.
        """
        await self.reach_broker(agent, lane)
        await self._fail(agent, lane, has_committed=False)

    async def after_commit(self, agent: str, lane: int) -> None:
        """Keeps the lane from hearing that it has committed.

        Raises:
            InjectedError: error is in force.
        """
        await self._fail(agent, lane, has_committed=True)

    async def _fail(self, agent: str, lane: int, *, has_committed: bool) -> None:
        share = _of_those_left if has_committed else _of_all
        status = self._met(ChaosType.ERROR, agent, lane, share)
        if status is not None:
            raise InjectedError(f"chaos {status.name!a} fails a turn of {agent}/{lane}")
        status = self._met(ChaosType.TIMEOUT, agent, lane, share)
        if status is not None:
            await self._board.hold(status, _FOR_EVER_S)

    def _met(
        self, chaos_type: ChaosType, agent: str, lane: int, share: Callable[[ChaosStatus], float] = probability
    ) -> ChaosStatus | None:
        """The scenario in force, if it meets this turn."""
        status = self._board.find(chaos_type, (f"agent:{agent}", f"lane:{agent}/{lane}"))
        if status is None or not self._chance.has(share(status)):
            return None
        self._measures.done(chaos_type)
        return status


def _of_all(status: ChaosStatus) -> float:
    """How often a turn is met before it commits: half as often as it is met at all."""
    return probability(status) / 2


def _of_those_left(status: ChaosStatus) -> float:
    """How often one is met that has come through to its commit, so that both together are as often as they should."""
    before = _of_all(status)
    return before / (1 - before)
