"""The fold of breaker events: what a service's row says, when, and that a repeated event changes nothing."""

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from handlers.health import (
    FLAPS_KEPT,
    FORGOTTEN_AFTER,
    MAX_BREAKERS,
    MAX_FLAPS,
    Place,
    Tally,
    aged,
    folded,
    status_of,
    tally_of,
)
from schemas.breaker import BreakerEvent, BreakerEventKind, BreakerState
from schemas.health import ServiceHealth, SystemHealthStatus
from tests.support.product import HASH

T0 = 1_800_000_000_000
TTL_MS = 30_000
HEALTHY, DEGRADED, CRITICAL, UNKNOWN = SystemHealthStatus
CLOSED, OPEN, HALF_OPEN = BreakerState


def event(sequence: int, state: BreakerState | str = CLOSED, **changes: Any) -> BreakerEvent:  # noqa: ANN401
    said = {
        "event_id": "0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10",
        "kind": BreakerEventKind.STATE_CHANGE,
        "service": "payments",
        "breaker": "ledger",
        "instance": "host-1",
        "sequence": sequence,
        "state": state,
        "at": "2026-01-31T09:30:00Z",
        "constitutional_hash": HASH,
        **changes,
    }
    return BreakerEvent.model_validate({**said, "kind": BreakerEventKind(said["kind"])})


def after(*events: BreakerEvent, at: int = T0, step: int = 0, is_critical: bool = False) -> ServiceHealth:
    """The row after these events, one offset after the other, `step` milliseconds apart."""
    row: ServiceHealth | None = None
    for offset, one in enumerate(events):
        row = folded(row, one, Place(0, offset), at + offset * step, is_critical=is_critical) or row
    assert row is not None
    return row


def named(number: int, state: BreakerState = CLOSED) -> BreakerEvent:
    return event(1, state, breaker=f"b{number:04}")


@pytest.mark.parametrize(
    "spelling", ["half_open", "half-open", "HALF OPEN", "halfOpen", "Half-Open", "HALF_OPEN", "half-opened"]
)
def test_spellings_of_a_state_mean_one_thing(spelling: str) -> None:
    assert event(1, spelling).state is HALF_OPEN
    text = event(1, HALF_OPEN).model_dump_json().replace('"half_open"', f'"{spelling}"')
    assert BreakerEvent.model_validate_json(text).state is HALF_OPEN


@pytest.mark.parametrize("spelling", ["", "ajar", "half", "openedd", 1, None])
def test_what_is_no_state_is_refused(spelling: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValidationError):
        event(1, spelling)


@pytest.mark.parametrize(
    ("tally", "status", "score"),
    [
        (Tally(), UNKNOWN, 0.0),
        (Tally(closed=3), HEALTHY, 1.0),
        (Tally(closed=2, open=1), DEGRADED, 2 / 3),
        (Tally(closed=1, open=1), DEGRADED, 0.5),
        (Tally(closed=1, open=2, half_open=1), CRITICAL, 0.375),
        (Tally(half_open=1), DEGRADED, 0.5),
        (Tally(open=1), CRITICAL, 0.0),
        (Tally(closed=3, silent=1), UNKNOWN, 1.0),
        (Tally(closed=3, open=1, silent=1), UNKNOWN, 0.75),
        (Tally(open=1, silent=1), CRITICAL, 0.0),
        (Tally(silent=2), UNKNOWN, 0.0),
    ],
)
def test_what_a_tally_amounts_to(tally: Tally, status: SystemHealthStatus, score: float) -> None:
    assert status_of(tally, has_critical_open=False) is status
    assert tally.score == pytest.approx(score)
    assert status_of(tally, has_critical_open=True) is CRITICAL


def test_one_open_breaker_of_a_service_that_the_policy_calls_critical_is_critical() -> None:
    events = (named(0), named(1), named(2, OPEN))
    assert after(*events).status is DEGRADED
    assert after(*events, is_critical=True).status is CRITICAL
    assert after(named(0), named(1), named(2, HALF_OPEN), is_critical=True).status is DEGRADED


def test_a_row_says_since_when_and_why() -> None:
    row = after(event(1), event(2, OPEN, reason="3 timeouts"), event(3, OPEN, kind="heartbeat"), step=1_000)
    assert (row.status, row.since, row.health_score) == (CRITICAL, T0 + 1_000, 0.0)
    assert row.why == "ledger is open at host-1 (3 timeouts)"
    (one,) = row.breakers
    assert (one.since, one.heard, one.fresh_until) == (T0 + 1_000, T0 + 2_000, T0 + 2_000 + TTL_MS)
    assert (row.partition, row.offset, row.as_of) == (0, 2, T0 + 2_000)


def test_silence_is_unknown_never_healthy_and_ends_with_the_next_word() -> None:
    row = after(event(1))
    assert (row.status, row.fresh_until) == (HEALTHY, T0 + TTL_MS)
    assert aged(row, T0 + TTL_MS - 1, is_critical=False).status is HEALTHY
    silent = aged(row, T0 + TTL_MS, is_critical=False)
    assert (silent.status, silent.silent_breakers, silent.since) == (UNKNOWN, 1, T0 + TTL_MS)
    assert silent.why == "ledger at host-1 is silent, was closed"
    again = folded(silent, event(2, kind="heartbeat"), Place(0, 1), T0 + 40_000, is_critical=False)
    assert again is not None
    assert (again.status, again.since, again.breakers[0].since) == (HEALTHY, T0 + 40_000, T0)


