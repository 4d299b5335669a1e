"""Breakers of real libraries, and what is heard of them."""

import asyncio
import time
from collections.abc import Callable

import pytest
from purgatory import AsyncCircuitBreakerFactory, SyncCircuitBreakerFactory
from pybreaker import CircuitBreaker, CircuitBreakerError

from streams.health import HealthAggregator, SystemHealthStatus, purgatory_listener, pybreaker_listener
from tests.support.product import HASH

HEALTHY, DEGRADED, CRITICAL, UNKNOWN = SystemHealthStatus
SOON_S = 0.05


class Log:
    """Notes what it is told, and tells it on."""

    def __init__(self) -> None:
        self.health, self.told = HealthAggregator(HASH), list[tuple[str, str]]()

    def on_circuit_state_change(self, circuit_name: str, new_state: str) -> None:
        self.told.append((circuit_name, new_state))
        self.health.on_circuit_state_change(circuit_name, new_state)

    @property
    def status(self) -> SystemHealthStatus:
        report = self.health.get_health_report()
        assert report.refused == 0
        return report.status


def fails() -> None:
    raise OSError("down")


def test_a_breaker_of_pybreaker_is_heard_of_from_the_start_and_at_every_change() -> None:
    log, breaker = Log(), CircuitBreaker(name="ledger", fail_max=2, reset_timeout=SOON_S)
    pybreaker_listener.listen(log, breaker)
    assert log.status is HEALTHY
    for expected in (OSError, CircuitBreakerError):
        with pytest.raises(expected):
            breaker.call(fails)
    assert log.status is CRITICAL
    time.sleep(2 * SOON_S)
    breaker.call(lambda: None)
    assert log.status is HEALTHY
    assert log.told == [("ledger", state) for state in ("closed", "open", "half-open", "closed")]


def test_one_that_is_open_already_is_told_so() -> None:
    log, breaker = Log(), CircuitBreaker(name="ledger")
    breaker.open()
    pybreaker_listener.listen(log, breaker)
    assert (log.told, log.status) == ([("ledger", "open")], CRITICAL)


def test_one_without_a_name_is_refused_before_any_is_listened_to() -> None:
    log, named = Log(), CircuitBreaker(name="ledger")
    with pytest.raises(ValueError, match=r"needs a name: CircuitBreaker\(name=...\)"):
        pybreaker_listener.listen(log, named, CircuitBreaker())
    assert (log.told, named.listeners) == ([], ())


async def test_breakers_of_purgatory_are_heard_of_once_they_are_made_and_at_every_change() -> None:
    log, factory = Log(), AsyncCircuitBreakerFactory(default_threshold=2, default_ttl=SOON_S)
    purgatory_listener.listen(log, factory)

    async def call(does: Callable[[], None]) -> None:
        async with await factory.get_breaker("ledger"):
            does()

    assert log.status is UNKNOWN
    for _ in range(2):
        with pytest.raises(OSError, match="down"):
            await call(fails)
    assert log.status is CRITICAL
    await asyncio.sleep(2 * SOON_S)
    await call(lambda: None)
    assert log.status is HEALTHY
    assert log.told == [("ledger", state) for state in ("closed", "opened", "half-opened", "closed")]


def test_those_for_threads_too() -> None:
    log, factory = Log(), SyncCircuitBreakerFactory(default_threshold=1)
    purgatory_listener.listen(log, factory)
    with pytest.raises(OSError, match="down"), factory.get_breaker("ledger"):
        fails()
    assert log.told == [("ledger", "closed"), ("ledger", "opened")]
    assert log.status is CRITICAL
