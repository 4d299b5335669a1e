"""Whatever happens in whatever order: one attempt at a time for each service, none early, the lowest number first."""

from collections import Counter
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.recovery.machine import Phase
from handlers.recovery.rows import OPENING, PLACES, Breaker, Places, Service, Waiting, timer_key, waiting_key
from handlers.recovery.transitions import TRANSITIONS
from schemas.recovery import RecoveryState
from tests.support.product import HASH, NEXT_HASH
from tests.support.recovered import Recovered, rule

SERVICES = ("a", "b", "c", "d/e", "f")
RULES = {
    "a": rule(priority=3, initial_delay="PT1S"),
    "b": rule(priority=0, health_check=None, strategy="linear_backoff"),
    "c": rule(priority=1, strategy="immediate", max_retry_attempts=2),
    "d/e": rule(priority=1, strategy="manual"),
    "*": rule(priority=2, backoff_multiplier="1.5", max_retry_attempts=3),
}


class Heard(NamedTuple):
    service: str
    state: str
    instance: str
    kind: str
    ttl_s: int


class Answered(NamedTuple):
    service: str
    how: str


class Ordered(NamedTuple):
    service: str
    command: str
    hash: str


class Passes(NamedTuple):
    ms: int


class Published(NamedTuple):
    places: int
    hashes: tuple[str, ...]
    has_rules: bool


services = st.sampled_from(SERVICES)
states = st.sampled_from(["open", "open", "open", "half_open", "closed", "closed"])
kinds = st.sampled_from(["state_change"] * 3 + ["heartbeat", "retired"])
hows = st.sampled_from(["well", "ill", "broke", "untaken", "blocked", "refused", "held", "goes_on"])
steps = st.lists(
    st.builds(Heard, services, states, st.sampled_from(["i", "j"]), kinds, st.sampled_from([1, 60, 3_600]))
    | st.builds(Heard, services, st.just("open"), st.just("i"), st.just("state_change"), st.just(3_600))
    | st.builds(Answered, services, hows)
    | st.builds(Ordered, services, st.sampled_from(["schedule", "approve", "cancel"]), st.just(HASH))
    | st.builds(Passes, st.sampled_from([1, 500, 1_000, 5_000, 60_000, 300_000]))
    | st.builds(
        Published, st.integers(1, 3), st.sampled_from([(HASH,), (HASH, NEXT_HASH), (NEXT_HASH,)]), st.booleans()
    ),
    max_size=60,
)
_SAYS: dict[str, dict[str, object]] = {
    "well": {},
    "ill": {"results": {"check": {"value": False}}},
    "broke": {"state": "compensated", "cause": "it broke"},
    "untaken": {"state": "compensated", "taken": False},
    "blocked": {"state": "running", "attention": [{"node": "recover", "status": "blocked", "why": "unknown"}]},
    "refused": {"state": None, "refused": "unknown_queue: none"},
    "held": {"state": "running", "attention": [{"node": "recover", "status": "waiting", "why": "approval"}]},
    "goes_on": {"state": "running"},
}


