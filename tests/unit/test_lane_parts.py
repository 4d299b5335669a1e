"""The small parts of a lane: budget, timers, state, status, queues."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from streams.engine import digest
from streams.engine.budget import TurnBudget
from streams.engine.client import EngineSettings
from streams.engine.errors import EngineError
from streams.engine.lane import Chunk, Lane
from streams.engine.metrics import EngineMetrics
from streams.engine.records import Headers, InputRecord
from streams.engine.state import (
    Accepted,
    Position,
    StoredRow,
    decode_accepted,
    decode_position,
    decode_row_headers,
    decode_row_key,
    row_headers,
    row_key,
)
from streams.engine.status import TRANSITIONS, LaneStatus, State, decode_status
from streams.engine.timers import Timers
from tests.support.trail import record_hash
from tests.support.windowed_counter import Names, Rules, Window, windowed_counter

NAMES = Names("unit.")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
offsets = st.integers(0, 2**62)


# Budget


@given(st.integers(1, 100), st.lists(st.floats(0, 0.05), max_size=300))
def test_no_second_has_more_turns_than_the_budget_allows(min_turn_ms: int, pauses: list[float]) -> None:
    budget, now, turns = TurnBudget(timedelta(milliseconds=min_turn_ms), 0.0), 0.0, list[float]()
    for pause in pauses:
        now += pause + budget.wait(now + pause)
        budget.spend(now)
        turns.append(now)
    most = 1000 / min_turn_ms
    for begin in turns:
        within = sum(begin <= at < begin + 1 for at in turns)
        assert within <= 2 * most + 1


def test_a_lone_record_never_waits_and_a_crowd_does() -> None:
    budget = TurnBudget(timedelta(milliseconds=100), 0.0)
    for _ in range(10):
        assert budget.wait(0.0) == 0
        budget.spend(0.0)
    assert budget.wait(0.0) == pytest.approx(0.1)
    assert budget.wait(0.1) == 0


# Timers


@given(st.dictionaries(texts, st.integers(0, 1_000), max_size=50), st.integers(0, 1_000))
def test_every_timer_that_is_due_is_taken_once(due: dict[str, int], now_ms: int) -> None:
    rows = {key: StoredRow(key, at, 1, b"") for key, at in due.items()}
    timers: Timers[str] = Timers()
    timers.rebuild(rows)
    taken = timers.take_due(now_ms, rows)
    assert sorted(taken) == sorted(key for key, at in due.items() if at <= now_ms)
    assert timers.take_due(now_ms, rows) == []
    assert len(timers) == len(due) - len(taken)
    assert timers.next_ms == min((at for at in due.values() if at > now_ms), default=None)


def test_no_more_than_500_timers_are_taken_at_a_time_and_none_is_lost() -> None:
    rows = {str(n): StoredRow("", n, 1, b"") for n in range(1_201)}
    timers: Timers[str] = Timers()
    timers.rebuild(rows)
    sizes = [len(timers.take_due(10_000, rows)) for _ in range(4)]
    assert sizes == [500, 500, 201, 0]


def test_a_row_that_is_written_again_and_again_does_not_fill_the_heap() -> None:
    timers: Timers[int] = Timers()
    rows = {"busy": StoredRow(0, 90_000, 0, b""), "still": StoredRow(0, 80_000, 1, b"")}
    timers.arm("still", 80_000, 1)
    for version in range(100, 50_000):
        rows["busy"] = StoredRow(0, 90_000, version, b"")
        timers.arm("busy", 90_000, version)
        timers.drop_stale(rows)
        assert len(timers) <= 10_001
    assert timers.take_due(100_000, rows) == ["still", "busy"]


def test_timers_of_rows_that_changed_or_went_are_dropped() -> None:
    rows = {"a": StoredRow("", 5, 1, b""), "b": StoredRow("", 5, 1, b"")}
    timers: Timers[str] = Timers()
    timers.rebuild(rows)
    assert timers.take_due(10, {"a": StoredRow("", 50, 2, b"")}) == []


# State


@given(st.dictionaries(texts, offsets), offsets, offsets)
def test_a_position_reads_back_as_it_was_written(by_topic: dict[str, int], seq: int, clock_ms: int) -> None:
    position = Position(by_topic, seq, digest.of_bytes(b""), clock_ms)
    assert decode_position(position.encode()) == position


def test_a_position_of_a_later_version_is_refused_with_what_to_do() -> None:
    with pytest.raises(EngineError, match="run a release that knows it"):
        decode_position(b'{"v":2}')


@given(st.dictionaries(texts, offsets), offsets, texts, texts)
def test_an_operators_decision_reads_back_as_it_was_written(
    by_topic: dict[str, int], after: int, operator: str, reason: str
) -> None:
    decision = Accepted(by_topic, after, operator, reason)
    assert decode_accepted(decision.encode()) == decision


@given(st.none() | st.integers(0, 2**53 - 1), offsets, texts)
def test_a_rows_headers_and_key_read_back_as_they_were_written(due_ms: int | None, version: int, key: str) -> None:
    assert decode_row_headers(row_headers(due_ms, version)) == (due_ms, version)
    assert decode_row_key(row_key(key)) == key


def test_a_status_reads_back_as_it_was_written() -> None:
    status = LaneStatus(agent="a", lane=1, worker="w", state=State.HELD, at_ms=5, offsets={"t": 1}, last_error="é")
    assert decode_status(status.encode()) == status
    assert status.key == b"lane/a/1"


def test_every_state_has_its_transitions_and_closed_has_none() -> None:
    assert set(TRANSITIONS) == set(State)
    assert TRANSITIONS[State.CLOSED] == frozenset()
    assert all(State.CLOSED in to for state, to in TRANSITIONS.items() if state is not State.CLOSED)


# Digests

fields = st.none() | st.binary(max_size=30)
header_lists: st.SearchStrategy[Headers] = st.lists(st.tuples(texts, fields), max_size=5).map(tuple)


@given(st.builds(InputRecord, texts, st.integers(0, 1_000), offsets, offsets, fields, fields, header_lists))
def test_a_records_hash_is_what_the_contract_says(record: InputRecord) -> None:
    prefix = digest.partition_prefix(record.topic, record.partition)
    assert digest.input_hash(prefix, record) == record_hash(record, with_offset=True)


@given(st.tuples(fields, fields, header_lists), st.tuples(fields, fields, header_lists))
def test_two_records_have_one_image_only_if_they_are_equal(
    one: tuple[bytes | None, bytes | None, Headers], other: tuple[bytes | None, bytes | None, Headers]
) -> None:
    images = [digest.output_image(b"", key, headers, value) for key, value, headers in (one, other)]
    assert (images[0] == images[1]) == (one == other)


# Queues and progress


class Nowhere:
    """A source that offers nothing."""

    def begin(self, partition: int, offsets: dict[str, int]) -> None: ...


def idle_lane(max_records: int = 10) -> Lane[Window, Rules]:
    settings = EngineSettings(
        bootstrap_servers="127.0.0.1:1", prefix="unit.", client_id="unit", max_turn_records=max_records
    )
    metrics = EngineMetrics(CollectorRegistry()).lane("counter", 0)
    agent = windowed_counter("unit.")
    return Lane(agent, 0, settings=settings, source=Nowhere(), metrics=metrics, on_stuck=lambda: None)


def chunk(topic: str, count: int) -> Chunk:
    return Chunk.of(topic, [InputRecord(topic, 0, n, 1, b"k", b"v") for n in range(count)], count)


async def test_a_lane_that_has_enough_takes_no_more_but_for_control_documents() -> None:
    lane = idle_lane(max_records=10)
    assert lane.has_room_for(NAMES.inbox)
    lane.offer(chunk(NAMES.inbox, 20))
    assert not lane.has_room_for(NAMES.inbox)
    assert lane.has_room_for(NAMES.rules)


async def test_a_lane_that_waited_long_for_work_is_not_stalled_when_work_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("streams.engine.lane.time.monotonic", lambda: now)
    lane = idle_lane()
    lane.own()
    now += 3_600
    lane.offer(chunk(NAMES.rules, 1))
    assert lane.stalled_for_s == 0
    now += 30
    lane.offer(chunk(NAMES.rules, 1))
    assert lane.stalled_for_s == 30


async def test_a_lane_is_closed_without_ever_having_been_owned() -> None:
    lane = idle_lane()
    task = asyncio.create_task(lane.run())
    lane.close()
    await asyncio.wait_for(task, 5)
    assert lane.status("w").state is State.CLOSED
