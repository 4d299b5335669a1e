"""RecoveryOrchestrator: the seed's recoveries in one process."""

import asyncio
import heapq
import inspect
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pybreaker
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compensation import CONSTITUTIONAL_HASH, ConstitutionalError
from handlers.recovery.delays import delay_ms
from streams.health.pybreaker_listener import listen
from streams.recovery import RecoveryOrchestrator, RecoveryPolicy, RecoveryState, RecoveryStrategy, RecoveryTask
from tests.support.eventually import eventually

S = RecoveryState


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def passes(self, ms: float) -> None:
        self.now += timedelta(milliseconds=ms)


class Made:
    """An orchestrator with a clock that is set, and what it has recovered."""

    def __init__(self, policy: RecoveryPolicy | None = None, **changes: Any) -> None:  # noqa: ANN401
        self.clock, self.recovered = Clock(), list[str]()
        self.one = RecoveryOrchestrator(
            CONSTITUTIONAL_HASH, self.recovered.append, default=policy, clock=self.clock, **changes
        )

    def state(self, service: str = "payments") -> RecoveryState | None:
        task = self.one.get_task(service)
        return None if task is None else task.state

    async def step(self, ms: float = 0) -> RecoveryTask | None:
        self.clock.passes(ms)
        return await self.one.step()


def healthy(*, says: object = True) -> RecoveryPolicy:
    return RecoveryPolicy(health_check_fn=lambda: says)  # type: ignore[arg-type,return-value]  # what a user may return


# The seed's listings


def test_the_strategies_and_states_are_the_seeds() -> None:
    assert {one.name: one.value for one in RecoveryStrategy} == {
        "EXPONENTIAL_BACKOFF": "exponential_backoff",
        "LINEAR_BACKOFF": "linear_backoff",
        "IMMEDIATE": "immediate",
        "MANUAL": "manual",
    }
    assert {one.name: one.value for one in RecoveryState} == {
        "IDLE": "idle",
        "SCHEDULED": "scheduled",
        "IN_PROGRESS": "in_progress",
        "SUCCEEDED": "succeeded",
        "FAILED": "failed",
        "CANCELLED": "cancelled",
        "AWAITING_MANUAL": "awaiting_manual",
    }


def test_the_policy_has_the_seeds_fields_and_defaults_in_their_order() -> None:
    assert [(one.name, one.default) for one in fields(RecoveryPolicy)] == [
        ("max_retry_attempts", 5),
        ("backoff_multiplier", 2.0),
        ("initial_delay_ms", 1000),
        ("max_delay_ms", 60000),
        ("health_check_fn", None),
    ]


def test_schedule_recovery_has_the_seeds_signature_and_is_synchronous() -> None:
    parameters = list(inspect.signature(RecoveryOrchestrator.schedule_recovery).parameters.values())[1:]
    assert [(one.name, one.default) for one in parameters] == [
        ("service_name", inspect.Parameter.empty),
        ("strategy", RecoveryStrategy.EXPONENTIAL_BACKOFF),
        ("priority", 1),
    ]
    made = Made()
    assert made.one.schedule_recovery("payments", RecoveryStrategy.LINEAR_BACKOFF, 3) is None
    task = made.one.get_task("payments")
    assert task is not None
    assert (task.strategy, task.priority, task.state) == (RecoveryStrategy.LINEAR_BACKOFF, 3, S.SCHEDULED)


def test_tasks_are_made_and_pushed_as_the_seed_does() -> None:
    queue: list[RecoveryTask] = []
    for priority, service_name in ((1, "payments"), (0, "database"), (1, "orders")):
        heapq.heappush(queue, RecoveryTask(priority=priority, service_name=service_name))
    assert heapq.heappop(queue).service_name == "database"


def test_tasks_order_as_the_seeds_heap_needs_it() -> None:
    made = Made()
    for name, priority in (("low", 9), ("high", 0), ("mid", 4)):
        made.one.schedule_recovery(name, priority=priority)
    tasks = [task for name in ("low", "high", "mid") if (task := made.one.get_task(name)) is not None]
    heapq.heapify(tasks)
    assert [heapq.heappop(tasks).service_name for _ in range(3)] == ["high", "mid", "low"]


# The hash


