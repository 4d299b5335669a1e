"""The system's row: the same as adding up every service's row by hand, at any time."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.health import Place, Tally, aged, folded, status_of
from handlers.system_health import FRESH_FOR, MAX_NAMED, SystemFold
from schemas.breaker import BreakerState
from schemas.health import ServiceHealth, SystemHealth, SystemHealthStatus
from tests.support.health import event

T0 = 1_800_000_000_000
CLOSED, OPEN, HALF_OPEN = BreakerState
HEALTHY, DEGRADED, CRITICAL, UNKNOWN = SystemHealthStatus


def row(
    service: str, *states: BreakerState, at: int = T0, ttl_s: int = 30, is_critical: bool = False, offset: int = 0
) -> ServiceHealth:
    made: ServiceHealth | None = None
    for number, state in enumerate(states):
        told = event(service, state, breaker=f"b{number}", ttl_s=ttl_s)
        made = folded(made, told, Place(0, offset + number), at, is_critical=is_critical)
    assert made is not None
    return made


def system(*given: ServiceHealth, at: int = T0, before: SystemHealth | None = None) -> SystemHealth:
    fold = SystemFold()
    for number, one in enumerate(given):
        fold.take(one.service, one, 0, number)
    return fold.at(at, before)


def test_without_services_nothing_is_known() -> None:
    assert (system().status, system().health_score) == (UNKNOWN, 0.0)


def test_all_closed_is_healthy_some_not_is_degraded_and_below_one_half_is_critical() -> None:
    a, b = row("a", CLOSED, CLOSED), row("b", CLOSED)
    assert system(a, b).status is HEALTHY
    degraded = system(a, row("b", OPEN))
    assert (degraded.status, degraded.services[CRITICAL]) == (DEGRADED, 1)
    assert system(row("a", OPEN, OPEN), b).status is CRITICAL
    assert system(row("a", HALF_OPEN, OPEN), b).health_score == 0.5


def test_an_open_breaker_of_a_service_that_the_policy_calls_critical_is_enough() -> None:
    states = (CLOSED, CLOSED, CLOSED, OPEN)
    assert system(row("a", *states), row("b", *[CLOSED] * 20)).status is DEGRADED
    assert system(row("a", *states, is_critical=True), row("b", *[CLOSED] * 20)).status is CRITICAL


def test_one_service_of_which_nothing_is_known_makes_the_system_unknown_unless_it_is_critical() -> None:
    fold = SystemFold()
    fold.take("a", row("a", CLOSED, ttl_s=10), 0, 0)
    fold.take("b", row("b", CLOSED, CLOSED, ttl_s=60), 1, 7)
    assert fold.at(T0 + 9_999, None).status is HEALTHY
    silent = fold.at(T0 + 10_000, None)
    assert (silent.status, silent.silent_breakers, silent.offsets) == (UNKNOWN, 1, {"0": 0, "1": 7})
    assert [(one.service, one.status, one.since) for one in silent.named] == [("a", UNKNOWN, T0 + 10_000)]
    fold.take("b", row("b", OPEN, OPEN, at=T0 + 11_000), 1, 8)
    assert fold.at(T0 + 11_000, None).status is CRITICAL


def test_it_says_since_when_whoever_wrote_the_row_before() -> None:
    before = system(row("a", CLOSED))
    later = system(row("a", CLOSED), at=T0 + 5_000, before=before)
    changed = system(row("a", OPEN), at=T0 + 6_000, before=later)
    assert (before.since, later.since, changed.since) == (T0, T0, T0 + 6_000)
    assert later.fresh_until == T0 + 5_000 + FRESH_FOR.total_seconds() * 1_000


def test_time_does_not_go_back_and_a_dropped_service_counts_no_more() -> None:
    fold = SystemFold()
    fold.take("a", row("a", OPEN), 0, 0)
    assert fold.at(T0 + 1_000, None).as_of == T0 + 1_000
    assert fold.at(T0, None).as_of == T0 + 1_000
    fold.take("a", None, 0, 1)
    assert fold.at(T0 + 2_000, None).total_breakers == 0


def test_the_gravest_are_named_first_and_no_more_than_fit() -> None:
    ailing = [row(f"open-{number:02}", OPEN) for number in range(30)]
    told = system(row("half", CLOSED, HALF_OPEN), *ailing)
    assert len(told.named) == MAX_NAMED
    assert [one.service for one in told.named] == [f"open-{number:02}" for number in range(MAX_NAMED)]
    assert system(row("half", CLOSED, HALF_OPEN), row("open", OPEN)).named[-1].service == "half"


changes = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.lists(st.sampled_from(BreakerState), max_size=4),
        st.integers(0, 20_000),
        st.integers(1, 40),
        st.booleans(),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(changes, st.integers(0, 900_000))
def test_it_is_what_adding_up_the_rows_of_that_time_comes_to(
    given_changes: list[tuple[str, list[BreakerState], int, int, bool]], later: int
) -> None:
    fold, current, now = SystemFold(), dict[str, ServiceHealth](), T0
    for number, (service, states, passed, ttl_s, is_critical) in enumerate(given_changes):
        now += passed
        made = row(service, *states, at=now, ttl_s=ttl_s, is_critical=is_critical) if states else None
        fold.take(service, made, 0, number)
        current.pop(service, None)
        if made is not None:
            current[service] = made
        fold.at(now, None)
    now += later
    told = fold.at(now, None)
    there = [aged(one, now) for one in current.values()]
    tally = Tally(*map(sum, zip(*map(_counts, there), strict=True))) if there else Tally()
    assert (told.closed_breakers, told.open_breakers, told.half_open_breakers, told.silent_breakers) == tally
    assert told.services == {**dict.fromkeys(SystemHealthStatus, 0), **Counter(one.status for one in there)}
    has_critical = any(one.is_critical and one.status is CRITICAL for one in there)
    status = status_of(tally, has_critical_open=has_critical)
    is_unknown = status is not CRITICAL and any(one.status is UNKNOWN for one in there)
    assert told.status is (UNKNOWN if is_unknown else status)


def _counts(one: ServiceHealth) -> tuple[int, int, int, int]:
    return one.closed_breakers, one.open_breakers, one.half_open_breakers, one.silent_breakers