def test_a_process_that_ended_without_a_word_is_forgotten_and_one_that_said_goodbye_at_once() -> None:
    row = after(event(1), event(1, OPEN, instance="host-2"))
    long_after = T0 + TTL_MS + int(FORGOTTEN_AFTER.total_seconds() * 1_000)
    assert aged(row, long_after - 1, is_critical=False).silent_breakers == 2
    gone = aged(row, long_after, is_critical=False)
    assert (gone.status, gone.total_breakers, gone.why) == (UNKNOWN, 0, "no breaker has been heard of")
    retired = folded(row, event(2, OPEN, instance="host-2", kind="retired"), Place(0, 2), T0 + 1, is_critical=False)
    assert retired is not None
    assert (retired.status, retired.total_breakers) == (HEALTHY, 1)


def test_what_has_been_silent_and_is_forgotten_does_not_count_from_then_on_whenever_somebody_looks() -> None:
    row = after(event(1, ttl_s=86_400), event(1, instance="host-2"))
    assert aged(row, T0 + TTL_MS, is_critical=False).status is UNKNOWN
    forgotten_at = T0 + TTL_MS + int(FORGOTTEN_AFTER.total_seconds() * 1_000)
    later = aged(row, forgotten_at + 5_000, is_critical=False)
    assert (later.status, later.since) == (HEALTHY, forgotten_at)


def test_a_heartbeat_is_no_flap() -> None:
    row = after(event(1), event(2, kind="heartbeat"), event(3, kind="heartbeat"), step=1_000)
    assert (row.flaps, row.since, row.breakers[0].heard) == ((), T0, T0 + 2_000)


def test_a_breaker_that_flaps_for_a_moment_is_seen_and_forgotten_after_some_minutes() -> None:
    row = after(event(1), event(2, OPEN), event(3, HALF_OPEN), event(4), step=100)
    assert (row.status, row.flaps) == (HEALTHY, (T0 + 100, T0 + 200, T0 + 300))
    kept_ms = int(FLAPS_KEPT.total_seconds() * 1_000)
    assert aged(row, T0 + 100 + kept_ms, is_critical=False).flaps == (T0 + 200, T0 + 300)
    many = after(*(event(number, (CLOSED, OPEN)[number % 2]) for number in range(300)), step=1)
    assert many.flaps == tuple(T0 + 300 - MAX_FLAPS + n for n in range(MAX_FLAPS))


def test_an_event_that_another_has_overtaken_changes_nothing_but_the_place() -> None:
    row = after(event(2, OPEN), event(1, CLOSED))
    assert (row.status, row.offset, row.flaps) == (CRITICAL, 1, ())


def test_breakers_beyond_what_a_row_holds_are_counted_and_such_a_service_is_not_called_healthy() -> None:
    row = after(*(named(number) for number in range(MAX_BREAKERS)))
    assert (row.status, row.left_out) == (HEALTHY, 0)
    last = named(MAX_BREAKERS), Place(0, MAX_BREAKERS), T0
    more = folded(row, *last, is_critical=False)
    assert more is not None
    assert (more.status, more.left_out, more.total_breakers) == (UNKNOWN, 1, MAX_BREAKERS)
    assert more.why.endswith(f"1 events were of breakers beyond the {MAX_BREAKERS} that a row holds")
    worse = folded(after(*(named(number, OPEN) for number in range(MAX_BREAKERS))), *last, is_critical=False)
    assert worse is not None
    assert (worse.status, worse.left_out) == (CRITICAL, 1)
    fewer = folded(more, event(2, breaker="b0001", kind="retired"), Place(0, MAX_BREAKERS + 1), T0, is_critical=False)
    assert fewer is not None
    assert (fewer.status, fewer.left_out) == (UNKNOWN, 1), "the one beyond may be open, room or no room"
    others = [named(number).model_copy(update={"sequence": 3, "ttl_s": 86_400}) for number in range(2, MAX_BREAKERS)]
    for number, one in enumerate(others, start=MAX_BREAKERS + 2):
        fewer = folded(fewer, one, Place(0, number), T0 + 1, is_critical=False)
        assert fewer is not None
    forgotten = T0 + TTL_MS + int(FORGOTTEN_AFTER.total_seconds() * 1_000)
    assert fewer.left_out_until == forgotten
    later = aged(fewer, forgotten, is_critical=False)
    assert (aged(fewer, forgotten - 1).left_out, later.left_out) == (1, 0)
    known = folded(more, event(2, OPEN, breaker="b0000"), Place(0, MAX_BREAKERS + 1), T0, is_critical=False)
    assert known is not None
    assert known.open_breakers == 1