@pytest.mark.parametrize("given_hash", ["0123456789abcdef", "", "CDD01EF066BC6CF2", f"{CONSTITUTIONAL_HASH} "])
def test_nothing_is_scheduled_under_another_hash(given_hash: str) -> None:
    one = RecoveryOrchestrator(given_hash)
    with pytest.raises(ConstitutionalError) as raised:
        one.schedule_recovery("payments")
    assert CONSTITUTIONAL_HASH not in str(raised.value)
    assert one.get_task("payments") is None
    one.on_circuit_state_change("payments", "open")
    assert one.get_task("payments") is None


async def test_a_hash_that_is_not_in_force_any_more_is_not_acted_on() -> None:
    made = Made(healthy())
    made.one.schedule_recovery("payments")
    made.one.expected = "0123456789abcdef"
    assert await made.step(1_000) is None
    assert (made.state(), made.recovered) == (S.AWAITING_MANUAL, [])
    with pytest.raises(ConstitutionalError):
        made.one.approve_recovery("payments")
    made.one.constitutional_hash = "0123456789abcdef"
    assert made.one.approve_recovery("payments")
    await made.step()
    assert made.state() is S.SUCCEEDED


# Attempts


async def test_an_attempt_is_made_when_it_is_due_and_not_before() -> None:
    made = Made(healthy())
    made.one.schedule_recovery("payments")
    assert await made.step(999) is None
    task = await made.step(1)
    assert task is not None
    assert (task.state, task.attempt, made.recovered) == (S.SUCCEEDED, 1, ["payments"])


@pytest.mark.parametrize("says", [False, None, 1, "yes"])
async def test_only_true_is_healthy_and_attempts_come_again_until_used_up(says: object) -> None:
    made = Made(healthy(says=says))
    made.one.schedule_recovery("payments")
    delays = list[float]()
    while (task := made.one.get_task("payments")) is not None and task.due is not None:
        delays.append((task.due - made.clock()).total_seconds())
        made.clock.now = task.due
        await made.step()
    assert delays == [1, 2, 4, 8, 16]
    assert made.state() is S.FAILED


async def test_a_health_check_may_be_a_coroutine_and_whatever_it_raises_fails_the_attempt() -> None:
    async def check() -> bool:
        await asyncio.sleep(0)
        return True

    made = Made(RecoveryPolicy(health_check_fn=check), policies={"odd": RecoveryPolicy(health_check_fn=_raises)})
    made.one.schedule_recovery("payments")
    made.one.schedule_recovery("odd", RecoveryStrategy.IMMEDIATE)
    task = await made.step()
    assert task is not None
    assert (task.service_name, task.state, task.why) == (
        "odd",
        S.SCHEDULED,
        "attempt 1 failed: LookupError: no such service",
    )
    made.one.cancel_recovery("odd")
    await made.step(1_000)
    assert made.state() is S.SUCCEEDED


def _raises() -> bool:
    raise LookupError("no such service")


async def test_without_a_health_check_it_is_unknown_until_the_circuit_closes() -> None:
    for closes, state in ((True, S.SUCCEEDED), (False, S.SCHEDULED)):
        made = Made()
        await made.one.on_circuit_state_change("payments", "open")
        await made.step(1_000)
        assert made.state() is S.IN_PROGRESS
        if closes:
            await made.one.on_circuit_state_change("payments", "half-open")
            await made.one.on_circuit_state_change("payments", "closed")
        assert await made.step(60_000) is None
        assert made.state() is state


async def test_a_circuit_that_closes_by_itself_ends_what_is_scheduled() -> None:
    made = Made()
    made.one.on_circuit_state_change("payments", "open")
    made.one.on_circuit_state_change("payments", "closed")
    assert (made.state(), await made.step(60_000)) == (S.IDLE, None)
    made.one.on_circuit_state_change("payments", "no state")
    assert made.state() is S.IDLE


async def test_a_circuit_that_opens_and_closes_does_not_end_what_a_person_has_scheduled() -> None:
    made = Made(healthy())
    made.one.schedule_recovery("payments")
    made.one.on_circuit_state_change("payments", "open")
    made.one.on_circuit_state_change("payments", "closed")
    await made.step(1_000)
    assert (made.state(), made.recovered) == (S.SUCCEEDED, ["payments"])


