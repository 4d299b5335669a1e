"""What chaos is in force, as one process knows it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pydantic import ValidationError

from schemas.chaos import EVERYTHING, ChaosState, ChaosStatus, ChaosType
from streams.engine.records import Record

_log = logging.getLogger(__name__)

_REMEMBERED = 1_000


def _now_ms() -> float:
    return time.time() * 1_000


@dataclass(frozen=True, slots=True)
class _Entry:
    status: ChaosStatus
    ends_at: float


class ChaosBoard:
    """The scenarios in force.

    Guarantees: nothing is in force before all of the topic has been read; nor after a record says that it ended; nor
    after `until_ms` by this machine's clock, as it is when the scenario is first seen, or by the broker's, as far as
    records of the topic tell it; nor, whatever clocks say, for longer than its duration from first sight on, however
    often it is read again. It needs nobody to end anything.

    Belongs to one event loop. `monotonic` is in seconds.
    """

    def __init__(
        self, *, now_ms: Callable[[], float] = _now_ms, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._now_ms, self._monotonic = now_ms, monotonic
        self._entries: dict[str, _Entry] = {}
        self._ends: dict[tuple[str, int], float] = {}
        self._is_whole = False
        self._broker_ms = 0
        self._changed = asyncio.Event()

    # What the topic says

    def take(self, record: Record) -> None:
        """Takes a record of `chaos`."""
        key = (record.key or b"").decode(errors="replace")
        self._heard_at(record.timestamp)
        if key == EVERYTHING:
            return  # each scenario that it stopped says so itself
        status = None if record.value is None else _parse(record.value)
        if status is None or status.state is not ChaosState.IN_FORCE or status.until_ms <= self._broker_ms:
            self.drop(key)
        else:
            self.put(status)

    def _heard_at(self, broker_ms: int) -> None:
        """The broker's clock is so far: this machine's may be behind."""
        self._broker_ms = max(self._broker_ms, broker_ms)
        for id_ in [id_ for id_, one in self._entries.items() if one.status.until_ms <= self._broker_ms]:
            self.drop(id_)

    def put(self, status: ChaosStatus) -> None:
        """A scenario is in force."""
        id_ = status.scenario_id
        is_new = id_ not in self._entries
        self._entries[id_] = _Entry(status, self._end_of(status))
        if is_new and status in self.in_force():
            _say_begun(status)
        self._tell()

    def drop(self, scenario_id: str) -> None:
        """A scenario has ended; nothing if it is not known."""
        entry = self._entries.pop(scenario_id, None)
        if entry is None:
            return
        if self._is_whole:
            _log.warning("chaos has ended: %a", entry.status.name)
        self._tell()

    def became_whole(self) -> None:
        """All that was there has been taken: from now on, what is in force is."""
        self._is_whole = True
        for status in self.in_force():
            _say_begun(status)
        self._tell()

    def lost_sight(self) -> None:
        """The topic cannot be followed, so that nobody could stop anything here: nothing is in force."""
        self._is_whole = False
        self._entries.clear()
        self._tell()

    # What is in force

    def in_force(self) -> list[ChaosStatus]:
        """Every scenario that is, in the order in which they were seen."""
        if not self._entries or not self._is_whole:
            return []
        now = self._monotonic()
        return [entry.status for entry in self._entries.values() if entry.ends_at > now]

    def find(self, chaos_type: ChaosType, targets: Collection[str]) -> ChaosStatus | None:
        """The first scenario in force of a type that is done to one of these targets."""
        if not self._entries:
            return None
        found = (one for one in self.in_force() if one.chaos_type is chaos_type and one.target in targets)
        return next(found, None)

    async def hold(self, status: ChaosStatus, seconds: float) -> None:
        """Waits for so long, but never past the end of the scenario."""
        until = self._monotonic() + seconds
        while (left := min(until, self._end_here(status)) - self._monotonic()) > 0:
            await self.changed(left)

    async def changed(self, within_s: float) -> None:
        """Returns once something else is in force, or after that time."""
        changed = self._changed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await changed.wait()

    # Their ends

    def _end_of(self, status: ChaosStatus) -> float:
        """The moment a scenario ends, by the monotonic clock; at a second sight, the one of the first."""
        one = status.scenario_id, status.started_ms
        if one not in self._ends:
            left_ms = min(status.until_ms - self._now_ms(), status.duration_ms)
            self._ends[one] = self._monotonic() + left_ms / 1_000
            if len(self._ends) > _REMEMBERED:
                del self._ends[next(iter(self._ends))]
        return self._ends[one]

    def _end_here(self, status: ChaosStatus) -> float:
        entry = self._entries.get(status.scenario_id) if self._is_whole else None
        return float("-inf") if entry is None else entry.ends_at

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _say_begun(status: ChaosStatus) -> None:
    _log.warning("chaos is in force: %a, %s on %s", status.name, status.chaos_type, status.target)


def _parse(value: bytes) -> ChaosStatus | None:
    """A status; None for one of another version of this program, which then is not in force here."""
    try:
        return ChaosStatus.model_validate_json(value)
    except ValidationError:
        return None
