"""Memory held and processor time burnt by a process, within bounds."""

import asyncio
import logging
import time
from collections.abc import Collection

from handlers.chaos.targets import PROTECTED
from schemas.chaos import MAX_CPU_PERCENT, MAX_MEMORY_MIB, ChaosStatus, ChaosType, Target, covers
from streams.chaos.board import ChaosBoard
from streams.metrics import ChaosMeasures

_log = logging.getLogger(__name__)

_MIB = 1024 * 1024
_BLOCK_MIB = 4
_PAGE = 4096
_SLICE_S = 0.005
_LOOK_EVERY_S = 0.5
_PERCENT = 100


class Exhaustion:
    """Holds and burns what the board says is in force, in slices of 5 ms, between which everything else goes on.

    A process is exhausted as a whole: so only where the blast radius covers every one of its `residents`, the agents or
    queues that it runs. Those that chaos is never done to are left out of account; they go on, between the slices.
    However many scenarios are in force, they hold 512 MiB and burn 80 % of one processor at most.
    """

    def __init__(self, board: ChaosBoard, measures: ChaosMeasures, residents: Collection[str]) -> None:
        self._board, self._measures, self._residents = board, measures, frozenset(residents)
        self._blocks: list[bytearray] = []
        self._told: set[str] = set()

    @property
    def held_mib(self) -> int:
        """How much memory it holds."""
        return len(self._blocks) * _BLOCK_MIB

    async def run(self) -> None:
        """Goes on until it is cancelled, and holds nothing then."""
        try:
            while True:
                memory_mib, cpu_percent = self._wanted()
                blocks = -(-memory_mib // _BLOCK_MIB)
                del self._blocks[blocks:]
                if len(self._blocks) < blocks:
                    self._blocks.append(_block())
                    await asyncio.sleep(0)
                elif cpu_percent:
                    _burn()
                    await asyncio.sleep(_SLICE_S * (_PERCENT - cpu_percent) / cpu_percent)
                else:
                    await self._board.changed(_LOOK_EVERY_S)
        finally:
            self._blocks.clear()

    def _wanted(self) -> tuple[int, int]:
        """How much memory in MiB, and how much of a processor in percent."""
        found = [one.parameters for one in self._board.in_force() if self._concerns(one)]
        memory = sum(one.memory_mib or 0 for one in found)
        cpu = sum(one.cpu_percent or 0 for one in found)
        return min(memory, MAX_MEMORY_MIB), min(cpu, MAX_CPU_PERCENT)

    def _concerns(self, status: ChaosStatus) -> bool:
        if status.chaos_type is not ChaosType.RESOURCE_EXHAUSTION or status.target not in self._residents:
            return False
        beside = [one for one in self._residents if Target.of(one).agent not in PROTECTED]
        outside = sorted(one for one in beside if not any(covers(inside, one) for inside in status.blast_radius))
        if status.scenario_id not in self._told:
            self._told.add(status.scenario_id)
            if outside:
                _log.warning(
                    "chaos %a is not done here: its blast radius leaves out %s", status.name, ", ".join(outside)
                )
            else:
                self._measures.done(status.chaos_type)
        return not outside


def _block() -> bytearray:
    """Memory that is really there: each page of it is written to."""
    block = bytearray(_BLOCK_MIB * _MIB)
    block[::_PAGE] = b"\x01" * (len(block) // _PAGE)
    return block


def _burn() -> None:
    until = time.perf_counter() + _SLICE_S
    while time.perf_counter() < until:
        pass
