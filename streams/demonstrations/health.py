"""The demonstration of health: the bank fails, its client's breaker opens, and a recovery closes it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas import topics
from schemas.health import ServiceHealth, SystemHealthStatus
from schemas.recovery import RecoveryEvent, RecoveryState
from streams.agents.naming import Naming
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.errors import StreamsError
from streams.following import Follower
from streams.health.board import HealthBoard, following, now_ms
from streams.recovery.board import event_in
from streams.samples.bank import SERVICE, Bank

_WITHIN_S: Final = 90.0
_LOOK_AGAIN_S: Final = 0.05

_ENDS: Final = frozenset({RecoveryState.SUCCEEDED, RecoveryState.FAILED, RecoveryState.AWAITING_MANUAL})

OnHealth = Callable[[ServiceHealth], None]
"""Is told of the bank's row, whenever its status or why changes."""
OnRecovery = Callable[[RecoveryEvent], None]
"""Is told of each change of the bank's recovery."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The statuses that the bank went through, and how its recovery ended."""

    statuses: tuple[SystemHealthStatus, ...]
    ended: RecoveryState


class _Told:
    """What is heard of the bank."""

    def __init__(self, on_health: OnHealth, on_recovery: OnRecovery) -> None:
        self._on_health, self._on_recovery = on_health, on_recovery
        self.statuses: list[SystemHealthStatus] = []
        self.ended: RecoveryState | None = None
        self._why = ""
        self.failure: StreamsError | None = None

    def look(self, board: HealthBoard) -> None:
        """Tells how the bank stands, where that has changed."""
        found = board.service(SERVICE, now_ms())
        if found is None or (self.statuses[-1:] == [found.row.status] and self._why == found.row.why):
            return
        if self.statuses[-1:] != [found.row.status]:
            self.statuses.append(found.row.status)
        self._why = found.row.why
        self._on_health(found.row)

    def take(self, record: Record) -> None:
        """Takes a record of recoveries' events."""
        event = event_in(record.value)
        if event is not None and event.service == SERVICE:
            self._on_recovery(event)
            self.ended = event.state if event.state in _ENDS else None

    def fail(self, error: StreamsError) -> None:
        """Nothing more can be heard."""
        self.failure = self.failure or error


async def run(settings: EngineSettings, shop: Path, on_health: OnHealth, on_recovery: OnRecovery) -> Recovered:
    """Lets the bank fail, and follows what becomes of it. Its client, and workers of its activities, must run.

    Raises:
        TimeoutError: it has not come back within a minute and a half.
        StreamsError: the topics cannot be followed.
    """
    told, board = _Told(on_health, on_recovery), HealthBoard(Naming(settings.prefix))
    events = Follower(settings, [Naming(settings.prefix).topic(topics.RECOVERY_EVENTS)], told.take, told.fail)
    async with asyncio.timeout(_WITHIN_S), following(settings, board, told.fail):
        try:
            await events.start()
            Bank(shop).restart()  # it may have been left down
            await _until(told, board, lambda: told.statuses[-1:] == [SystemHealthStatus.HEALTHY])
            Bank(shop).fail()
            await _until(told, board, lambda: told.ended is not None)
            if told.ended is RecoveryState.SUCCEEDED:
                await _until(told, board, lambda: told.statuses[-1:] == [SystemHealthStatus.HEALTHY])
        finally:
            await events.stop()
    return Recovered(tuple(told.statuses), told.ended or RecoveryState.IDLE)


async def _until(told: _Told, board: HealthBoard, condition: Callable[[], bool]) -> None:
    while True:
        if told.failure is not None:
            raise told.failure
        told.look(board)
        if condition():
            return
        await asyncio.sleep(_LOOK_AGAIN_S)


def result_line(recovered: Recovered) -> str:
    """The line for scripts."""
    was = "critical" if SystemHealthStatus.CRITICAL in recovered.statuses else "never critical"
    return f"RESULT health bank was {was}, recovery {recovered.ended.value}, now {recovered.statuses[-1].value}"