EVENTS = st.lists(
    st.builds(
        lambda sequence, state, kind, breaker, instance, ttl: event(
            sequence, state, kind=kind, breaker=breaker, instance=instance, ttl_s=ttl
        ),
        st.integers(0, 20),
        st.sampled_from(BreakerState),
        st.sampled_from([BreakerEventKind.STATE_CHANGE, BreakerEventKind.HEARTBEAT]),
        st.sampled_from(["ledger", "cards"]),
        st.sampled_from(["host-1", "host-2"]),
        st.sampled_from([1, 30]),
    ),
    min_size=1,
    max_size=30,
)


@given(EVENTS, st.lists(st.integers(0, 900_000), max_size=5), st.integers(1, 120_000))
def test_it_makes_no_difference_when_somebody_has_looked(
    events: list[BreakerEvent], looks: list[int], step: int
) -> None:
    row: ServiceHealth | None = None
    for offset, one in enumerate(events):
        now = T0 + offset * step
        for look in sorted(T0 + look for look in looks):
            if row is not None and row.as_of <= look <= now:
                row = aged(row, look, is_critical=False)
        row = folded(row, one, Place(0, offset), now, is_critical=False)
        assert row is not None
    assert row == after(*events, step=step)


SECOND, KEPT = 1_000, 600_000
LATER = st.sampled_from([-SECOND, 0, 1, SECOND, 2 * SECOND, KEPT - SECOND, KEPT, KEPT + SECOND])
"""Where something may just have aged, or not yet: the times to live below are a second and a day."""
TOLD = st.lists(
    st.tuples(
        st.builds(
            lambda sequence, state, kind, breaker, ttl, changes: event(
                sequence, state, kind=kind, breaker=breaker, ttl_s=ttl, changes=changes
            ),
            st.integers(0, 3),
            st.sampled_from(BreakerState),
            st.sampled_from(BreakerEventKind),
            st.sampled_from(["a", "b"]),
            st.sampled_from([1, 86_400]),
            st.sampled_from([1, MAX_FLAPS]),
        ),
        LATER,
        st.booleans(),
    ),
    min_size=2,
    max_size=5,
)


SHORT = event(1, breaker="a", ttl_s=1)
BACK_ACROSS_ITS_SILENCE = [(SHORT, 0, False), (SHORT, SECOND, False), (event(1, breaker="b"), -SECOND, False)]


@given(TOLD, st.sampled_from([1, MAX_BREAKERS]))
@example(BACK_ACROSS_ITS_SILENCE, 1)
@settings(max_examples=1_000)
def test_a_row_in_which_nothing_has_aged_is_gone_on_with_as_if_it_had_been_looked_at(
    told: list[tuple[BreakerEvent, int, bool]], most: int
) -> None:
    """Also where time goes back, the policy changes its mind about the service, or breakers are left out."""
    quick = plain = None
    now = T0
    with patch("handlers.health.MAX_BREAKERS", most):
        for offset, (one, later, is_critical) in enumerate(told):
            now += later
            quick = folded(quick, one, Place(0, offset), now, is_critical=is_critical)
            with patch("handlers.health._until", aged):
                plain = folded(plain, one, Place(0, offset), now, is_critical=is_critical)
            assert quick == plain


@given(EVENTS, st.data())
def test_events_that_come_again_change_nothing(events: list[BreakerEvent], data: st.DataObject) -> None:
    """As after a crash: from some place on everything is read once more, any number of times."""
    row: ServiceHealth | None = None
    offset = 0
    while offset < len(events):
        row = folded(row, events[offset], Place(0, offset), T0 + offset * 500, is_critical=False) or row
        assert row is not None
        back_to = data.draw(st.integers(0, offset))
        for again in range(back_to, offset + 1):
            assert folded(row, events[again], Place(0, again), T0 + again * 500, is_critical=False) is None
        offset += 1
    assert row == after(*events, step=500)


@given(EVENTS)
def test_the_row_is_what_the_last_word_of_every_breaker_says(events: list[BreakerEvent]) -> None:
    """Against a fold of its own: the highest sequence of each breaker, by its first coming."""
    last: dict[tuple[str, str], tuple[BreakerEvent, int]] = {}
    for offset, one in enumerate(events):
        name = (one.instance, one.breaker)
        if name not in last or last[name][0].sequence < one.sequence:
            last[name] = (one, T0 + offset * 500)
    now = T0 + (len(events) - 1) * 500
    row = after(*events, step=500)
    said = {(one.instance, one.breaker): (one.state, one.heard, one.sequence) for one in row.breakers}
    assert said == {name: (one.state, at, one.sequence) for name, (one, at) in last.items()}
    fresh = [one.state for one, at in last.values() if at + one.ttl_s * 1_000 > now]
    assert row.silent_breakers == len(last) - len(fresh)
    assert (row.closed_breakers, row.open_breakers, row.half_open_breakers) == tuple(map(fresh.count, BreakerState))
    assert (row.status is HEALTHY) == (set(fresh) == {CLOSED} and len(fresh) == len(last))
    whole = tally_of(row.breakers, now)
    assert whole.minus(Tally(closed=1)).plus(Tally(closed=1)) == whole