async def test_what_is_manual_awaits_approval_and_what_is_cancelled_is_not_made() -> None:
    made = Made(healthy())
    made.one.schedule_recovery("payments", RecoveryStrategy.MANUAL)
    made.one.schedule_recovery("orders")
    assert (made.one.cancel_recovery("orders"), made.one.cancel_recovery("orders")) == (True, False)
    assert await made.step(60_000) is None
    assert (made.one.approve_recovery("payments"), made.one.approve_recovery("orders")) == (True, False)
    await made.step()
    assert [made.state(one) for one in ("payments", "orders")] == [S.SUCCEEDED, S.CANCELLED]
    assert made.recovered == ["payments"]


def test_it_listens_to_the_breakers_of_pybreaker() -> None:
    made = Made()
    breaker = pybreaker.CircuitBreaker(fail_max=1, name="payments")
    listen(made.one, breaker)
    with pytest.raises(pybreaker.CircuitBreakerError):
        breaker.call(_raises)
    assert made.state() is S.SCHEDULED
    breaker.close()
    assert made.state() is S.IDLE


def test_scheduling_what_is_under_way_changes_nothing() -> None:
    made = Made()
    made.one.schedule_recovery("payments")
    made.one.schedule_recovery("payments", RecoveryStrategy.MANUAL, 7)
    assert made.state() is S.SCHEDULED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_retry_attempts", 0),
        ("backoff_multiplier", 0.5),
        ("backoff_multiplier", float("nan")),
        ("backoff_multiplier", float("inf")),
        ("max_delay_ms", -1),
    ],
)
def test_a_policy_that_cannot_work_is_refused(name: str, value: float) -> None:
    changes: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=name):
        RecoveryPolicy(**changes)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=20))
def test_of_what_is_due_the_lowest_number_comes_first_and_far_off_ones_delay_nobody(
    scheduled: list[tuple[int, int]],
) -> None:
    policies = {
        f"s{n}": RecoveryPolicy(initial_delay_ms=1_000 * delay, health_check_fn=lambda: True)
        for n, (_, delay) in enumerate(scheduled)
    }
    made = Made(policies=policies)
    for n, (priority, _) in enumerate(scheduled):
        made.one.schedule_recovery(f"s{n}", priority=priority)
    asyncio.run(_by_the_second(made, scheduled))
    expected = [f"s{n}" for n, _ in sorted(enumerate(scheduled), key=lambda one: (one[1][1], one[1][0], one[0]))]
    assert made.recovered == expected


async def _by_the_second(made: Made, scheduled: list[tuple[int, int]]) -> None:
    for _ in range(max(delay for _, delay in scheduled) + 1):
        while await made.one.step() is not None:
            pass
        made.clock.passes(1_000)


# Running


class Running:
    """run() in the background."""

    def __init__(self, one: RecoveryOrchestrator) -> None:
        self._one = one

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._one.run())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_run_makes_attempts_as_they_become_due_so_many_at_a_time() -> None:
    at_once, most = 0, 0

    async def recover(_: str) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1

    policy = RecoveryPolicy(initial_delay_ms=1, health_check_fn=lambda: True)
    one = RecoveryOrchestrator(CONSTITUTIONAL_HASH, recover, default=policy, at_once=3)
    async with Running(one):
        names = [f"s{n}" for n in range(20)]
        for name in names:
            one.schedule_recovery(name)
        await eventually(lambda: all(_state(one, name) is S.SUCCEEDED for name in names))
    assert most == 3


