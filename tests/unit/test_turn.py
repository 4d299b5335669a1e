"""A turn: what it writes, what it leaves, and that nothing but its inputs, state and draw decides."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.audit import AuditRecord
from streams.engine import dead_letters
from streams.engine.agent import Agent, ControlInput, RowCodec, Topics, View
from streams.engine.dead_letters import Kind
from streams.engine.driver import LaneDriver
from streams.engine.errors import ConfigurationError, ControlRefusedError
from streams.engine.records import Delete, Effect, Emit, Headers, InputRecord, Put, Record
from streams.engine.state import POSITION_KEY, LaneState, Position, decode_position
from streams.engine.turn import TIMER, Bounds, Turn, TurnInProgress
from tests.support.trail import record_hash
from tests.support.windowed_counter import (
    HUGE,
    POISON,
    Names,
    Rules,
    Window,
    fold,
    rules,
    said_counts,
    windowed_counter,
)

PREFIX = "unit."
NAMES = Names(PREFIX)
START_MS = 1_800_000_000_000
WINDOW_MS = 400
IN, OUT = "in", "out"
OWN = Topics("echo.changelog", "echo.dead-letters", "audit")

Handling = Any


def agent_of(handler: Handling, **changes: Any) -> Agent[Any, Any]:  # noqa: ANN401
    chosen: dict[str, Any] = {
        "name": "echo",
        "inbox": (IN,),
        "outputs": (OUT,),
        "topics": OWN,
        "handler": handler,
        "decision_version": 1,
        "rows": RowCodec(lambda row: row, lambda value: value),
    }
    return Agent(**{**chosen, **changes})


def record(offset: int, value: bytes | None = b"v", key: bytes | None = b"k", headers: Headers = ()) -> InputRecord:
    return InputRecord(IN, 0, offset, START_MS + offset, key, value, headers)


def handled(agent: Agent[Any, Any], *records: Record, limit: int = 1_000_000, partitions: int = 1) -> Turn[Any, Any]:
    """The turn that these records make."""
    topics = {*agent.inputs, *agent.written}
    bounds = Bounds(dict.fromkeys(topics, partitions), dict.fromkeys(topics, limit))
    driver: LaneDriver[Any, Any] = LaneDriver(agent, bounds=bounds)
    return driver.handle(records)


def noted(on: list[Any], what: object) -> Sequence[Effect[bytes]]:
    """No effects; keeps what a handler has seen."""
    on.append(what)
    return ()


def letters(turn: Turn[Any, Any]) -> list[dead_letters.DeadLetter]:
    outputs = turn.batches.get((OWN.dead_letters, 0), ())
    return [dead_letters.read(InputRecord(OWN.dead_letters, 0, 0, 0, out[0], out[1], out[2])) for out in outputs]


# Effects


def test_outputs_of_one_key_go_to_one_partition_and_without_a_key_to_the_lanes_own() -> None:
    agent = agent_of(lambda _, r: [Emit(OUT, r.key, r.value)])
    turn = handled(agent, *[record(n, key=f"k{n % 5}".encode()) for n in range(50)], record(50, key=None), partitions=4)
    by_key = defaultdict(set)
    for (topic, partition), outputs in turn.batches.items():
        for out in outputs:
            if topic == OUT:
                by_key[out[0]].add(partition)
    assert all(len(partitions) == 1 for partitions in by_key.values())
    assert by_key.pop(None) == {0}
    assert len(set.union(*by_key.values())) > 1


@pytest.mark.parametrize(
    "effects",
    [
        [Emit(OUT, b"k", b"ok"), Emit("elsewhere", b"k", b"x")],
        [Put("a", b"1"), Emit(OUT, b"k", b"x" * 2_000)],
        [Emit(OUT, b"k", b"ok"), Put("a", b"x" * 2_000)],
        [Put("a", b"1"), Put("\ud800", b"1")],
        [Put("a", b"1"), Delete("\ud800")],
        [Put("a", b"1", due_ms=1.5)],  # type: ignore[arg-type]
        [Put("a", b"1", due_ms=2**60)],
        [Put("a", b"1", due_ms=-1)],
        [Emit(OUT, b"k", b"ok"), Emit(OUT, "k", b"ok")],  # type: ignore[arg-type]
        [Emit(OUT, b"k", b"ok"), Emit(OUT, b"k", b"ok", (("\udcff", b"1"),))],
        [Emit(OUT, b"k", b"ok", measure=1), "nonsense"],
        None,
    ],
)
def test_a_record_that_fails_leaves_its_dead_letter_and_nothing_else(effects: Sequence[Effect[bytes]]) -> None:
    def handle(_: View[bytes, Any], given_record: Record) -> Sequence[Effect[bytes]]:
        return effects if given_record.value == b"bad" else [Emit(OUT, b"k", given_record.value), Put("b", b"1")]

    turn = handled(agent_of(handle), record(0), record(1, b"bad"), record(2), limit=1_500)
    assert [out[1] for out in turn.batches[OUT, 0]] == [b"v", b"v"]
    assert set(turn.changes) == {"b"}
    assert turn.measures == []
    assert [(letter.offset, letter.value) for letter in letters(turn)] == [(1, b"bad")]
    assert (turn.records, turn.dead_letters) == (3, 1)


def test_a_record_too_large_for_the_dead_letters_leaves_its_digest() -> None:
    def fail(*_: object) -> Sequence[Effect[bytes]]:
        raise RuntimeError("always")

    value, key = b"v" * 3_000, b"k" * 3_000
    (letter,) = letters(handled(agent_of(fail), record(0, value, key, (("h", b"h" * 3_000),)), limit=1_500))
    assert (letter.value, letter.key, letter.headers, letter.has_value) == (None, None, (), False)
    assert letter.kind is Kind.HANDLER_FAILED


def test_what_a_dead_letter_says_is_bounded_and_can_be_written() -> None:
    def fail(*_: object) -> Sequence[Effect[bytes]]:
        raise RuntimeError("\ud800" * 5_000)

    (letter,) = letters(handled(agent_of(fail), record(0)))
    assert len(letter.error) <= 6 * 1_000


forged_names = st.sampled_from(["lane-kind", "lane-source", "lane-resolution", "lane-digest", "x"])


@given(
    st.lists(st.tuples(forged_names, st.binary())),
    st.none() | st.binary(),
    st.none() | st.binary(),
)
def test_a_dead_letter_gives_the_record_back_whatever_headers_it_had(
    headers: list[tuple[str, bytes]], key: bytes | None, value: bytes | None
) -> None:
    original = InputRecord("some/topic", 3, 41, START_MS, key, value, tuple(headers))
    name, content, written = dead_letters.letter(original, Kind.HANDLER_FAILED, ValueError("why"))
    read = dead_letters.read(InputRecord("letters", 0, 0, START_MS, name, content, written))
    assert (read.topic, read.partition, read.offset) == ("some/topic", 3, 41)
    assert (read.key, read.value, read.headers, read.has_value) == (key, value, tuple(headers), True)
    assert dead_letters.resolution_of(written) is None
    assert dead_letters.resolution_of(dead_letters.resolution_headers("redriven")) == "redriven"


def test_a_record_that_is_no_dead_letter_is_refused() -> None:
    with pytest.raises(ValueError, match="no dead letter"):
        dead_letters.read(record(0))


def test_a_header_name_that_is_not_utf_8_is_buried_before_any_handler_sees_it() -> None:
    seen: list[Record] = []
    name = b"a\xff\\".decode("utf-8", "surrogateescape")
    agent = agent_of(lambda _, r: noted(seen, r))
    bad = record(0, headers=((name, b"1"),))
    turn = handled(agent, bad, record(1))
    (letter,) = letters(turn)
    assert (letter.kind, letter.value, letter.headers) == (Kind.UNREADABLE, b"v", (("a\\xff\\", b"1"),))
    assert [r.offset for r in seen] == [1]
    audit = AuditRecord.model_validate_json(turn.batches[OWN.audit, 0][0][1] or b"")
    hashes = record_hash(bad, with_offset=True) + record_hash(record(1), with_offset=True)
    assert audit.input_digest == hashlib.sha256(hashes).hexdigest()


# What a handler may know


def test_a_row_is_seen_with_the_changes_of_the_turn() -> None:
    def count(view: View[bytes, Any], _: Record) -> Sequence[Effect[bytes]]:
        return [Put("n", (view.row("n") or b"") + b"1")] if view.row("n") != b"111" else [Delete("n")]

    driver: LaneDriver[bytes, Any] = LaneDriver(agent_of(count))
    driver.handle([record(n) for n in range(3)])
    assert driver.state.rows["n"].row == b"111"
    turn = driver.handle([record(3), record(4)])
    assert turn.changes["n"] is not None
    assert driver.state.rows["n"].row == b"1"


def test_the_clock_never_runs_backwards() -> None:
    clocks: list[int] = []
    agent = agent_of(lambda view, _: noted(clocks, view.clock_ms))
    handled(agent, *[InputRecord(IN, 0, n, at, None, b"") for n, at in enumerate([5, 9, 7, 9, 11])])
    assert clocks == [5, 9, 9, 9, 11]


def test_entropy_is_one_for_a_record_and_another_for_the_next_and_for_another_draw() -> None:
    drawn: list[tuple[bytes, bytes]] = []
    agent = agent_of(lambda view, _: noted(drawn, (view.entropy(), view.entropy())))
    for draw in (b"1" * 32, b"1" * 32, b"2" * 32):
        LaneDriver(agent, draw=dict.fromkeys(range(9), draw).__getitem__).handle([record(0), record(1)])
    assert all(one == other for one, other in drawn)
    assert len({one for one, _ in drawn[:2]}) == 2
    assert drawn[:2] == drawn[2:4]
    assert not {one for one, _ in drawn[4:]} & {one for one, _ in drawn[:4]}


def test_entropy_and_control_are_refused_where_there_are_none() -> None:
    agent = agent_of(lambda *_: ())
    turn = TurnInProgress(agent, 0, LaneState(position=Position({IN: 0})), Bounds({}, {}), b"")
    with pytest.raises(ConfigurationError, match="entropy"):
        turn.entropy()
    with pytest.raises(ConfigurationError, match="control"):
        _ = turn.control


def test_rows_without_a_codec_are_a_dead_letter() -> None:
    (letter,) = letters(handled(agent_of(lambda *_: [Put("a", b"1")], rows=None), record(0)))
    assert "names no codec" in letter.error


def test_measures_are_shown_in_the_order_of_their_records() -> None:
    agent = agent_of(lambda _, r: [Emit(OUT, None, b"", measure=r.offset), Emit(OUT, None, b"")])
    assert handled(agent, *map(record, range(4))).measures == [0, 1, 2, 3]


def test_a_control_record_without_a_value_is_refused() -> None:
    agent = agent_of(lambda *_: (), control=ControlInput("rules", lambda document, _: document, lambda _: 1))
    driver: LaneDriver[Any, Any] = LaneDriver(agent)
    turn = driver.handle([InputRecord("rules", 0, 0, START_MS, None, None)])
    assert [letter.kind for letter in letters(turn)] == [Kind.CONTROL_REFUSED]
    assert driver.state.control is None


def test_a_control_document_that_is_refused_leaves_the_one_in_force() -> None:
    def follow(document: bytes, current: bytes | None) -> bytes:
        if current is not None:
            raise ControlRefusedError("one is enough")
        return document

    agent = agent_of(lambda *_: (), control=ControlInput("rules", follow, lambda _: 7))
    driver: LaneDriver[Any, Any] = LaneDriver(agent)
    driver.handle([InputRecord("rules", 0, n, START_MS, None, str(n).encode()) for n in range(2)])
    assert (driver.state.control, driver.state.control_document) == (b"0", b"0")


# The position and the trail


def test_the_position_is_the_changelogs_last_record_and_names_the_trails_head() -> None:
    turn = handled(agent_of(lambda _, r: [Put(str(r.offset), b"1")]), *map(record, range(3)))
    *rows, last = turn.batches[OWN.changelog, 0]
    assert [out[0] for out in rows] == [b"row:0", b"row:1", b"row:2"]
    assert last[0] == POSITION_KEY
    position = decode_position(last[1] or b"")
    assert position == turn.position
    assert position.offsets == {IN: 3}
    assert position.head == hashlib.sha256(turn.batches[OWN.audit, 0][0][1] or b"").hexdigest()


def test_ranges_of_one_input_that_follow_each_other_are_one() -> None:
    rules_topic = ControlInput("rules", lambda document, _: document, lambda _: 1)
    agent = agent_of(lambda *_: (), control=rules_topic)
    topics = {*agent.inputs, *agent.written}
    bounds = Bounds(dict.fromkeys(topics, 1), dict.fromkeys(topics, 1_000_000))
    turn = TurnInProgress(agent, 0, LaneState(position=Position({IN: 0, "rules": 0})), bounds, bytes(32))
    turn.handle("rules", [InputRecord("rules", 0, 0, START_MS, None, b"1")], 2)
    turn.handle(IN, [record(0), record(1)], 3)
    turn.handle(IN, [record(5)], 6)
    turn.handle("rules", [InputRecord("rules", 0, 2, START_MS, None, b"2")], 3)
    audit = AuditRecord.model_validate_json(turn.finish().batches[OWN.audit, 0][0][1] or b"")
    assert [(r.topic, r.from_, r.to, r.count) for r in audit.inputs] == [
        ("rules", 0, 2, 1),
        (IN, 0, 6, 3),
        ("rules", 2, 3, 1),
    ]


# Properties of a whole lane

values = st.sampled_from([b"1", b"2", b"", None, POISON, HUGE])
arrivals = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), values, st.integers(-50, 300)), min_size=1, max_size=40)
cuts = st.lists(st.integers(1, 7), min_size=40, max_size=40)


RULES_RECORD = InputRecord(NAMES.rules, 0, 0, START_MS, None, rules(1))


class Lane:
    """A driver whose outputs are kept."""

    def __init__(self) -> None:
        self.driver: LaneDriver[Window, Rules] = LaneDriver(windowed_counter(PREFIX, WINDOW_MS))
        self.inbox: list[Record] = []
        self.outputs: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        self.audits: list[bytes] = []
        self.keep(self.driver.handle([RULES_RECORD]))

    def keep(self, turn: Turn[Window, Rules]) -> None:
        for (topic, _), outputs in turn.batches.items():
            for out in outputs:
                self.outputs[topic].append(tuple(out[:3]))
        self.audits.append(turn.batches[NAMES.own.audit, 0][0][1] or b"")

    def take(self, given_arrivals: list[tuple[str, bytes | None, int]], sizes: list[int]) -> None:
        """Handles the arrivals in turns of the given sizes, without firing timers between."""
        now, waiting = START_MS, list[Record]()
        for key, value, later in given_arrivals:
            now += later
            waiting.append(InputRecord(NAMES.inbox, 0, len(self.inbox) + len(waiting), now, key.encode(), value))
        self.inbox += waiting
        for size in sizes:
            batch, waiting = waiting[:size], waiting[size:]
            if batch:
                self.keep(self.driver.handle(batch))
        assert not waiting

    def expire(self) -> None:
        for turn in self.driver.advance(START_MS + 1_000_000):
            self.keep(turn)


@settings(max_examples=60, deadline=None)
@given(arrivals, cuts)
def test_a_lane_says_what_an_independent_fold_comes_to(
    given_arrivals: list[tuple[str, bytes | None, int]], sizes: list[int]
) -> None:
    lane = Lane()
    lane.take(given_arrivals, sizes)
    folded = fold([RULES_RECORD, *lane.inbox], WINDOW_MS)
    stored = {(s.row.key, s.row.opens_ms): s.row.count for s in lane.driver.state.rows.values()}
    assert stored == dict(folded.counts)
    lane.expire()
    said = [InputRecord("", 0, 0, 0, None, value) for _, value, _ in lane.outputs[NAMES.counts]]
    assert sorted(said_counts(said)) == sorted(folded.counts.items())
    assert lane.driver.state.rows == {}
    assert len(lane.outputs[NAMES.echoes]) == len(folded.echoed)
    buried = [out[0].decode() for out in lane.outputs[NAMES.own.dead_letters]]
    assert buried == [f"{NAMES.inbox}/0/{offset}" for offset in sorted(folded.failed)]


@settings(max_examples=60, deadline=None)
@given(arrivals, cuts)
def test_how_records_fall_into_turns_changes_neither_outputs_nor_rows(
    given_arrivals: list[tuple[str, bytes | None, int]], sizes: list[int]
) -> None:
    one, many = Lane(), Lane()
    one.take(given_arrivals, [len(given_arrivals)])
    many.take(given_arrivals, sizes)
    for topic in (NAMES.echoes, NAMES.own.dead_letters):
        assert one.outputs[topic] == many.outputs[topic]
    assert {k: (s.row, s.due_ms) for k, s in one.driver.state.rows.items()} == {
        k: (s.row, s.due_ms) for k, s in many.driver.state.rows.items()
    }
    assert _but_for_turns(one.driver.state.position) == _but_for_turns(many.driver.state.position)


def _but_for_turns(position: Position | None) -> Position:
    assert position is not None
    return replace(position, seq=0, head="")


@settings(max_examples=40, deadline=None)
@given(arrivals, cuts)
def test_equal_draws_and_inputs_give_equal_bytes(
    given_arrivals: list[tuple[str, bytes | None, int]], sizes: list[int]
) -> None:
    one, other = Lane(), Lane()
    for lane in (one, other):
        lane.take(given_arrivals, sizes)
        lane.expire()
    assert one.outputs == other.outputs
    assert one.driver.state.position == other.driver.state.position


@settings(max_examples=40, deadline=None)
@given(arrivals, cuts)
def test_the_trail_is_a_chain_of_contiguous_ranges(
    given_arrivals: list[tuple[str, bytes | None, int]], sizes: list[int]
) -> None:
    lane = Lane()
    lane.take(given_arrivals, sizes)
    lane.expire()
    head, at = "0" * 64, dict[str, int]()
    for number, value in enumerate(lane.audits, 1):
        turn = AuditRecord.model_validate_json(value)
        assert (turn.seq, turn.previous) == (number, head)
        for part in turn.inputs:
            assert part.from_ == at.get(part.topic, 0)
            assert part.to - part.from_ == part.count
            at[part.topic] = part.to
        head = hashlib.sha256(value).hexdigest()
    position = lane.driver.state.position
    assert position is not None
    assert (position.offsets, position.head, position.seq) == (at, head, len(lane.audits))


# Timers


def timed(due_ms: int) -> LaneDriver[bytes, Any]:
    """A lane whose records each put a row with a timer; the timer's handler says so and keeps the row."""

    def handle(_: View[bytes, Any], given_record: Record) -> Sequence[Effect[bytes]]:
        key = (given_record.key or b"").decode()
        return [Delete(key)] if given_record.value == b"delete" else [Put(key, b"row", due_ms)]

    def fire(_: View[bytes, Any], key: str, __: bytes) -> Sequence[Effect[bytes]]:
        return [Emit(OUT, key.encode(), b"fired")]

    return LaneDriver(agent_of(handle, on_timer=fire))


