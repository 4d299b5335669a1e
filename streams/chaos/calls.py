"""Chaos in calls of activities."""

from typing import Final

from schemas.chaos import MAX_DURATION, ChaosStatus, ChaosType
from streams.chaos.board import ChaosBoard
from streams.chaos.chance import Chance, probability
from streams.metrics import ChaosMeasures

_FOR_EVER_S = MAX_DURATION.total_seconds()
_REFUSES: Final = {ChaosType.CIRCUIT_BREAKER: "its breaker is open", ChaosType.ERROR: "it fails"}


class CallChaos:
    """Does to calls what the board says is in force (a CallDisturbance of activity workers)."""

    def __init__(self, board: ChaosBoard, measures: ChaosMeasures, chance: Chance | None = None) -> None:
        self._board, self._measures, self._chance = board, measures, chance or Chance()

    async def before_call(self, activity: str, queue: str) -> str | None:
        """Holds the call up, or says why it is not made."""
        targets = (f"activity:{activity}", f"queue:{queue}")
        late = self._met(ChaosType.LATENCY, targets)
        if late is not None:
            await self._board.hold(late, (late.parameters.latency_ms or 0) / 1_000)
        stuck = self._met(ChaosType.TIMEOUT, targets)
        if stuck is not None:
            await self._board.hold(stuck, _FOR_EVER_S)
        for chaos_type, words in _REFUSES.items():
            refusing = self._met(chaos_type, targets)
            if refusing is not None:
                return f"chaos {refusing.name!a}: {words}"
        return None

    def _met(self, chaos_type: ChaosType, targets: tuple[str, str]) -> ChaosStatus | None:
        status = self._board.find(chaos_type, targets)
        if status is None or not self._chance.has(probability(status)):
            return None
        self._measures.done(chaos_type)
        return status
