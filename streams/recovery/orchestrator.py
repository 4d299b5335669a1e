"""`RecoveryOrchestrator`: recoveries of what one process depends on, by the same state machine as on lanes."""

import asyncio
import contextlib
import heapq
import inspect
import itertools
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final, cast

from compensation import CONSTITUTIONAL_HASH, ConstitutionalError, validate_constitutional_hash
from handlers.recovery import machine
from handlers.recovery.machine import Begin, Phase, Task, Terms
from schemas.breaker import BreakerState
from schemas.model import length_ms, ms
from schemas.recovery import RecoveryState, RecoveryStrategy
from streams.health.aggregator import DONE, Done
from streams.recovery.policy import RecoveryPolicy, RecoveryTask

Recover = Callable[[str], object]
"""Brings a service back; a plain function runs in a thread of its own, what is awaitable is awaited."""

ATTEMPT_TIMEOUT: Final = timedelta(seconds=60)
CLOSING_TIMEOUT: Final = timedelta(seconds=60)
AT_ONCE: Final = 4
_STILL_RUNS: Final = "; it waits for the function of the attempt before, which still runs"
_log = logging.getLogger(__name__)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Recovery:
    """One service's, with the attempt that runs."""

    task: Task
    sequence: int = 0
    is_open: bool = False
    running: asyncio.Task[object] | None = None
    threads: int = 0
    """Plain functions that run for it; one whose attempt has timed out or was cancelled cannot be interrupted."""
    is_put_off: bool = False
    """An attempt is due, and waits for those."""


