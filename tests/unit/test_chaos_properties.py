"""Whatever is ordered in whatever order: nothing is in force for too long, twice, or after an emergency stop."""

from collections import Counter
from datetime import timedelta
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.chaos.deciding import KEEP_ENDED
from schemas.breaker import BreakerEventKind, BreakerState
from schemas.chaos import MAX_DURATION, ChaosState, ChaosStatus
from schemas.policy import ChaosLimits
from streams.chaos.board import ChaosBoard
from streams.engine.records import InputRecord
from tests.support.chaotic import (
    LIMITS,
    MINUTE,
    SECOND,
    T0,
    ChaosDesk,
    chaotic_policy,
    forced,
    order,
    run,
    scenario_id,
    signed,
)

SCENARIOS = 4
LONGEST_MS = int(MAX_DURATION.total_seconds() * 1_000)
POLICIES = (LIMITS, None, ChaosLimits(targets=("agent:*",), max_duration=timedelta(seconds=20)))


class Run(NamedTuple):
    number: int
    duration_s: int
    is_breaker: bool


class Stop(NamedTuple):
    number: int


class StopAll(NamedTuple):
    pass


class Replay(NamedTuple):
    """The command that was given so many before, byte for byte."""

    back: int


class Seconds(NamedTuple):
    count: int


class Epoch(NamedTuple):
    number: int


numbers = st.integers(0, SCENARIOS - 1)
steps = st.lists(
    st.builds(Run, numbers, st.sampled_from([1, 7, 60, 300]), st.booleans())
    | st.builds(Stop, numbers)
    | st.just(StopAll())
    | st.builds(Replay, st.integers(1, 6))
    | st.builds(Seconds, st.sampled_from([1, 6, 59, 301, 4_000]))
    | st.builds(Epoch, st.integers(0, len(POLICIES) - 1)),
    max_size=25,
)


class World:
    """One lane, what was ordered, a board that follows it, and what must be true of all of them."""

    def __init__(self) -> None:
        self.desk = ChaosDesk()
        self.given: list[tuple[bytes, Any]] = []
        self.begun: Counter[str] = Counter()
        self._board = ChaosBoard(now_ms=lambda: self.desk.at_ms, monotonic=lambda: self.desk.at_ms / 1_000)
        self._board.became_whole()
        self._read = 0

    def take(self, step: object) -> None:
        desk = self.desk
        match step:
            case Run(number, _, _) if None in desk.statuses(number):
                return  # an id is not used again
            case Run(number, duration_s, is_breaker):
                command = (forced if is_breaker else run)(number, at_ms=desk.at_ms, duration_ms=duration_s * SECOND)
                self._give(signed(command))
            case Stop(number):
                self._give(signed(order("stop", at_ms=desk.at_ms, scenario_id=scenario_id(number))))
            case StopAll():
                self._give(signed(order("stop_all", at_ms=desk.at_ms)))
            case Replay(back):
                if len(self.given) >= back:
                    self._give(self.given[-back])
            case Seconds(count):
                desk.pass_time(count * SECOND)
            case Epoch(number):
                desk.publish(chaotic_policy((desk.driver.state.control.policy.epoch + 1), POLICIES[number]))  # type: ignore[union-attr]
        self._follow()
        self._check()

    def _give(self, command: tuple[bytes, Any]) -> None:
        self.given.append(command)
        stops = len(self.desk.emergency_stops)
        self.desk.take_bytes(*command)
        if len(self.desk.emergency_stops) > stops:
            assert self._in_force() == []

    def _follow(self) -> None:
        for number, one in enumerate(self.desk.written[self._read :]):
            if one.topic == "t.chaos":
                self._board.take(InputRecord(one.topic, 0, number, self.desk.at_ms, one.key, one.value, ()))
                status = ChaosStatus.model_validate_json(one.value) if one.value and b"in_force" in one.value else None
                self.begun.update([status.scenario_id] if status else [])
        self._read = len(self.desk.written)

    def _in_force(self) -> list[ChaosStatus]:
        known = [self.desk.statuses(number) for number in range(SCENARIOS)]
        return [said[-1] for said in known if said and said[-1] and said[-1].state is ChaosState.IN_FORCE]

    def _check(self) -> None:
        now, in_force = self.desk.at_ms, self._in_force()
        for status in in_force:
            assert status.started_ms <= now < status.until_ms
            assert status.until_ms - status.started_ms <= LONGEST_MS
        assert len(in_force) <= LIMITS.at_once
        assert {one.scenario_id for one in self._board.in_force()} == {one.scenario_id for one in in_force}
        events = Counter((event.instance, event.kind, event.state) for event in self.desk.breakers)
        open_ = {i for i, _, state in events if state is BreakerState.OPEN}
        closed = {i for i, kind, _ in events if kind is BreakerEventKind.STATE_CHANGE} & {
            i for i, _, state in events if state is BreakerState.CLOSED
        }
        retired = {i for i, kind, _ in events if kind is BreakerEventKind.RETIRED}
        assert closed == retired
        assert open_ - retired == {f"chaos.{one.scenario_id}" for one in in_force if one.target == "service:bank"}
        assert retired <= open_
        assert not events or max(events.values()) == 1
        assert not self.begun or max(self.begun.values()) == 1


