"""The health table's rows in their store, and the board that reads them: no row goes back, none is forgotten."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.health import DROPPED_AFTER, FORGOTTEN_AFTER, MAX_BREAKERS, Place, aged, folded
from schemas import topics
from schemas.breaker import BreakerEvent, BreakerState
from schemas.health import ServiceHealth, SystemHealthStatus
from streams.agents.naming import Naming
from streams.engine.records import InputRecord
from streams.health import rows as rows_module
from streams.health.board import HealthBoard
from streams.health.rows import Folded, Rows, decode, encode
from tests.support.health import event

T0 = 1_800_000_000_000
CLOSED, OPEN, HALF_OPEN = BreakerState
HEALTHY, DEGRADED, CRITICAL, UNKNOWN = SystemHealthStatus
NAMING = Naming("t.")


def table(store: dict[bytes, bytes] | None = None, critical: Sequence[str] = ()) -> tuple[Rows, dict[bytes, bytes]]:
    kept = {} if store is None else store
    return Rows(kept, lambda service: service in critical), kept


def read(store: dict[bytes, bytes], service: str = "payments") -> ServiceHealth:
    return decode(store[service.encode()])


def test_an_event_is_folded_once_and_the_next_is_read_from_after_it() -> None:
    rows, store = table()
    told = event(state=OPEN)
    assert rows.next_offset(0) is None
    places = (Place(0, 5), Place(0, 5), Place(0, 4))
    assert [rows.fold(told, place, T0) for place in places] == [Folded.NEW, Folded.REPEATED, Folded.REPEATED]
    assert read(store).status is CRITICAL
    assert (rows.next_offset(0), rows.next_offset(1)) == (6, None)


def test_a_row_is_written_anew_when_it_grows_old_and_only_then() -> None:
    rows, store = table()
    rows.fold(event(ttl_s=10), Place(0, 0), T0)
    rows.fold(event("stock", ttl_s=20), Place(0, 1), T0)
    assert rows.age(0, T0 + 9_999) == 0
    assert rows.age(1, T0 + 99_999) == 0
    assert rows.age(0, T0 + 10_000) == 1
    assert (read(store).status, read(store, "stock").status) == (UNKNOWN, HEALTHY)
    assert rows.age(0, T0 + 10_001) == 0


def test_a_heartbeat_puts_off_when_a_row_is_looked_at() -> None:
    rows, store = table()
    for beat in range(100):
        rows.fold(event(ttl_s=10), Place(0, beat), T0 + beat * 1_000)
    assert rows.age(0, T0 + 108_999) == 0
    assert read(store).status is HEALTHY
    assert rows.age(0, T0 + 109_000) == 1


def test_another_table_of_the_same_store_learns_what_grows_old() -> None:
    rows, store = table()
    for number in range(250):
        rows.fold(event(f"service-{number}", ttl_s=10), Place(number % 2, number), T0)
    other, _ = table(store)
    assert not other.has_index(0)
    assert len(list(other.index(0))) == 2
    assert other.has_index(0)
    assert other.age(0, T0 + 10_000) == 125


def test_what_is_folded_before_the_rows_are_looked_through_hides_none_of_them() -> None:
    rows, store = table()
    rows.fold(event("silent", ttl_s=10), Place(0, 0), T0)
    other, _ = table(store)
    other.fold(event("loud", ttl_s=10), Place(0, 1), T0)
    assert not other.has_index(0)
    assert list(other.index(0)) == []
    assert other.age(0, T0 + 10_000) == 2
    assert read(store, "silent").status is UNKNOWN


def test_a_forgotten_service_is_listed_as_unknown_for_a_day_and_then_dropped() -> None:
    rows, store = table()
    rows.fold(event(ttl_s=10), Place(0, 0), T0)
    forgotten = T0 + 10_000 + int(FORGOTTEN_AFTER.total_seconds() * 1_000)
    rows.age(0, T0 + 10_000)
    rows.age(0, forgotten)
    assert (read(store).status, read(store).since, read(store).total_breakers) == (UNKNOWN, T0 + 10_000, 0)
    dropped = T0 + 10_000 + int(DROPPED_AFTER.total_seconds() * 1_000)
    rows.age(0, dropped - 1)
    assert b"payments" in store
    rows.age(0, dropped)
    assert store == {}


def test_a_service_whose_last_breaker_says_good_bye_is_dropped_at_once() -> None:
    rows, store = table()
    rows.fold(event(breaker="a"), Place(0, 0), T0)
    rows.fold(event(breaker="b"), Place(0, 1), T0)
    rows.fold(event(breaker="a", kind="retired"), Place(0, 2), T0)
    assert read(store).total_breakers == 1
    rows.fold(event(breaker="b", kind="retired"), Place(0, 3), T0)
    assert store == {}
    rows.fold(event(kind="retired"), Place(0, 4), T0)
    assert store == {}


def test_what_the_policy_says_of_a_service_counts_from_the_next_look_on() -> None:
    critical: list[str] = []
    rows, store = table(critical=critical)
    states = (CLOSED, CLOSED, CLOSED, OPEN)
    for number, state in enumerate(states):
        rows.fold(event(state=state, breaker=f"b{number}", ttl_s=10 * (number + 1)), Place(0, number), T0)
    assert read(store).status is DEGRADED
    critical.append("payments")
    rows.age(0, T0 + 10_000)
    assert (read(store).status, read(store).is_critical) == (CRITICAL, True)


def test_services_beyond_what_a_table_knows_are_left_out_and_those_it_knows_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows_module, "MAX_SERVICES", 2)
    rows, store = table()
    given = [rows.fold(event(name), Place(0, number), T0) for number, name in enumerate(("a", "b", "c", "a"))]
    assert given == [Folded.NEW, Folded.NEW, Folded.LEFT_OUT, Folded.NEW]
    assert store.keys() == {b"a", b"b"}


def test_the_largest_row_fits_the_topic() -> None:
    rows, store = table()
    long = "\x01" * 248
    for number in range(MAX_BREAKERS):
        told = event(
            "\x01" * 256, OPEN, breaker=f"{number:08}{long}", instance=f"{number:08}{long}", reason="\x01" * 500
        )
        rows.fold(told, Place(0, number), T0)
    assert 3_000_000 < len(store[b"\x01" * 256]) < 3_300_000


def test_a_dropped_service_does_not_come_back_by_a_record_that_is_older() -> None:
    old, new = rows_of(event(), event(state=OPEN))
    stale: list[str] = []
    board = HealthBoard(NAMING, on_stale=stale.append)
    for offset, row in enumerate((new, None, old)):
        board.take(taken(row, offset))
    assert board.service("payments", T0) is None
    assert stale == ["payments", "payments"], "whoever owns it looks whether that was right"


def test_a_reader_whose_clock_is_behind_calls_nothing_healthy_that_the_log_knows_to_be_silent() -> None:
    (row,) = rows_of(event(ttl_s=10))
    later = aged(rows_of(event("other"))[0], T0 + 20_000)
    board = HealthBoard(NAMING)
    board.take(taken(row, 0))
    board.take(taken(later, 1, "other"))
    found = board.service("payments", T0)
    assert found is not None
    assert found.row.status is UNKNOWN


def taken(row: ServiceHealth | None, offset: int, service: str = "payments") -> InputRecord:
    value = None if row is None else encode(row)
    return InputRecord(NAMING.topic(topics.HEALTH), 0, offset, T0, service.encode(), value, ())


def rows_of(*events: BreakerEvent) -> list[ServiceHealth]:
    made: list[ServiceHealth] = []
    for number, told in enumerate(events):
        row = folded(made[-1] if made else None, told, Place(0, number), T0 + number, is_critical=False)
        assert row is not None
        made.append(row)
    return made


def test_a_board_never_goes_back_and_tells_of_what_would() -> None:
    old, new = rows_of(event(), event(state=OPEN))
    stale: list[str] = []
    board = HealthBoard(NAMING, on_stale=stale.append)
    for offset, row in enumerate((old, new, old)):
        board.take(taken(row, offset))
    found = board.service("payments", T0 + 10)
    assert found is not None
    assert (found.row.status, found.offset, stale) == (CRITICAL, 1, ["payments"])
    board.take(taken(None, 3))
    assert board.service("payments", T0) is None


def test_a_board_says_of_nothing_silent_that_it_is_healthy() -> None:
    (row,) = rows_of(event(ttl_s=10))
    board = HealthBoard(NAMING)
    board.take(taken(row, 0))
    statuses = [one.row.status for at in (T0, T0 + 9_999, T0 + 10_000) for one in board.services(at)]
    assert statuses == [HEALTHY, HEALTHY, UNKNOWN]
    assert board.system_at(T0) is None


def test_a_board_passes_over_what_it_cannot_read() -> None:
    board = HealthBoard(NAMING)
    (row,) = rows_of(event())
    record = taken(row, 0)
    for value in (b"", b"nonsense", encode(row).replace(b'"v":1', b'"v":2')):
        board.take(record._replace(value=value))
    assert board.services(T0) == []


histories = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from("xy"),
        st.sampled_from(BreakerState),
        st.sampled_from(["state_change", "heartbeat", "retired"]),
        st.integers(1, 60),
        st.integers(0, 400_000),
        st.booleans(),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=200)
@given(histories, st.data())
def test_whatever_is_looked_at_in_between_or_read_twice_the_rows_come_out_the_same(
    history: list[tuple[str, str, BreakerState, str, int, int, bool]], data: st.DataObject
) -> None:
    plain, plain_store = table()
    busy, busy_store = table()
    now, events = T0, list[tuple[BreakerEvent, Place, int]]()
    for offset, (service, breaker, state, kind, ttl_s, passed, _) in enumerate(history):
        now += passed
        events.append((event(service, state, breaker=breaker, kind=kind, ttl_s=ttl_s), Place(0, offset), now))
    for told, place, at in events:
        plain.fold(told, place, at)
    for number, (told, place, at) in enumerate(events):
        busy.fold(told, place, at)
        if history[number][-1]:
            busy.age(0, at)
        if data.draw(st.booleans()):  # it is read again from some place on, as after a restart
            for again in events[data.draw(st.integers(0, number)) : number + 1]:
                busy.fold(*again)
    for key in plain_store.keys() & busy_store.keys():
        assert aged(decode(plain_store[key]), now) == aged(decode(busy_store[key]), now)
    heard = {key for key, value in plain_store.items() if aged(decode(value), now).breakers}
    assert heard == {key for key, value in busy_store.items() if aged(decode(value), now).breakers}
