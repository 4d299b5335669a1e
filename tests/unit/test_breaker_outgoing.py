"""What a publisher of breaker events has still to send, and that no caller waits or fails for it."""

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.breaker import BreakerEvent, BreakerEventKind, BreakerState
from streams.engine.client import EngineSettings
from streams.health import BreakerPublisher, HealthAggregator
from streams.health.listening import Heard
from streams.health.outgoing import Outgoing, Told
from streams.health.turnstile import Turnstile
from tests.support.product import HASH

CLOSED, OPEN, HALF_OPEN = BreakerState
CHANGE, HEARTBEAT, RETIRED = BreakerEventKind
NOBODY = EngineSettings(bootstrap_servers="127.0.0.1:1", prefix="t.", client_id="t")


def test_changes_come_in_their_order_with_rising_sequences() -> None:
    outgoing = Outgoing(10)
    outgoing.change(Heard("a", CLOSED, None, 0.0))
    outgoing.change(Heard("b", OPEN, "timeouts", 0.0))
    outgoing.change(Heard("a", OPEN, None, 0.0))
    outgoing.change(Heard("a", OPEN, None, 0.0))
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
            outgoing.change(Heard(breaker, (CLOSED, OPEN)[number % 2], None, 0.0))
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
    outgoing.change(Heard("a", CLOSED, None, 0.0))
    (taken,) = outgoing.take()
    outgoing.change(Heard("a", OPEN, None, 0.0))
    assert (taken.state, taken.changes) == (CLOSED, 1)
    assert [one.state for one in outgoing.take()] == [OPEN]


def test_a_sign_of_life_is_for_who_has_been_silent_and_a_later_one_replaces_it() -> None:
    outgoing = Outgoing(10)
    outgoing.change(Heard("a", OPEN, None, 0.0))
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
    outgoing.change(Heard("a", OPEN, None, 0.0))
    outgoing.signs_of_life(0)
    outgoing.change(Heard("a", CLOSED, None, 0.0))
    assert [one.kind for one in outgoing.take()] == [CHANGE, CHANGE]