def test_a_timer_fires_once_at_its_time_and_its_row_stays_without_one() -> None:
    driver = timed(START_MS + 100)
    driver.handle([record(0)])
    assert driver.advance(START_MS + 99) == []
    fired = [out for turn in driver.advance(START_MS + 100) for out in turn.batches.get((OUT, 0), ())]
    assert [out[0] for out in fired] == [b"k"]
    assert driver.state.rows["k"][:2] == (b"row", None)
    assert driver.advance(START_MS + 10_000) == []


def test_a_timer_of_an_earlier_version_of_its_row_does_nothing() -> None:
    driver = timed(START_MS + 100)
    driver.handle([record(0)])
    version = driver.state.rows["k"].version
    driver.handle([record(1)])
    stale = orjson.dumps({"v": 1, "version": version, "due": START_MS + 100})
    turn = driver.handle([InputRecord(IN, 0, 2, START_MS + 200, b"k", stale, ((TIMER, b"1"),))])
    assert (OUT, 0) not in turn.batches
    assert turn.changes == {}


def test_a_timer_that_comes_before_its_time_is_armed_again() -> None:
    driver = timed(START_MS + 100)
    driver.handle([record(0)])
    value = orjson.dumps({"v": 1, "version": driver.state.rows["k"].version, "due": START_MS + 100})
    early = InputRecord(IN, 0, 1, START_MS + 60, b"k", value, ((TIMER, b"1"),))
    turn = driver.handle([early])
    assert turn.rearmed == [("k", 40)]
    assert (OUT, 0) not in turn.batches
    assert driver.advance(START_MS + 100)


def test_a_row_deleted_after_its_early_timer_in_one_turn_arms_nothing() -> None:
    driver = timed(START_MS + 100)
    driver.handle([record(0)])
    value = orjson.dumps({"v": 1, "version": driver.state.rows["k"].version, "due": START_MS + 100})
    early = InputRecord(IN, 0, 1, START_MS + 60, b"k", value, ((TIMER, b"1"),))
    driver.handle([early, InputRecord(IN, 0, 2, START_MS + 61, b"k", b"delete")])
    assert driver.advance(START_MS + 1_000) == []


def test_a_timers_record_that_is_damaged_is_a_dead_letter() -> None:
    driver = timed(START_MS + 100)
    driver.handle([record(0)])
    for offset, value in enumerate((None, b"", b"{}", b"[]", b'{"version":"x"}'), 1):
        turn = driver.handle([InputRecord(IN, 0, offset, START_MS + 200, b"k", value, ((TIMER, b"1"),))])
        assert (OUT, 0) not in turn.batches
        assert turn.changes == {}


def test_a_deleted_rows_timer_never_fires() -> None:
    driver = timed(START_MS + 100)
    driver.handle([record(0), record(1, b"delete")])
    assert driver.advance(START_MS + 1_000) == []
