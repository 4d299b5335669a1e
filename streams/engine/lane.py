"""A lane: one agent on one partition number, from its start to its end."""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self

from streams.engine import restore
from streams.engine.admin import Admin
from streams.engine.agent import Agent, Control
from streams.engine.budget import TurnBudget
from streams.engine.client import EngineSettings
from streams.engine.disturbance import UNDISTURBED, Disturbance
from streams.engine.errors import EngineError, LaneHeldError
from streams.engine.metrics import LaneMetrics
from streams.engine.records import Record, Row
from streams.engine.state import LaneState
from streams.engine.status import TRANSITIONS, LaneStatus, State
from streams.engine.timers import Timers
from streams.engine.turn import DRAW_BYTES, Bounds, Turn, TurnInProgress
from streams.engine.writer import Outcome, TurnWriter

_log = logging.getLogger(__name__)

_SLICE = 50
_SLICE_S = 0.004
_YIELD_AFTER_S = 0.006
_MAX_PAUSE_S = 5.0
_REJOIN_AFTER_S = 30.0
_MAX_ERROR_CHARACTERS = 1_000
_LIMITS_FOR_S = 30.0
"""How old the limits of topics may be: operators raise them, and then redrive what did not fit."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records of one input, the offset at which the next begin, and the size of their values."""

    topic: str
    records: Sequence[Record]
    next_offset: int
    bytes: int

    @classmethod
    def of(cls, topic: str, records: Sequence[Record], next_offset: int) -> Self:
        """A chunk of these records."""
        return cls(topic, records, next_offset, sum([len(record.value or b"") for record in records]))

    def split(self, count: int) -> tuple[Self, Self]:
        """The first `count` records, and the others."""
        first = self.of(self.topic, self.records[:count], self.records[count - 1].offset + 1)
        return first, type(self)(self.topic, self.records[count:], self.next_offset, self.bytes - first.bytes)


class Source(Protocol):
    """Where a lane's records come from."""

    def begin(self, partition: int, offsets: dict[str, int]) -> None:
        """From now on offer the lane its inputs, from these offsets and no others."""
        ...


