"""What a publisher of breaker events has still to send, and that no caller waits or fails for it."""

import threading
import time

import pytest

from schemas.breaker import BreakerEventKind, BreakerState
from streams.engine.client import EngineSettings
from streams.health import BreakerPublisher, HealthAggregator
from streams.health.outgoing import Outgoing
from tests.support.product import HASH

CLOSED, OPEN, HALF_OPEN = BreakerState
CHANGE, HEARTBEAT, RETIRED = BreakerEventKind
NOBODY = EngineSettings(bootstrap_servers="127.0.0.1:1", prefix="t.", client_id="t")


def test_changes_come_in_their_order_with_rising_sequences() -> None:
    outgoing = Outgoing(10)
    outgoing.change("a", CLOSED, None)
    outgoing.change("b", OPEN, "timeouts")
    outgoing.change("a", OPEN, None)
    outgoing.change("a", OPEN, None)
    told = outgoing.take()
    assert [(one.breaker, one.state, one.reason) for one in told] == [
        ("a", CLOSED, None),
        ("b", OPEN, "timeouts"),
        ("a", OPEN, None),
    ]
    assert [one.sequence for one in told] == sorted({one.sequence for one in told})
    assert outgoing.take() == []


def test_beyond_what_may_wait_changes_of_a_breaker_are_told_together_and_none_is_lost() -> None:
    outgoing = Outgoing(3)
    for number in range(101):
        for breaker in ("a", "b", "c", "d"):
            outgoing.change(breaker, (CLOSED, OPEN)[number % 2], None)
    told = outgoing.take()
    assert len(told) <= 3 + 4
    by_breaker = {name: [one for one in told if one.breaker == name] for name in "abcd"}
    assert {name: sum(one.changes for one in events) for name, events in by_breaker.items()} == dict.fromkeys(
        "abcd", 101
    )
    assert all(events[-1].state is CLOSED for events in by_breaker.values())
    assert outgoing.counts(0).merged == 4 * 101 - len(told)


def test_what_has_been_taken_is_not_changed_any_more() -> None:
    outgoing = Outgoing(1)
    outgoing.change("a", CLOSED, None)
    (taken,) = outgoing.take()
    outgoing.change("a", OPEN, None)
    assert (taken.state, taken.changes) == (CLOSED, 1)
    assert [one.state for one in outgoing.take()] == [OPEN]


def test_a_sign_of_life_is_for_who_has_been_silent_and_a_later_one_replaces_it() -> None:
    outgoing = Outgoing(10)
    outgoing.change("a", OPEN, None)
    assert len(outgoing.take()) == 1
    outgoing.signs_of_life(3_600)
    assert outgoing.take() == []
    outgoing.signs_of_life(0)
    outgoing.signs_of_life(0)
    (told,) = outgoing.take()
    assert (told.kind, told.state) == (HEARTBEAT, OPEN)
    assert outgoing.counts(0).heartbeats_dropped == 1


def test_a_change_needs_no_sign_of_life_beside_it() -> None:
    outgoing = Outgoing(10)
    outgoing.change("a", OPEN, None)
    outgoing.signs_of_life(0)
    outgoing.change("a", CLOSED, None)
    assert [one.kind for one in outgoing.take()] == [CHANGE, CHANGE]


def test_who_is_no_more_says_good_bye_once() -> None:
    outgoing = Outgoing(10)
    outgoing.change("a", OPEN, None)
    outgoing.change("b", CLOSED, None)
    outgoing.retire("a")
    outgoing.retire("a")
    outgoing.retire_all()
    assert [(one.breaker, one.kind) for one in outgoing.take()] == [
        ("a", CHANGE),
        ("b", CHANGE),
        ("a", RETIRED),
        ("b", RETIRED),
    ]


def test_callers_of_many_threads_lose_nothing() -> None:
    outgoing, most = Outgoing(100), 2_000

    def flap(name: str) -> None:
        for number in range(most):
            outgoing.change(name, (CLOSED, OPEN)[number % 2], None)

    threads = [threading.Thread(target=flap, args=(f"b{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    told = []
    while any(thread.is_alive() for thread in threads):
        told += outgoing.take()
    told += outgoing.take()
    changes = {f"b{number}": 0 for number in range(4)}
    for one in told:
        changes[one.breaker] += one.changes
    assert set(changes.values()) == {most}
    assert [one.sequence for one in told] == sorted({one.sequence for one in told}) or outgoing.counts(0).merged > 0


def test_without_kafka_nobody_waits_nobody_fails_and_memory_is_bounded() -> None:
    with BreakerPublisher(NOBODY, service="payments", constitutional_hash=HASH, most_waiting=10) as publisher:
        for number in range(1_000):
            publisher.on_circuit_state_change("ledger", ("closed", "half-open", "open")[number % 3])
        publisher.on_circuit_state_change("ledger", "ajar")
        publisher.on_circuit_state_change("", "open")
        counts = publisher.counts
        began = time.monotonic()
    assert (counts.published, counts.refused) == (0, 2)
    assert counts.merged >= 1_000 - 11
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("service", ["", "x" * 257])
def test_a_service_without_a_proper_name_is_told_at_once(service: str) -> None:
    with pytest.raises(ValueError, match="service"):
        BreakerPublisher(NOBODY, service=service, constitutional_hash=HASH)


def test_what_an_aggregator_hears_its_publisher_hears_too() -> None:
    heard = BreakerPublisher(NOBODY, service="payments", constitutional_hash=HASH)
    health = HealthAggregator(HASH, publisher=heard)
    health.on_circuit_state_change("ledger", "OPEN", reason="timeouts")
    health.on_circuit_state_change("ledger", "ajar")
    health.remove("ledger")
    told = heard._outgoing.take()  # noqa: SLF001  # what waits is for its sender alone
    assert [(one.kind, one.state, one.reason) for one in told] == [(CHANGE, OPEN, "timeouts"), (RETIRED, OPEN, None)]
    assert health.get_health_report().refused == 1
