"""Health in process: as the breakers say, whoever calls, from wherever."""

import asyncio
import logging
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.health import BreakerState, HealthAggregator, HealthSnapshot, SystemHealthStatus
from tests.support.product import HASH

HEALTHY, DEGRADED, CRITICAL, UNKNOWN = SystemHealthStatus
T0 = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def test_a_snapshot_has_the_fields_that_it_has_always_had() -> None:
    made = HealthSnapshot(T0, HEALTHY, 1.0, 3, 3, 0)
    assert (made.constitutional_hash, made.half_open_breakers) == ("cdd01ef066bc6cf2", 0)


async def test_a_change_may_be_awaited() -> None:
    health = HealthAggregator(HASH)
    await health.on_circuit_state_change("ledger", "open")
    assert health.get_health_report().status is CRITICAL


def test_or_not_where_there_is_no_event_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    health = HealthAggregator(HASH)
    assert health.get_health_report().status is UNKNOWN
    health.on_circuit_state_change("ledger", "closed")
    report = health.get_health_report()
    assert (report.status, report.health_score, report.snapshot.constitutional_hash) == (HEALTHY, 1.0, HASH)


def test_a_report_says_since_when_and_what_is_not_closed() -> None:
    now = [T0]

    def clock() -> float:
        return now[0].timestamp()

    health = HealthAggregator(HASH, clock=clock)
    assert health.get_health_report().since is None
    for name in ("ledger", "cards", "mail"):
        health.on_circuit_state_change(name, "closed")
    for seconds, (name, state) in enumerate(
        [("ledger", "half-open"), ("cards", "OPEN"), ("cards", "open"), ("ledger", "half_open")], start=1
    ):
        now[0] = T0 + timedelta(seconds=seconds)
        health.on_circuit_state_change(name, state)
    report = health.get_health_report()
    assert (report.status, report.health_score) == (DEGRADED, 0.5)
    assert (report.since, report.not_closed, report.changes) == (T0 + timedelta(seconds=1), ("cards", "ledger"), 2)
    shown = report.snapshot
    assert (shown.timestamp, shown.total_breakers) == (now[0], 3)
    assert (shown.closed_breakers, shown.open_breakers, shown.half_open_breakers) == (1, 1, 1)


def test_a_breaker_that_is_removed_does_not_count_any_more() -> None:
    health = HealthAggregator(HASH, critical={"ledger"})
    health.on_circuit_state_change("ledger", "open")
    for name in ("cards", "mail", "cache"):
        health.on_circuit_state_change(name, "closed")
    assert health.get_health_report().status is CRITICAL
    health.remove("ledger")
    health.remove("ledger")
    report = health.get_health_report()
    assert (report.status, report.snapshot.total_breakers, report.not_closed) == (HEALTHY, 3, ())


def test_what_is_no_state_fails_nobody_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    health = HealthAggregator(HASH)
    health.on_circuit_state_change("ledger", "closed")
    with caplog.at_level(logging.WARNING):
        health.on_circuit_state_change("ledger", "ajar")
        health.on_circuit_state_change("ledger", None)  # type: ignore[arg-type]
    report = health.get_health_report()
    assert (report.status, report.refused) == (HEALTHY, 2)
    assert len(caplog.records) == 1
    assert "'ajar' is no state of a breaker: closed, open, half_open" in caplog.text


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.none() | st.sampled_from(BreakerState)), max_size=40)
)
def test_what_is_kept_is_what_counting_anew_would_give(changes: list[tuple[str, BreakerState | None]]) -> None:
    health, states = HealthAggregator(HASH, critical={"a"}), dict[str, BreakerState]()
    for name, state in changes:
        if state is None:
            health.remove(name)
            states.pop(name, None)
        else:
            health.on_circuit_state_change(name, state)
            states[name] = state
    closed, opened, half = (list(states.values()).count(state) for state in BreakerState)
    score = (closed + half / 2) / len(states) if states else 0.0
    if not states:
        expected = UNKNOWN
    elif states.get("a") is BreakerState.OPEN or score < 0.5:
        expected = CRITICAL
    else:
        expected = HEALTHY if closed == len(states) else DEGRADED
    report = health.get_health_report()
    assert (report.status, report.health_score) == (expected, pytest.approx(score))
    assert (report.snapshot.closed_breakers, report.snapshot.open_breakers) == (closed, opened)
    assert set(report.not_closed) == {name for name, state in states.items() if state is not BreakerState.CLOSED}


def test_threads_that_call_at_once_lose_nothing() -> None:
    health = HealthAggregator(HASH)

    def flap(thread: int) -> None:
        for number in range(2_001):
            health.on_circuit_state_change(f"breaker-{thread}", ("open", "closed")[number % 2])

    threads = [threading.Thread(target=flap, args=(thread,)) for thread in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    report = health.get_health_report()
    assert (report.changes, report.snapshot.open_breakers, report.snapshot.total_breakers) == (8_000, 4, 4)