class Lane(Generic[Row, Control]):
    """Runs an agent on one partition number.

    Guarantees: every input record is handled exactly once as far as committed records tell, whatever fails and however
    often; outputs, rows, position and audit record of a turn commit together. A lane that another process has taken
    over commits nothing more. run() returns only after close(); cancelling it leaves the last turn to be settled by the
    next owner.
    """

    def __init__(
        self,
        agent: Agent[Row, Control],
        partition: int,
        *,
        settings: EngineSettings,
        source: Source,
        metrics: LaneMetrics,
        on_stuck: Callable[[], None],
        disturbance: Disturbance = UNDISTURBED,
    ) -> None:
        self.agent, self.partition = agent, partition
        self._disturbance = disturbance
        self._settings, self._source, self._metrics, self._on_stuck = settings, source, metrics, on_stuck
        self._writer = TurnWriter(agent, partition, settings, disturbance)
        self._state: LaneState[Row, Control] = LaneState()
        self._bounds: Bounds | None = None
        self._bounds_control: Control | None = None
        self._bounds_at = 0.0
        self._timers: Timers[Row] = Timers()
        self._control_chunks: deque[Chunk] = deque()
        self._chunks: deque[Chunk] = deque()
        self._queued_records = self._queued_bytes = 0
        self._budget = TurnBudget(settings.min_turn, time.monotonic())
        self._slice = _SLICE
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._owned = self._closing = self._opened = self._begun = False
        self._lane_state = State.IDLE
        self._turn_since_ms: int | None = None
        self._last_commit_ms: int | None = None
        self._last_error: str | None = None
        self._last_error_ms: int | None = None
        self._failing_since: float | None = None
        self._progress = time.monotonic()

    # What its worker does with it

    def own(self) -> None:
        """The lane's partitions are assigned here: start, or go on where it stands."""
        self._owned = True
        self._progressed()
        self._wake.set()

    def reopen(self) -> None:
        """The broker no longer has what the lane wants to read: look again where it stands."""
        self._opened = False
        self._wake.set()

    async def release(self, within_s: float) -> None:
        """The partitions are assigned elsewhere, or may be: take no more turns. Returns when the open one has ended."""
        self._owned = self._begun = False
        self._clear()
        self._wake.set()
        try:
            async with asyncio.timeout(within_s):
                await self._quiet.wait()
        except TimeoutError:
            _log.warning("a turn is still open at a rebalance; the next owner ends it", extra=self._about())

    def close(self) -> None:
        """Finish the open turn and end run()."""
        self._closing = True
        self._wake.set()

    def offer(self, chunk: Chunk) -> None:
        """Records that continue where the last offer of the topic ended."""
        if not self._can_turn:
            self._progressed()
        (self._control_chunks if self._is_control(chunk.topic) else self._chunks).append(chunk)
        self._queued_records += len(chunk.records)
        self._queued_bytes += chunk.bytes
        self._wake.set()

    def has_room_for(self, topic: str) -> bool:
        """Whether it is worth offering more of an input. Control documents never wait behind other records."""
        if self._is_control(topic):
            return True
        settings = self._settings
        return self._queued_records < 2 * settings.max_turn_records and self._queued_bytes < 2 * settings.max_turn_bytes

    @property
    def offsets(self) -> dict[str, int]:
        """The lane's committed position by input topic."""
        return self._state.position.offsets if self._state.position else {}

    @property
    def is_ready(self) -> bool:
        """Whether it is restored and has its control document, or is not this worker's to run."""
        return self._lane_state in {State.RUNNING, State.IDLE, State.RENEWING}

    @property
    def stalled_for_s(self) -> float:
        """How long it has had something to do without committing or restoring anything, in seconds."""
        working = self._owned and (
            self._lane_state in {State.STARTING, State.RESTORING, State.RENEWING} or self._can_turn
        )
        return time.monotonic() - self._progress if working else 0.0

    def status(self, worker: str) -> LaneStatus:
        """What to tell operators."""
        position = self._state.position
        oldest = [chunks[0].records[0].timestamp for chunks in (self._control_chunks, self._chunks) if chunks]
        return LaneStatus(
            agent=self.agent.name,
            lane=self.partition,
            worker=worker,
            state=self._lane_state,
            at_ms=_now_ms(),
            seq=position.seq if position else 0,
            offsets=dict(position.offsets) if position else {},
            oldest_ms=min(oldest, default=None),
            turn_since_ms=self._turn_since_ms,
            last_commit_ms=self._last_commit_ms,
            last_error=self._last_error,
            last_error_ms=self._last_error_ms,
            rows=len(self._state.rows),
            timers=len(self._timers),
        )

    # Its life

    async def run(self) -> None:
        """Opens the lane whenever it is owned and takes turns until close()."""
        try:
            while not self._closing:
                if not self._owned:
                    await self._idle()
                elif not self._opened:
                    await self._open()
                elif not self._begun:
                    self._begin()
                else:
                    await self._turn_when_due()
        finally:
            self._become(State.CLOSED)
            await (self._writer.stop() if self._opened else self._writer.abandon())

    async def _idle(self) -> None:
        self._become(State.IDLE)
        await self._wait(None)

    async def _open(self) -> None:
        try:
            self._become(State.STARTING)
            await self._writer.start()
            self._progressed()
            self._become(State.RESTORING)
            restored = await restore.restore(self.agent, self.partition, self._settings, self._progressed)
            await self._refresh_bounds(restored.state.control)
        except LaneHeldError as error:
            self._failed(error)
            self._become(State.HELD)
            await self._pause(_MAX_PAUSE_S)
        except Exception as error:  # noqa: BLE001  # the client raises assertions and bare errors for a broker's faults
            self._failed(error)
            await self._pause_after_failure()
        else:
            self._state = restored.state
            self._writer.stands_at(restored.next_offset)
            self._timers.rebuild(self._state.rows)
            self._opened, self._begun, self._failing_since = True, False, None
            self._progressed()

    def _begin(self) -> None:
        """Asks for records from where the lane stands, and only from there."""
        self._clear()
        self._begun = True
        self._become(State.RUNNING if self._has_control else State.WAITING)
        if self._state.position is not None:
            self._source.begin(self.partition, dict(self._state.position.offsets))

    async def _turn_when_due(self) -> None:
        timeout = self._until_next_turn()
        if timeout != 0:
            await self._wait(timeout)
            return
        await self._disturbance.before_turn(self.agent.name, self.partition)
        if not self._may_turn:
            return  # it has lost its partition, or is to end, while it was held up
        self._quiet.clear()
        try:
            await self._take_turn()
        except Exception as error:  # a turn that cannot even be made: begin anew from the changelog  # noqa: BLE001
            _log.exception("a turn cannot be made", extra=self._about())
            self._failed(error)
            self._opened = self._begun = False
            await self._pause_after_failure()
        finally:
            self._turn_since_ms = None
            self._quiet.set()

    async def _take_turn(self) -> None:
        bounds = await self._current_bounds()
        began = time.perf_counter()
        before = self._state.position.seq if self._state.position else 0
        turn = await self._handle(bounds)
        if turn is None:
            return
        self._turn_since_ms = _now_ms()
        self._budget.spend(time.monotonic())
        handled = time.perf_counter()
        try:
            await self._writer.write(turn, bounds)
        except Exception as error:  # noqa: BLE001  # whatever it is, only the changelog says what became of the turn
            await self._settle(turn, before, error)
        else:
            self._committed(turn)
            self._metrics.turn(turn.records, turn.dead_letters, handled - began, time.perf_counter() - handled)

    async def _handle(self, bounds: Bounds) -> Turn[Row, Control] | None:
        """Handles what has arrived and what is due, as much as one turn takes."""
        turn = TurnInProgress(self.agent, self.partition, self._state, bounds, os.urandom(DRAW_BYTES))
        left = self._settings.max_turn_records
        bytes_left = self._settings.max_turn_bytes
        worked_since = time.perf_counter()
        while left > 0 and bytes_left > 0 and (chunks := self._next_chunks(turn.has_control)):
            chunk = self._take(chunks, min(left, self._slice))
            began = time.perf_counter()
            turn.handle(chunk.topic, chunk.records, chunk.next_offset)
            self._slice = _slice(len(chunk.records), time.perf_counter() - began)
            left -= max(1, len(chunk.records))
            bytes_left -= chunk.bytes
            if self.agent.outputs_under is not None and self._is_control(chunk.topic):
                break  # what it adds to the outputs is looked up before anything is decided under it
            if time.perf_counter() - worked_since > _YIELD_AFTER_S:
                await asyncio.sleep(0)
                worked_since = time.perf_counter()
        if turn.has_control:
            turn.fire(self._timers.take_due(_now_ms(), self._state.rows))
        return None if turn.is_empty else turn.finish()

    def _committed(self, turn: Turn[Row, Control]) -> None:
        turn.apply_to(self._state)
        for key, stored in turn.changes.items():
            if stored is not None and stored.due_ms is not None:
                self._timers.arm(key, stored.due_ms, stored.version)
        for key, missing_ms in turn.rearmed:
            stored = self._state.rows.get(key)
            if stored is not None:
                self._timers.arm(key, _now_ms() + missing_ms, stored.version)
        self._timers.drop_stale(self._state.rows)
        if self.agent.measure is not None and turn.measures:
            self.agent.measure(turn.measures)
        self._failing_since = None
        self._last_commit_ms = _now_ms()
        self._progressed()
        if self._lane_state is State.WAITING and self._has_control:
            self._become(State.RUNNING)

    async def _settle(self, turn: Turn[Row, Control], before: int, error: Exception) -> None:
        """Finds out what became of a turn whose commit failed, with another producer, and goes on from there."""
        self._metrics.failed_turn()
        self._failed(error)
        self._opened = self._begun = False
        self._become(State.RENEWING)
        while self._owned and not self._closing:
            await self._pause_after_failure()
            try:
                await self._refresh_bounds(self._state.control)
                outcome = await self._writer.renew(turn, before)
            except Exception as again:  # noqa: BLE001  # as long as the broker does not answer, ask again
                self._failed(again)
                continue
            _log.info("a failed turn is settled: %s", outcome.name.lower(), extra=self._about())
            if outcome is Outcome.COMMITTED:
                self._committed(turn)
            self._opened = outcome is not Outcome.SUPERSEDED
            self._timers.rebuild(self._state.rows)
            return

    # What there is to do

    @property
    def _has_control(self) -> bool:
        return self.agent.control is None or self._state.control is not None

    def _is_control(self, topic: str) -> bool:
        return self.agent.control is not None and topic == self.agent.control.topic

    @property
    def _may_turn(self) -> bool:
        return self._owned and self._opened and self._begun and not self._closing

    @property
    def _can_turn(self) -> bool:
        has_records = bool(self._control_chunks) or (self._has_control and bool(self._chunks))
        return has_records or self._state.accepted is not None

    def _until_next_turn(self) -> float | None:
        """Seconds until a turn may begin; None while there is nothing to do."""
        if self._can_turn:
            return self._budget.wait(time.monotonic())
        due_ms = self._timers.next_ms if self._has_control else None
        if due_ms is None:
            return None
        return max((due_ms - _now_ms()) / 1000, self._budget.wait(time.monotonic()), 0.0)

    def _next_chunks(self, has_control: bool) -> deque[Chunk] | None:  # noqa: FBT001
        return self._control_chunks or (self._chunks if has_control else None)

    def _take(self, chunks: deque[Chunk], most: int) -> Chunk:
        chunk = chunks.popleft()
        if len(chunk.records) > most:
            chunk, rest = chunk.split(most)
            chunks.appendleft(rest)
        self._queued_records -= len(chunk.records)
        self._queued_bytes -= chunk.bytes
        return chunk

    def _clear(self) -> None:
        self._control_chunks.clear()
        self._chunks.clear()
        self._queued_records = self._queued_bytes = 0

    # Waiting, failing, telling

    async def _wait(self, timeout_s: float | None) -> None:
        self._wake.clear()
        if self._closing:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _pause(self, seconds: float) -> None:
        """Waits, but not past close()."""
        until = time.monotonic() + seconds
        while not self._closing and (left := until - time.monotonic()) > 0:
            await self._wait(left)

    async def _pause_after_failure(self) -> None:
        failing_for = time.monotonic() - (self._failing_since or time.monotonic())
        if failing_for > _REJOIN_AFTER_S:
            self._failing_since = time.monotonic()
            self._on_stuck()
        heartbeat = self._settings.heartbeat.total_seconds()
        await self._pause(min(_MAX_PAUSE_S, heartbeat + failing_for / 4))

    async def _current_bounds(self) -> Bounds:
        """What the broker says of the topics that are written now, not older than 30 s if the broker answers."""
        if self._bounds is None or self._bounds_control is not self._state.control:
            return await self._refresh_bounds(self._state.control)
        if time.monotonic() - self._bounds_at > _LIMITS_FOR_S:
            try:
                return await self._refresh_bounds(self._state.control)
            except Exception as error:  # noqa: BLE001  # the old ones still do; if the broker is gone, the turn will tell
                self._bounds_at = time.monotonic()
                _log.warning("limits of topics not read: %r", error, extra=self._about())
        return self._bounds

    async def _refresh_bounds(self, control: Control | None) -> Bounds:
        async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
            async with Admin(self._settings) as admin:
                bounds = await admin.bounds(self.agent.written_under(control))
        self._bounds, self._bounds_control, self._bounds_at = bounds, control, time.monotonic()
        return bounds

    def _become(self, state: State) -> None:
        if state is self._lane_state:
            return
        if state not in TRANSITIONS[self._lane_state]:
            raise EngineError(f"lane {self.agent.name}/{self.partition}: {self._lane_state} cannot become {state}")
        _log.info("lane is %s", state.value, extra=self._about())
        self._lane_state = state
        self._metrics.state(state)

    def _failed(self, error: BaseException) -> None:
        self._failing_since = self._failing_since or time.monotonic()
        words = f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARACTERS]
        if words != self._last_error:
            _log.warning("lane failed: %s", words, extra=self._about())
        self._last_error, self._last_error_ms = words, _now_ms()

    def _progressed(self) -> None:
        self._progress = time.monotonic()

    def _about(self) -> dict[str, object]:
        position = self._state.position
        return {"agent": self.agent.name, "lane": self.partition, "offsets": position.offsets if position else None}


def _slice(records: int, seconds: float) -> int:
    """How many records to handle before looking at the clock again, going by what the last ones took."""
    return max(1, min(_SLICE, int(_SLICE_S * records / seconds) if seconds > 0 else _SLICE))


def _now_ms() -> int:
    return int(time.time() * 1000)