class RecoveryOrchestrator:
    """Schedules recoveries, and makes their attempts when they are due, in run() or step by step.

    Among what is due, the lowest priority number comes first; what is not due delays nothing. Scheduling costs the same
    time, but for the heap's logarithm, however many are scheduled. An attempt calls `recover` with the service's name,
    then the health check of its policy: that of `policies`, else `default`. It may take `attempt_timeout`; where there
    is no health check, the circuit may take `closing_timeout` to close after it. A plain function that takes longer
    cannot be interrupted: no other attempt at the service is made until it has returned.

    The constitutional hash is checked before anything is scheduled or attempted; `expected` is the one that is in
    force. Every method may be called from any thread, but run() and step() in one event loop only.
    """

    def __init__(
        self,
        constitutional_hash: str,
        recover: Recover | None = None,
        *,
        policies: Mapping[str, RecoveryPolicy] | None = None,
        default: RecoveryPolicy | None = None,
        expected: str = CONSTITUTIONAL_HASH,
        at_once: int = AT_ONCE,
        attempt_timeout: timedelta = ATTEMPT_TIMEOUT,
        closing_timeout: timedelta = CLOSING_TIMEOUT,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.constitutional_hash, self.expected = constitutional_hash, expected
        self._recover, self._at_once, self._clock = recover, at_once, clock
        self._policies, self._default = dict(policies or {}), default or RecoveryPolicy()
        self._attempt_timeout, self._closing_timeout = attempt_timeout, closing_timeout
        self._lock = threading.RLock()
        self._recoveries: dict[str, _Recovery] = {}
        self._timers: list[tuple[int, int, str, int]] = []
        self._recovery_queue: list[RecoveryTask] = []
        self._numbers = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None

    # What people and circuits say

    def schedule_recovery(
        self,
        service_name: str,
        strategy: RecoveryStrategy = RecoveryStrategy.EXPONENTIAL_BACKOFF,
        priority: int = 1,
    ) -> None:
        """Schedules a recovery; nothing if one of the service is under way. With MANUAL it awaits approve_recovery().

        A circuit that closes does not end it before its first attempt.

        Raises:
            ConstitutionalError: the hash is not the one in force.
        """
        self._schedule(service_name, strategy, priority, is_ordered=True)

    def _schedule(
        self,
        service: str,
        strategy: RecoveryStrategy = RecoveryStrategy.EXPONENTIAL_BACKOFF,
        priority: int = 1,
        *,
        is_ordered: bool = False,
    ) -> None:
        self._validate_constitutional()
        with self._lock:
            recovery = self._of(service)
            if not recovery.task.is_under_way:
                begin = Begin(strategy, priority, self.constitutional_hash, is_ordered=is_ordered)
                after = machine.begun(recovery.task, self._terms(service), begin, "scheduled", self._now_ms())
                self._become(service, recovery, after)

    def approve_recovery(self, service_name: str, reason: str = "approved") -> bool:
        """Has the next attempt made now, of what awaits a person or has failed; False where there is none.

        Raises:
            ConstitutionalError: the hash is not the one in force.
        """
        self._validate_constitutional()
        with self._lock:
            recovery = self._of(service_name)
            terms = self._terms(service_name)
            after = machine.approved(recovery.task, terms, self.constitutional_hash, reason, self._now_ms())
            return self._become(service_name, recovery, after)

    def cancel_recovery(self, service_name: str, reason: str = "cancelled") -> bool:
        """Ends what is under way, and the attempt that runs; False where there is nothing."""
        with self._lock:
            recovery = self._of(service_name)
            running = recovery.running
            after = machine.cancelled(recovery.task, reason, self._now_ms())
            is_cancelled = self._become(service_name, recovery, after)
        if is_cancelled and running is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed, and it with it
                running.get_loop().call_soon_threadsafe(running.cancel)
        return is_cancelled

    def on_circuit_state_change(self, circuit_name: str, new_state: str) -> Done:
        """The circuit to a service of that name is so: when it opens, a recovery is scheduled; closing ends it.

        It never raises: what is no name or state of a circuit, and a hash that is not the one in force, are logged.
        """
        try:
            self._heard(circuit_name, BreakerState.of(new_state))
        except (ValueError, TypeError, AttributeError, ConstitutionalError) as error:
            _log.warning("circuit %a: %s; nothing is scheduled", circuit_name, error)
        return DONE

    def _heard(self, circuit_name: str, state: BreakerState) -> None:
        with self._lock:
            recovery = self._of(circuit_name)
            was_open, recovery.is_open = recovery.is_open, state is BreakerState.OPEN
            if state is BreakerState.CLOSED:
                after = machine.closed(recovery.task, self._now_ms(), by_change=True)
                self._become(circuit_name, recovery, after)
                return
            self._become(circuit_name, recovery, machine.reopened(recovery.task))
            terms, now = self._terms(circuit_name), self._now_ms()
            if recovery.is_open and machine.begins(recovery.task, terms, now, by_change=not was_open):
                self._schedule(circuit_name)

    def get_task(self, service_name: str) -> RecoveryTask | None:
        """How a service's recovery stands; None where there never was one."""
        with self._lock:
            recovery = self._recoveries.get(service_name)
            return None if recovery is None or not recovery.task.version else _shown(service_name, recovery)

    # What comes when it is due

    async def run(self) -> None:
        """Makes attempts as they become due, `at_once` at a time, until it is cancelled; then those that run are too.

        What is scheduled stays so, and an attempt that was interrupted has failed: run() may be called again. A plain
        function that runs in its thread cannot be interrupted; what it does then counts for nothing.
        """
        self._loop, changed = asyncio.get_running_loop(), asyncio.Event()
        self._changed = changed
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                changed.clear()
                while len(running) < self._at_once and (taken := self._take()) is not None:
                    attempt = asyncio.create_task(self._attempt(*taken))
                    running.add(attempt)
                    attempt.add_done_callback(running.discard)
                    attempt.add_done_callback(_log_failure)
                    attempt.add_done_callback(lambda _: changed.set())
                await self._until(changed, is_full=len(running) >= self._at_once)
        finally:
            self._changed = None
            for attempt in running:
                attempt.cancel()
            if running:
                await asyncio.gather(*running, return_exceptions=True)

    async def step(self) -> RecoveryTask | None:
        """Makes the attempt that comes first of those that are due, to its end; None where none is due."""
        taken = self._take()
        if taken is None:
            return None
        await self._attempt(*taken)
        return self.get_task(taken[0])

    async def _until(self, changed: asyncio.Event, *, is_full: bool) -> None:
        """Returns when something has changed, or the next time has come."""
        with self._lock:
            next_ms = self._timers[0][0] if self._timers and not is_full else None
        left_s = None if next_ms is None else max(0.0, (next_ms - self._now_ms()) / 1_000)
        try:
            async with asyncio.timeout(left_s):
                await changed.wait()
        except TimeoutError:
            return

    def _take(self) -> tuple[str, int] | None:
        """The service whose attempt comes first of those that are due; it is in progress from then on, at a version."""
        with self._lock:
            self._look_at_clock()
            while self._recovery_queue:
                first = heapq.heappop(self._recovery_queue)
                recovery = self._recoveries[first.service_name]
                is_stale = recovery.sequence != first.sequence
                if not is_stale and self._begin_attempt(first.service_name, recovery):
                    return first.service_name, recovery.task.version
            return None

    def _look_at_clock(self) -> None:
        """Moves what is due into the line, and ends the wait for circuits that have not closed in time."""
        now = self._now_ms()
        while self._timers and self._timers[0][0] <= now:
            _, _, service, version = heapq.heappop(self._timers)
            recovery = self._recoveries[service]
            task = recovery.task
            if task.version != version:
                continue
            if task.state is RecoveryState.SCHEDULED:
                recovery.sequence = next(self._numbers)
                heapq.heappush(self._recovery_queue, _shown(service, recovery))
            elif task.phase is Phase.CLOSING:
                after = machine.failed(task, self._terms(service), "its circuit has not closed", now)
                self._become(service, recovery, after)

    def _begin_attempt(self, service: str, recovery: _Recovery) -> bool:
        if recovery.task.state is not RecoveryState.SCHEDULED:
            return False
        if recovery.threads:
            why = recovery.task.why.removesuffix(_STILL_RUNS) + _STILL_RUNS
            recovery.task, recovery.is_put_off = recovery.task._replace(why=why), True
            return False
        now = self._now_ms()
        try:
            self._validate_constitutional()
        except ConstitutionalError as error:
            self._become(service, recovery, machine.awaits_person(recovery.task, str(error), now))
            return False
        self._become(service, recovery, machine.started(recovery.task, self._terms(service), now))
        return True

    async def _attempt(self, service: str, version: int) -> None:
        """Makes the attempt that is in progress at that version, and takes note of how it ends.

        Nothing of either if it was cancelled meanwhile.
        """
        with self._lock:
            recovery = self._recoveries[service]
            if recovery.task.version != version:
                return
            attempt = recovery.running = asyncio.create_task(self._made(service))
        checked: object = None
        why: str | None = "it was interrupted"
        try:
            checked, why = await _outcome(attempt)
        finally:
            with self._lock:
                recovery.running = None
                if recovery.task.version == version:
                    self._ended(service, recovery, checked, why)

    def _ended(self, service: str, recovery: _Recovery, checked: object, why: str | None) -> None:
        terms, now = self._terms(service), self._now_ms()
        if why is None:
            after = machine.completed(recovery.task, terms, checked, now)
        else:
            after = machine.failed(recovery.task, terms, why, now)
        self._become(service, recovery, after)

    async def _made(self, service: str) -> object:
        """Recovers and checks; returns what the check says."""
        check = self._policy(service).health_check_fn
        async with asyncio.timeout(self._attempt_timeout.total_seconds()):
            if self._recover is not None:
                await self._called(service, self._recover, service)
            return None if check is None else await self._called(service, check)

    async def _called(self, service: str, function: Callable[..., object], *arguments: object) -> object:
        """Calls what is given by an application, off the loop where it is a plain function."""
        if inspect.iscoroutinefunction(function):
            found: object = function(*arguments)
        else:
            found = await asyncio.wrap_future(self._in_thread(service, function, *arguments))
        return await cast("Awaitable[object]", found) if inspect.isawaitable(found) else found

    def _in_thread(self, service: str, function: Callable[..., object], *arguments: object) -> Future[object]:
        """Runs a function in a thread of its own; the service is not attempted again until it has returned."""
        returned: Future[object] = Future()
        returned.set_running_or_notify_cancel()  # nobody can cancel it any more

        def call() -> None:
            try:
                returned.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001  # it is raised where the attempt is awaited
                returned.set_exception(error)

        thread = threading.Thread(target=call, name=f"recovery of {service!a}", daemon=True)
        with self._lock:
            thread.start()
            self._recoveries[service].threads += 1
        returned.add_done_callback(lambda _: self._returned(service))
        return returned

    def _returned(self, service: str) -> None:
        """A plain function has returned. What is due by now and has waited for it stands in the line again."""
        with self._lock:
            recovery = self._recoveries[service]
            recovery.threads -= 1
            task, is_put_off, recovery.is_put_off = recovery.task, recovery.is_put_off, False
            if not is_put_off or task.state is not RecoveryState.SCHEDULED or task.due is None:
                return
            if task.due <= self._now_ms():
                recovery.sequence = next(self._numbers)
                heapq.heappush(self._recovery_queue, _shown(service, recovery))
                self._wake()

    # What is kept

    def _of(self, service: str) -> _Recovery:
        return self._recoveries.setdefault(service, _Recovery(Task()))

    def _become(self, service: str, recovery: _Recovery, after: Task | None) -> bool:
        """The recovery is so from now on; False where nothing changes."""
        if after is None or after is recovery.task:
            return False
        if after.version != recovery.task.version:
            recovery.sequence = next(self._numbers)  # what stands in the line for the state before is stale
        recovery.task = after
        is_timed = after.state is RecoveryState.SCHEDULED or after.phase is Phase.CLOSING
        if is_timed and after.due is not None:
            heapq.heappush(self._timers, (after.due, next(self._numbers), service, after.version))
        self._wake()
        return True

    def _wake(self) -> None:
        """Has run() look again, if it runs."""
        loop, changed = self._loop, self._changed
        if loop is not None and changed is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed before run() could end
                loop.call_soon_threadsafe(changed.set)

    def _policy(self, service: str) -> RecoveryPolicy:
        return self._policies.get(service, self._default)

    def _terms(self, service: str) -> Terms:
        policy = self._policy(service)
        return Terms(
            max_attempts=policy.max_retry_attempts,
            initial_ms=policy.initial_delay_ms,
            max_ms=policy.max_delay_ms,
            multiplier=Fraction(policy.backoff_multiplier),
            attempt_ms=length_ms(self._attempt_timeout),
            closing_ms=length_ms(self._closing_timeout),
            has_check=policy.health_check_fn is not None,
        )

    def _validate_constitutional(self) -> None:
        checked = validate_constitutional_hash(self.constitutional_hash, self.expected)
        if not checked.is_valid:
            raise ConstitutionalError(checked.reason)

    def _now_ms(self) -> int:
        return ms(self._clock())


async def _outcome(attempt: asyncio.Task[object]) -> tuple[object, str | None]:
    """What an attempt returns, or why it has failed. One whose waiting is cancelled is cancelled too."""
    try:
        return await attempt, None
    except TimeoutError:
        return None, "it has not ended in time"
    except asyncio.CancelledError:
        attempt.cancel()
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        return None, "it was cancelled"
    except Exception as error:  # noqa: BLE001  # whatever an application's function raises: the attempt has failed
        return None, f"{type(error).__name__}: {error}"


def _log_failure(attempt: asyncio.Task[None]) -> None:
    error = None if attempt.cancelled() else attempt.exception()
    if error is not None:
        _log.error("an attempt at a recovery was given up by a defect of this package", exc_info=error)


def _shown(service: str, recovery: _Recovery) -> RecoveryTask:
    task = recovery.task
    return RecoveryTask(
        priority=task.priority,
        sequence=recovery.sequence,
        service_name=service,
        strategy=task.strategy,
        state=task.state,
        attempt=task.attempt,
        since=_time(task.since),
        due=None if task.due is None else _time(task.due),
        why=task.why,
    )


def _time(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)