class World:
    """One lane, and what must be true of it after each step."""

    def __init__(self) -> None:
        self.lane = Recovered(max_recoveries_at_once=2, recoveries=RULES)
        self.seen = 0

    def take(self, step: object) -> None:
        lane = self.lane
        match step:
            case Heard(service, state, instance, kind, ttl_s):
                lane.breaker(service, state, instance=instance, kind=kind, ttl_s=ttl_s)
            case Answered(service, how):
                lane.answer(service, **_SAYS[how])  # type: ignore[arg-type]  # fields of the answer
            case Ordered(service, command, hash_):
                lane.order(command, service, constitutional_hash=hash_)
            case Passes(ms):
                lane.pass_time(ms)
            case Published(places, hashes, has_rules):
                rules = RULES if has_rules else {"a": RULES["a"]}
                lane.publish(max_recoveries_at_once=places, hashes=hashes, recoveries=rules)
            case _:
                raise AssertionError(step)

    def check(self) -> None:
        self._changes_are_in_the_table()
        self._attempts_are_one_at_a_time_and_never_early()
        self._rows_agree()

    def _changes_are_in_the_table(self) -> None:
        last: dict[str, tuple[RecoveryState, int]] = {}
        for event in self.lane.events:
            before, version = last.get(event.service, (RecoveryState.IDLE, 0))
            assert event.before is before
            assert event.version == version + 1
            assert event.state in TRANSITIONS[before]
            assert event.why
            last[event.service] = event.state, event.version
        for service, (state, version) in last.items():
            status = self.lane.statuses[service]
            assert (status.state, status.version) == (state, version)

    def _attempts_are_one_at_a_time_and_never_early(self) -> None:
        due: dict[str, int] = {}
        for event in self.lane.events:
            if event.state is RecoveryState.SCHEDULED:
                assert event.due is not None
                due[event.service] = event.due
            if event.state is RecoveryState.IN_PROGRESS:
                assert event.at >= due.pop(event.service)
        begun = [event.workflow_id for event in self.lane.events if event.state is RecoveryState.IN_PROGRESS]
        assert begun == [command.workflow_id for command in self.lane.started]
        assert max(Counter(begun).values(), default=1) == 1

    def _rows_agree(self) -> None:
        """What is counted is what is there; whoever is scheduled has a timer, or stands in the line."""
        rows = self.lane.driver.state.rows
        found = {name: stored.row for name, stored in rows.items()}
        breakers = [row for row in found.values() if isinstance(row, Breaker)]
        running, waiting = 0, set[str]()
        for service in SERVICES:
            row = self.lane.row(service)
            own = [one for one in breakers if one.service == service]
            assert row.known == len(own)
            assert row.not_closed == sum(one.state.value != "closed" for one in own)
            if waiting_key(service) in found:
                waiting.add(service)
                assert row.task.state is RecoveryState.SCHEDULED
                assert timer_key(service) not in rows
            elif row.task.state is RecoveryState.SCHEDULED:
                assert rows[timer_key(service)].due_ms == row.task.due
            running += row.task.state is RecoveryState.IN_PROGRESS and row.task.phase is not Phase.HELD
        places = found.get(PLACES, Places())
        assert isinstance(places, Places)
        assert places.running == running
        assert places.scheduled == sum(self.lane.row(one).task.state is RecoveryState.SCHEDULED for one in SERVICES)
        assert self._line(places) == waiting
        policy = self.lane.driver.state.control
        assert policy is not None
        assert OPENING not in found

    def _line(self, places: Places) -> set[str]:
        """Everybody in the line, as the links have it."""
        rows, seen = self.lane.driver.state.rows, list[str]()
        assert [line.priority for line in places.lines] == sorted({line.priority for line in places.lines})
        for line in places.lines:
            at, before = line.first, None
            while True:
                row = rows[waiting_key(at)].row
                assert isinstance(row, Waiting)
                assert (row.priority, row.before) == (line.priority, before)
                seen.append(at)
                if row.after is None:
                    break
                at, before = row.after, at
            assert seen[-1] == line.last
        assert len(seen) == len(set(seen))
        return set(seen)


@given(steps)
@settings(max_examples=300, deadline=None)
def test_no_history_breaks_the_rules(history: list[object]) -> None:
    world = World()
    for step in history:
        world.take(step)
        world.check()


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3_000)), min_size=1, max_size=25),
    st.integers(1, 3),
)
@settings(max_examples=150, deadline=None)
def test_whoever_gets_a_place_has_the_lowest_number_of_those_that_are_due(
    opened: list[tuple[int, int]], places: int
) -> None:
    recoveries = {f"s{n}": rule(priority=priority, initial_delay="PT1S") for n, (priority, _) in enumerate(opened)}
    lane = Recovered(max_recoveries_at_once=places, recoveries=recoveries)
    for number, (_, wait) in enumerate(opened):
        lane.breaker(f"s{number}")
        lane.pass_time(wait)
    for _ in opened:
        for service in list(lane.attempts):
            waits = {one: lane.statuses[one].priority for one in recoveries if _is_due(lane, one)}
            before = len(lane.started)
            lane.answer(service)
            for taken in lane.attempts[before:]:
                assert lane.statuses[taken].priority == min(waits.values())
        lane.pass_time(1_000)
    assert sorted(lane.attempts) == sorted(recoveries)


def _is_due(lane: Recovered, service: str) -> bool:
    row: Service = lane.row(service)
    return row.task.state is RecoveryState.SCHEDULED and row.task.due is not None and row.task.due <= lane.now