@settings(deadline=None, max_examples=150)
@given(steps)
def test_nothing_is_in_force_too_long_or_twice_or_after_an_emergency_stop(steps: list[object]) -> None:
    world = World()
    for step in steps:
        world.take(step)


@settings(deadline=None, max_examples=60)
@given(steps)
def test_in_the_end_nothing_is_in_force_and_nothing_is_left(steps: list[object]) -> None:
    world = World()
    for step in steps:
        world.take(step)
    world.take(Seconds(LONGEST_MS // SECOND))
    assert world.desk.rows in ([], ["in-force"], _ended_rows(world.desk))
    world.take(Seconds(int(KEEP_ENDED.total_seconds())))
    assert world.desk.rows in ([], ["in-force"])
    assert all(said[-1] is None for number in range(SCENARIOS) if (said := world.desk.statuses(number)))


def _ended_rows(desk: ChaosDesk) -> list[str]:
    return [row for row in desk.rows if row in {"in-force", "stopped-all"} or row.startswith("scenario/")]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 2 * MINUTE), min_size=1, max_size=8), st.integers(1, 120))
def test_a_command_that_is_replayed_never_begins_a_second_time(pauses: list[int], duration_s: int) -> None:
    desk = ChaosDesk()
    command = signed(run(duration_ms=duration_s * SECOND))
    desk.take_bytes(*command)
    for pause in pauses:
        desk.pass_time(pause)
        desk.take_bytes(*command)
    begun = [status for status in desk.statuses() if status is not None and status.state is ChaosState.IN_FORCE]
    assert [status.started_ms for status in begun] == [T0]
    assert len(desk.reasons) == len(pauses)


class Clocks:
    """A wall clock that is set at will, and one that goes on."""

    def __init__(self) -> None:
        self.wall_ms, self.seconds = float(T0), 0.0


sights = st.lists(
    st.tuples(st.sampled_from(["seen", "ended", "lost", "whole"]), st.integers(0, 200), st.integers(-4_000, 4_000)),
    max_size=20,
)


@settings(deadline=None, max_examples=200)
@given(sights, st.integers(1, 300))
def test_whatever_clocks_and_brokers_do_a_process_never_goes_on_for_longer_than_the_duration(
    sights: list[tuple[str, int, int]], duration_s: int
) -> None:
    clocks = Clocks()
    board = ChaosBoard(now_ms=lambda: clocks.wall_ms, monotonic=lambda: clocks.seconds)
    desk = ChaosDesk()
    desk.take(run(duration_ms=duration_s * SECOND))
    begun = desk.status()
    first_seen, is_said_to_be, is_whole = float("inf"), False, False
    for what, passed_s, jump_s in sights:
        match what:
            case "seen":
                board.put(begun)
                first_seen, is_said_to_be = min(first_seen, clocks.seconds), True
            case "ended":
                board.drop(begun.scenario_id)
                is_said_to_be = False
            case "lost":
                board.lost_sight()
                is_said_to_be = is_whole = False
            case _:
                board.became_whole()
                is_whole = True
        clocks.seconds += passed_s
        clocks.wall_ms += (passed_s + jump_s) * SECOND
        if board.in_force():
            assert is_said_to_be
            assert is_whole
            assert clocks.seconds < first_seen + duration_s