@pytest.mark.parametrize("ends", ["cancel_recovery", "run"])
async def test_an_attempt_that_is_cancelled_or_interrupted_is_stopped(ends: str) -> None:
    stopped = asyncio.Event()

    async def recover(_: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    one = RecoveryOrchestrator(CONSTITUTIONAL_HASH, recover)
    async with Running(one):
        one.schedule_recovery("payments", RecoveryStrategy.IMMEDIATE)
        await eventually(lambda: _state(one, "payments") is S.IN_PROGRESS)
        if ends == "cancel_recovery":
            await asyncio.to_thread(one.cancel_recovery, "payments")
            await eventually(stopped.is_set)
    await eventually(stopped.is_set)
    assert _state(one, "payments") is (S.CANCELLED if ends == "cancel_recovery" else S.SCHEDULED)


async def test_an_attempt_that_takes_too_long_has_failed() -> None:
    async def recover(_: str) -> None:
        await asyncio.Event().wait()

    made = RecoveryOrchestrator(CONSTITUTIONAL_HASH, recover, attempt_timeout=timedelta(milliseconds=20))
    made.schedule_recovery("payments", RecoveryStrategy.IMMEDIATE)
    task = await made.step()
    assert task is not None
    assert task.why == "attempt 1 failed: it has not ended in time"


async def test_it_may_be_told_from_any_thread() -> None:
    one = RecoveryOrchestrator(CONSTITUTIONAL_HASH, default=healthy())
    say: Callable[[str, str], object] = one.on_circuit_state_change
    async with Running(one):
        await asyncio.gather(*(asyncio.to_thread(say, f"s{n}", "open") for n in range(50)))
        await eventually(lambda: all(_state(one, f"s{n}") is S.SUCCEEDED for n in range(50)))


def _state(one: RecoveryOrchestrator, service: str) -> RecoveryState | None:
    task = one.get_task(service)
    return None if task is None else task.state


async def test_what_was_in_the_line_and_is_scheduled_anew_is_not_made_early() -> None:
    made = Made(healthy(), policies={"first": healthy()})
    for name in ("first", "second"):
        made.one.schedule_recovery(name)
    await made.step(1_000)
    made.one.cancel_recovery("second")
    made.one.schedule_recovery("second")
    assert await made.step(999) is None
    await made.step(1)
    assert made.recovered == ["first", "second"]


async def test_a_time_that_was_given_up_is_not_kept() -> None:
    made = Made(healthy())
    made.one.schedule_recovery("payments")
    made.clock.passes(500)
    made.one.cancel_recovery("payments")
    made.one.schedule_recovery("payments")
    assert await made.step(500) is None
    assert await made.step(500) is not None


@pytest.mark.parametrize(("name", "state"), [("a", b"open"), ("a", ["open"]), (["a"], "open"), ("a", None), ("a", 7)])
def test_whatever_a_circuit_is_said_to_be_nothing_is_raised(name: Any, state: Any) -> None:  # noqa: ANN401
    made = Made()
    made.one.on_circuit_state_change(name, state)
    assert made.state("a") in {None, S.IDLE}


def test_it_may_be_told_after_its_loop_was_closed() -> None:
    one = RecoveryOrchestrator(CONSTITUTIONAL_HASH, default=healthy())
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # that a task is left pending is what is tested
    running = loop.create_task(one.run())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    one.on_circuit_state_change("payments", "open")
    assert _state(one, "payments") is S.SCHEDULED
    running.get_coro().close()  # type: ignore[union-attr]  # a coroutine


async def test_an_attempt_that_is_cancelled_before_it_begins_is_not_made() -> None:
    recovered: list[str] = []
    one = RecoveryOrchestrator(CONSTITUTIONAL_HASH, recovered.append)
    one.schedule_recovery("payments", RecoveryStrategy.IMMEDIATE)
    async with Running(one):
        await asyncio.sleep(0)  # run() has taken it, and the task that makes the attempt has not begun
        assert _state(one, "payments") is S.IN_PROGRESS
        one.cancel_recovery("payments")
        one.schedule_recovery("orders", RecoveryStrategy.IMMEDIATE)
        await eventually(lambda: recovered)
    assert (_state(one, "payments"), recovered) == (S.CANCELLED, ["orders"])


async def test_no_other_attempt_is_made_while_a_function_runs_that_has_taken_too_long() -> None:
    goes_on, calls = threading.Event(), list[str]()

    def recover(service: str) -> None:
        calls.append(service)
        goes_on.wait(10)

    one = RecoveryOrchestrator(CONSTITUTIONAL_HASH, recover, attempt_timeout=timedelta(milliseconds=20))
    one.schedule_recovery("payments", RecoveryStrategy.IMMEDIATE)
    await one.step()
    assert (_state(one, "payments"), await one.step(), len(calls)) == (S.SCHEDULED, None, 1)
    task = one.get_task("payments")
    assert task is not None
    assert task.why.endswith("it waits for the function of the attempt before, which still runs")
    async with Running(one):
        goes_on.set()
        await eventually(lambda: len(calls) == 2)


def test_a_delay_costs_as_little_however_many_attempts_there_were() -> None:
    for multiplier in (Fraction(1.1), Fraction(1.000001), Fraction(1e300)):
        began = time.perf_counter()
        delay = delay_ms(
            RecoveryStrategy.EXPONENTIAL_BACKOFF, 50_000, initial_ms=1_000, multiplier=multiplier, max_ms=60_000
        )
        assert time.perf_counter() - began < 0.05
        assert delay == (1_051 if multiplier < 1.01 else 60_000)