def test_who_is_no_more_says_good_bye_once() -> None:
    outgoing = Outgoing(10)
    outgoing.change(Heard("a", OPEN, None, 0.0))
    outgoing.change(Heard("b", CLOSED, None, 0.0))
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
            outgoing.change(Heard(name, (CLOSED, OPEN)[number % 2], None, 0.0))

    threads = [threading.Thread(target=flap, args=(f"b{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    told: list[Told] = []
    while any(thread.is_alive() for thread in threads):
        told += outgoing.take()
    told += outgoing.take()
    changes = {f"b{number}": 0 for number in range(4)}
    for one in told:
        changes[one.breaker] += one.changes
    assert set(changes.values()) == {most}


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


def test_breakers_that_come_and_go_while_nothing_is_sent_take_a_bounded_room() -> None:
    outgoing = Outgoing(10)
    for _ in range(10_000):
        outgoing.change(Heard("a", OPEN, None, 0.0))
        outgoing.retire("a")
    told = outgoing.take()
    assert len(told) <= 11
    assert told[-1].kind is RETIRED


HOSTILE = [
    ("ledger", b"open"),
    ("ledger", ["open"]),
    ("ledger", None),
    ("ledger", 1),
    (b"ledger", "open"),
    (["ledger"], "open"),
    (None, "open"),
    ("x" * 257, "open"),
    ("", "open"),
]


@pytest.mark.parametrize(("name", "state"), HOSTILE)
def test_whatever_it_is_given_a_call_does_not_fail(name: Any, state: Any) -> None:  # noqa: ANN401
    heard = BreakerPublisher(NOBODY, service="payments", constitutional_hash=HASH)
    health = HealthAggregator(HASH, publisher=heard)
    health.on_circuit_state_change(name, state)
    heard.on_circuit_state_change(name, state)
    assert (health.get_health_report().refused, heard.counts.refused) == (1, 1)
    assert heard._outgoing.take() == []  # noqa: SLF001  # what waits is for its sender alone


@pytest.mark.parametrize("reason", [ValueError("no"), "\ud800 path", b"bytes", "", 7, "x" * 5_000])
def test_whatever_reason_it_is_given_what_is_sent_can_be_written_down(reason: Any) -> None:  # noqa: ANN401
    heard = BreakerPublisher(NOBODY, service="payments", constitutional_hash=HASH)
    heard.on_circuit_state_change("led\udfffger", "open", reason=reason)
    (told,) = heard._outgoing.take()  # noqa: SLF001  # what waits is for its sender alone
    read = BreakerEvent.model_validate_json(heard._encoded(told))  # noqa: SLF001  # as it is sent
    assert (read.breaker, read.state) == ("led?ger", OPEN)


def test_who_is_interrupted_by_another_call_does_its_work_too_and_nobody_waits() -> None:
    order: list[int] = []

    def work(item: int) -> None:
        if item == 0:
            turnstile.put(1)  # as a signal handler would, in the middle
        order.append(item)

    turnstile = Turnstile(work)
    turnstile.put(0)
    turnstile.put(2)
    assert order == [0, 1, 2]


def test_who_settles_waits_for_the_thread_that_is_at_work_and_never_for_its_own() -> None:
    begun, done = threading.Event(), list[int]()

    def work(item: int) -> None:
        begun.set()
        if item == 0:
            turnstile.settle()  # as a handler would, in the middle
            time.sleep(0.02)
        done.append(item)

    turnstile = Turnstile(work, most_left=10)
    turnstile.put(0)
    turnstile.put(1)
    other = threading.Thread(target=turnstile.turn)
    other.start()
    assert begun.wait(60)
    turnstile.settle()
    assert done == [0, 1]
    other.join(60)


def test_what_is_handed_in_while_somebody_is_alone_is_done_when_they_leave() -> None:
    done: list[int] = []
    turnstile = Turnstile(done.append)
    with turnstile.alone():
        handing = threading.Thread(target=turnstile.put, args=(1,))
        handing.start()
        handing.join(60)
        assert not handing.is_alive()
        assert done == []
    assert done == [1]


def test_what_is_left_to_a_thread_waits_for_it_and_takes_a_bounded_room() -> None:
    done: list[int] = []
    turnstile = Turnstile(done.append, most_left=3)
    for number in range(3):
        turnstile.put(number)
    assert done == []
    for number in range(3, 100):
        turnstile.put(number)
    assert 97 <= len(done) <= 100
    turnstile.turn()
    assert done == list(range(100))


def test_what_an_aggregator_leaves_to_its_publisher_is_counted_before_anybody_reads_it() -> None:
    health = HealthAggregator(HASH, publisher=BreakerPublisher(NOBODY, service="payments", constitutional_hash=HASH))
    for number in range(2_001):
        health.on_circuit_state_change("ledger", ("open", "closed")[number % 2])
        if number % 500 == 0:
            assert health.get_health_report().changes == number
    report = health.get_health_report()
    assert (report.changes, report.snapshot.open_breakers) == (2_000, 1)


def test_since_is_when_it_was_said_however_late_it_is_counted() -> None:
    now = [1_000.0]
    heard = BreakerPublisher(NOBODY, service="payments", constitutional_hash=HASH)
    health = HealthAggregator(HASH, publisher=heard, clock=lambda: now[0])
    health.on_circuit_state_change("ledger", "open")
    said, now[0] = now[0], now[0] + 3_600
    assert health.get_health_report().since == datetime.fromtimestamp(said, UTC)


def test_a_publisher_counts_what_is_left_to_it_whether_kafka_is_there_or_not() -> None:
    with BreakerPublisher(NOBODY, service="payments", constitutional_hash=HASH) as publisher:
        health, counted = HealthAggregator(HASH, publisher=publisher), threading.Event()
        publisher.often(lambda: counted.set() if health._standing.changes else None)  # noqa: SLF001  # without asking
        health.on_circuit_state_change("ledger", "open")
        health.on_circuit_state_change("ledger", "closed")
        assert counted.wait(60)


@pytest.mark.parametrize("name", [["ledger"], None, b"ledger"])
def test_what_is_no_name_is_no_breaker_that_could_be_removed(name: Any) -> None:  # noqa: ANN401
    heard = BreakerPublisher(NOBODY, service="payments", constitutional_hash=HASH)
    health = HealthAggregator(HASH, publisher=heard)
    health.on_circuit_state_change("ledger", "open")
    health.remove(name)
    heard.remove(name)
    assert [one.kind for one in heard._outgoing.take()] == [CHANGE]  # noqa: SLF001  # what waits is for its sender alone
    assert health.get_health_report().snapshot.total_breakers == 1


_FORKS = """
import os, sys, threading
from streams.health.turnstile import Turnstile

held = threading.Event()
over = threading.Event()

def work(item):
    if item == "slow":
        held.set()
        over.wait()

turnstile = Turnstile(work)
threading.Thread(target=turnstile.put, args=("slow",), daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    with turnstile.alone():
        os._exit(7)
over.set()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_that_was_forked_while_somebody_was_at_work_is_not_held_up() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _FORKS], timeout=60, check=False)
    assert done.returncode == 7
