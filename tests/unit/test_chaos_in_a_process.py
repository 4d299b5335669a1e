"""What a process does of the chaos that is in force: when it is, when it ends, and what it does to turns and calls."""

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry

from compensation.activities import ActivityContext, activity
from handlers.chaos.targets import PROTECTED
from schemas import topics
from schemas.activity import Direction, Outcome
from schemas.chaos import EVERYTHING, ChaosParameters, ChaosState, ChaosStatus, ChaosType
from streams import worker_process
from streams.activities.calling import Answer
from streams.chaos import process as chaos_process
from streams.chaos.board import ChaosBoard
from streams.chaos.calls import CallChaos
from streams.chaos.chance import Chance
from streams.chaos.errors import InjectedError
from streams.chaos.exhaustion import Exhaustion
from streams.chaos.lanes import LaneChaos
from streams.cli import run as running
from streams.engine.records import InputRecord
from streams.metrics import ChaosMeasures
from streams.supervisor import lane_worker
from tests.support.attempts import Runner, command
from tests.support.chaotic import scenario_id
from tests.support.eventually import eventually
from tests.support.product import HASH

T0 = 1_800_000_000_000
AGENT, LANE = "triage", 0
Waiting = Callable[[LaneChaos], Coroutine[Any, Any, None]]


def status(number: int = 0, *, started_ms: int = T0, duration_ms: int = 10_000, **changes: Any) -> ChaosStatus:  # noqa: ANN401
    said = {
        "scenario_id": scenario_id(number),
        "name": "slow",
        "chaos_type": ChaosType.LATENCY,
        "target": f"agent:{AGENT}",
        "duration_ms": duration_ms,
        "blast_radius": (f"agent:{AGENT}",),
        "parameters": ChaosParameters(),
        "requested_by": "olga",
        "reason": "game day",
        "constitutional_hash": HASH,
        "state": ChaosState.IN_FORCE,
        "started_ms": started_ms,
        "until_ms": started_ms + duration_ms,
        **changes,
    }
    return ChaosStatus.model_validate(said)


def now(number: int = 0, **changes: Any) -> ChaosStatus:  # noqa: ANN401
    """A scenario that begins now, by this machine's clock."""
    return status(number, started_ms=int(time.time() * 1_000), **changes)


def ended(one: ChaosStatus) -> ChaosStatus:
    return one.model_copy(update={"state": ChaosState.STOPPED, "ended_ms": one.started_ms + 1})


class Process:
    """A board, and what a process does by it."""

    def __init__(self, board: ChaosBoard | None = None, draws: list[float] | None = None) -> None:
        self.board = board or ChaosBoard()
        self.board.became_whole()
        self.measures = ChaosMeasures(CollectorRegistry())
        chance = Chance(itertools.cycle(draws or [0.0]).__next__)
        self.lanes, self.calls = (
            LaneChaos(self.board, self.measures, chance),
            CallChaos(self.board, self.measures, chance),
        )
        self._offsets = itertools.count()

    def takes(self, *said: ChaosStatus) -> None:
        for one in said:
            self.takes_bytes(one.scenario_id, one.model_dump_json().encode())

    def takes_bytes(self, key: str, value: bytes | None, *, at_ms: int = 0) -> None:
        self.board.take(InputRecord("t.chaos", 0, next(self._offsets), at_ms, key.encode(), value, ()))

    @property
    def names(self) -> list[str]:
        return [one.scenario_id for one in self.board.in_force()]


class Clocks:
    """Two clocks that a test sets."""

    def __init__(self) -> None:
        self.wall_ms, self.monotonic_s = float(T0), 100.0

    def board(self) -> ChaosBoard:
        return ChaosBoard(now_ms=lambda: self.wall_ms, monotonic=lambda: self.monotonic_s)

    def go_on(self, seconds: float) -> None:
        self.wall_ms, self.monotonic_s = self.wall_ms + seconds * 1_000, self.monotonic_s + seconds


# When it is in force


def test_a_machine_whose_clock_is_behind_ends_it_by_the_brokers() -> None:
    clocks = Clocks()
    clocks.wall_ms -= 3_600_000
    process = Process(clocks.board())
    process.takes(status(0), status(1, duration_ms=20_000))
    process.takes_bytes("another", None, at_ms=T0 + 9_999)
    assert process.names == [scenario_id(0), scenario_id(1)]
    process.takes_bytes("another", None, at_ms=T0 + 10_000)
    assert process.names == [scenario_id(1)]
    process.takes(status(0))  # read again, as after a restart
    assert process.names == [scenario_id(1)]


def test_a_scenario_is_in_force_until_its_time_is_over_and_needs_nobody_to_end_it() -> None:
    clocks = Clocks()
    process = Process(clocks.board())
    process.takes(status())
    clocks.go_on(9.999)
    assert process.names == [scenario_id(0)]
    clocks.go_on(0.001)
    assert process.names == []


def test_the_record_of_its_end_ends_it() -> None:
    process = Process(Clocks().board())
    process.takes(status(), ended(status()))
    assert process.names == []


def test_a_deleted_record_ends_it() -> None:
    process = Process(Clocks().board())
    process.takes(status())
    process.takes_bytes(scenario_id(0), None)
    assert process.names == []


def test_nothing_is_in_force_before_all_of_the_topic_has_been_read() -> None:
    clocks = Clocks()
    board = clocks.board()
    process = Process(board)
    board.lost_sight()
    process.takes(status())
    assert process.names == []
    board.became_whole()
    assert process.names == [scenario_id(0)]


class _Unanswered:
    """A follower whose broker is away after it has answered twice."""

    def __init__(self) -> None:
        self.answers = 2

    async def seen(self) -> None:
        self.answers -= 1
        if self.answers < 0:
            await asyncio.Event().wait()


async def test_a_process_that_is_cut_off_from_the_broker_loses_sight_of_what_is_in_force(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert timedelta(seconds=10) == chaos_process.LOOK_EVERY + chaos_process.SIGHT
    monkeypatch.setattr(chaos_process, "LOOK_EVERY", timedelta(milliseconds=20))
    monkeypatch.setattr(chaos_process, "SIGHT", timedelta(milliseconds=100))
    process, follower = Process(), _Unanswered()
    process.takes(now())
    keeping = asyncio.create_task(chaos_process.keep_sight(follower, process.board))  # type: ignore[arg-type]
    await eventually(lambda: follower.answers < 0)
    assert process.names == [scenario_id(0)]
    assert "nothing was read of it" in str(await keeping)
    assert process.names == []


def test_while_the_topic_cannot_be_followed_nothing_is_in_force() -> None:
    clocks = Clocks()
    process = Process(clocks.board())
    process.takes(status())
    process.board.lost_sight()
    process.board.became_whole()
    assert process.names == []


def test_a_clock_that_is_behind_makes_nothing_last_longer_than_its_duration_from_when_it_was_seen() -> None:
    clocks = Clocks()
    clocks.wall_ms -= 3_600_000
    process = Process(clocks.board())
    process.takes(status())
    clocks.go_on(9.9)
    assert process.names == [scenario_id(0)]
    clocks.go_on(0.2)
    assert process.names == []


def test_a_clock_that_is_set_back_meanwhile_changes_nothing() -> None:
    clocks = Clocks()
    process = Process(clocks.board())
    process.takes(status())
    clocks.wall_ms -= 3_600_000
    clocks.monotonic_s += 10
    assert process.names == []


def test_reading_it_again_makes_nothing_last_longer() -> None:
    clocks = Clocks()
    clocks.wall_ms -= 3_600_000
    process = Process(clocks.board())
    for _ in range(5):
        process.takes(status())
        clocks.go_on(2)
        process.board.lost_sight()
        process.board.became_whole()
    process.takes(status())
    assert process.names == []


def test_what_was_over_when_it_was_first_seen_is_not_in_force() -> None:
    clocks = Clocks()
    clocks.wall_ms += 10_000
    process = Process(clocks.board())
    process.takes(status())
    assert process.names == []


@pytest.mark.parametrize("value", [b"{}", b"no JSON", status().model_dump_json().encode()[:-1] + b',"new":1}'])
def test_what_another_version_wrote_is_not_in_force_here(value: bytes) -> None:
    process = Process(Clocks().board())
    process.takes(status())
    process.takes_bytes(scenario_id(0), value)
    assert process.names == []


def test_the_record_of_an_emergency_stop_needs_no_understanding() -> None:
    process = Process(Clocks().board())
    process.takes(status())
    process.takes_bytes(EVERYTHING, b"whatever")
    assert process.names == [scenario_id(0)]


# Lanes


async def seconds_of(waiting: Coroutine[Any, Any, None]) -> float:
    began = time.monotonic()
    async with asyncio.timeout(30):
        await waiting
    return time.monotonic() - began


async def through_a_turn(lanes: LaneChaos, agent: str = AGENT, lane: int = LANE) -> None:
    await lanes.before_turn(agent, lane)
    await lanes.reach_broker(agent, lane)
    await lanes.before_commit(agent, lane)
    await lanes.after_commit(agent, lane)


async def test_latency_holds_a_turn_up() -> None:
    process = Process()
    process.takes(now(parameters=ChaosParameters(latency_ms=200)))
    assert await seconds_of(through_a_turn(process.lanes)) >= 0.2


async def test_a_stop_lets_a_turn_go_that_is_held_up() -> None:
    process = Process()
    slow = now(parameters=ChaosParameters(latency_ms=5_000))
    process.takes(slow)
    asyncio.get_running_loop().call_later(0.1, process.takes, ended(slow))
    assert await seconds_of(process.lanes.before_turn(AGENT, LANE)) < 3


@pytest.mark.parametrize(("agent", "lane"), [("orchestrator", 0), ("triage", 1)])
async def test_other_lanes_are_not_touched(agent: str, lane: int) -> None:
    process = Process()
    for number, chaos_type in enumerate(ChaosType):
        latency = ChaosParameters(latency_ms=5_000) if chaos_type is ChaosType.LATENCY else ChaosParameters()
        process.takes(now(number, chaos_type=chaos_type, target="lane:triage/0", parameters=latency))
    async with asyncio.timeout(1):
        await through_a_turn(process.lanes, agent, lane)


async def test_a_cut_off_lane_reaches_no_broker_until_it_ends() -> None:
    process = Process()
    cut = now(chaos_type=ChaosType.NETWORK_PARTITION)
    process.takes(cut)
    with pytest.raises(ConnectionError, match="cut lane triage/0 off"):
        await process.lanes.reach_broker(AGENT, LANE)
    with pytest.raises(ConnectionError):
        await process.lanes.before_commit(AGENT, LANE)
    process.takes(ended(cut))
    await through_a_turn(process.lanes)


async def test_error_fails_every_turn_half_of_them_after_their_commit() -> None:
    unlucky, lucky = Process(draws=[0.49]), Process(draws=[0.51])
    for process in (unlucky, lucky):
        process.takes(now(chaos_type=ChaosType.ERROR))
    with pytest.raises(InjectedError):
        await unlucky.lanes.before_commit(AGENT, LANE)
    await lucky.lanes.before_commit(AGENT, LANE)
    with pytest.raises(InjectedError):
        await lucky.lanes.after_commit(AGENT, LANE)


async def test_error_meets_as_many_turns_as_its_probability_says() -> None:
    met = 0
    draws = [(n * 617 % 1_000) / 1_000 for n in range(1_000)]
    process = Process(draws=draws)
    process.takes(now(chaos_type=ChaosType.ERROR, parameters=ChaosParameters(probability_percent=30)))
    for _ in range(2_000):
        try:
            await process.lanes.before_commit(AGENT, LANE)
            await process.lanes.after_commit(AGENT, LANE)
        except InjectedError:
            met += 1
    assert met / 2_000 == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("hook", ["before_commit", "after_commit"])
async def test_timeout_keeps_a_commit_until_its_deadline(hook: str) -> None:
    process = Process()
    process.takes(now(chaos_type=ChaosType.TIMEOUT))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await getattr(process.lanes, hook)(AGENT, LANE)


async def test_a_stop_lets_a_commit_go_that_is_kept() -> None:
    process = Process()
    stuck = now(chaos_type=ChaosType.TIMEOUT)
    process.takes(stuck)
    asyncio.get_running_loop().call_later(0.1, process.takes, ended(stuck))
    assert await seconds_of(process.lanes.before_commit(AGENT, LANE)) < 3


async def test_with_nothing_in_force_nothing_waits_and_nothing_is_counted() -> None:
    process = Process()
    async with asyncio.timeout(1):
        for _ in range(10_000):
            await through_a_turn(process.lanes)


# Calls

CALLED: list[str] = []


@activity
async def pay(context: ActivityContext) -> str:
    CALLED.append(context.workflow_id)
    return "receipt"


def met(process: Process, *, chaos_type: ChaosType, target: str = "activity:pay", **changes: Any) -> ChaosStatus:  # noqa: ANN401
    one = now(chaos_type=chaos_type, target=target, **changes)
    process.takes(one)
    return one


async def call(process: Process, **changes: Any) -> Answer | None:  # noqa: ANN401
    CALLED.clear()
    return await Runner(pay, disturbance=process.calls).run(command("pay", **changes))


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("target", ["activity:pay", "queue:default"])
@pytest.mark.parametrize("chaos_type", [ChaosType.ERROR, ChaosType.CIRCUIT_BREAKER])
async def test_a_call_that_is_refused_is_not_made_and_answered_as_never_started(
    chaos_type: ChaosType, target: str, direction: Direction
) -> None:
    process = Process()
    met(process, chaos_type=chaos_type, target=target)
    answer = await call(process, direction=direction)
    assert answer is not None
    assert answer.outcome is Outcome.NEVER_STARTED
    assert "chaos 'slow'" in (answer.error or "")
    assert CALLED == []


async def test_a_refused_call_claims_nothing_where_another_worker_may_have_begun_it() -> None:
    process = Process()
    met(process, chaos_type=ChaosType.ERROR)
    answer = await Runner(pay, disturbance=process.calls).run(command("pay"), may_have_begun=True)
    assert answer is not None
    assert answer.outcome is Outcome.FAILED


@pytest.mark.parametrize("target", ["activity:other", "queue:other"])
async def test_other_calls_are_not_touched(target: str) -> None:
    process = Process()
    met(process, chaos_type=ChaosType.ERROR, target=target)
    answer = await call(process)
    assert answer is not None
    assert (answer.outcome, CALLED) == (Outcome.COMPLETED, ["order-0"])


async def test_a_call_that_is_held_up_is_made_late() -> None:
    process = Process()
    met(process, chaos_type=ChaosType.LATENCY, parameters=ChaosParameters(latency_ms=200))
    began = time.monotonic()
    answer = await call(process)
    assert time.monotonic() - began >= 0.2
    assert answer is not None
    assert (answer.outcome, len(CALLED)) == (Outcome.COMPLETED, 1)


async def test_a_call_that_is_held_up_until_it_is_too_late_is_not_made() -> None:
    process = Process()
    met(process, chaos_type=ChaosType.LATENCY, parameters=ChaosParameters(latency_ms=300))
    answer = await call(process, not_after=int(time.time() * 1_000) + 100)
    assert answer is not None
    assert (answer.outcome, CALLED) == (Outcome.NEVER_STARTED, [])


async def test_a_call_that_times_out_is_not_made_and_fails_at_its_deadline() -> None:
    process = Process()
    met(process, chaos_type=ChaosType.TIMEOUT)
    answer = await call(process, start_to_close_ms=200)
    assert answer is not None
    assert (answer.outcome, answer.error, CALLED) == (Outcome.FAILED, "no end within 200 ms", [])


async def test_a_stop_lets_a_call_be_made_after_all() -> None:
    process = Process()
    stuck = met(process, chaos_type=ChaosType.TIMEOUT)
    asyncio.get_running_loop().call_later(0.1, process.takes, ended(stuck))
    answer = await call(process)
    assert answer is not None
    assert (answer.outcome, len(CALLED)) == (Outcome.COMPLETED, 1)


# Memory and processor


def exhausting(*residents: str, **changes: Any) -> tuple[Process, Exhaustion, ChaosStatus]:  # noqa: ANN401
    process = Process()
    parameters = ChaosParameters(memory_mib=40, cpu_percent=40)
    radius = ("agent:triage", "agent:orchestrator")
    full = now(
        chaos_type=ChaosType.RESOURCE_EXHAUSTION, **{"parameters": parameters, "blast_radius": radius, **changes}
    )
    return process, Exhaustion(process.board, process.measures, residents), full


async def test_memory_is_held_while_the_loop_lives_and_let_go_at_the_end() -> None:
    process, exhaustion, full = exhausting("agent:triage", "agent:orchestrator", "agent:chaos", "agent:gateway-chaos")
    running = asyncio.create_task(exhaustion.run())
    try:
        process.takes(full)
        await eventually(lambda: exhaustion.held_mib == 40)
        process.takes(ended(full))
        await eventually(lambda: exhaustion.held_mib == 0)
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_processor_is_burnt_in_part_and_the_loop_lives() -> None:
    process, exhaustion, full = exhausting("agent:triage", parameters=ChaosParameters(cpu_percent=50))
    process.takes(full)
    running = asyncio.create_task(exhaustion.run())
    before, began, rounds = time.process_time(), time.monotonic(), 0
    while (lasted := time.monotonic() - began) < 1:
        await asyncio.sleep(0.001)
        rounds += 1
    burnt = time.process_time() - before
    running.cancel()
    await asyncio.wait([running])
    assert 0.05 < burnt / lasted < 0.9
    assert rounds > 20


@pytest.mark.parametrize(
    "residents", [("agent:triage", "agent:deliberation"), ("agent:orchestrator",), ("agent:triage", "queue:audit")]
)
async def test_a_process_is_not_touched_where_the_radius_leaves_out_what_runs_there(residents: tuple[str, ...]) -> None:
    process, exhaustion, full = exhausting(*residents)
    process.takes(full)
    running = asyncio.create_task(exhaustion.run())
    for _ in range(100):
        await asyncio.sleep(0)
    held = exhaustion.held_mib
    running.cancel()
    await asyncio.wait([running])
    assert held == 0


async def test_several_scenarios_together_hold_no_more_than_the_bound() -> None:
    process, exhaustion, _ = exhausting("agent:triage")
    half = ChaosParameters(memory_mib=512)
    for number in range(3):
        process.takes(now(number, chaos_type=ChaosType.RESOURCE_EXHAUSTION, parameters=half))
    running = asyncio.create_task(exhaustion.run())
    try:
        await eventually(lambda: exhaustion.held_mib == 512)
        for _ in range(20):
            await asyncio.sleep(0)
        assert exhaustion.held_mib == 512
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert exhaustion.held_mib == 0


# Who lets chaos in


def test_only_a_worker_that_is_started_with_chaos_lets_it_in() -> None:
    assert "--chaos" not in lane_worker("triage")(1)
    assert lane_worker("triage", chaos=True)(1) == (
        *("-m", "streams.worker_process", "--with-parent", "--chaos"),
        *("--number", "1", "triage"),
    )


def started(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[Result, list[list[str]]]:
    """What `acgs run` says, and the arguments of the processes it would start."""
    found: list[list[str]] = []

    def supervisor(arguments: Callable[[int], Sequence[str]], *, workers: int) -> None:
        found.append([*arguments(0), str(workers)])

    async def until_stopped(*_: None) -> None:
        pass

    monkeypatch.setattr(running, "Supervisor", supervisor)
    monkeypatch.setattr(running, "_until_stopped", until_stopped)
    monkeypatch.setenv("ACGS_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    return CliRunner().invoke(running.run, arguments), found


@pytest.mark.parametrize(
    ("agents", "words"),
    [
        (("triage", "chaos", "gateway-decisions"), "chaos, gateway-decisions"),
        (("gateway-chaos",), "gateway-chaos"),
        (("health-table",), "health-table"),
    ],
)
def test_what_chaos_is_never_done_to_is_not_started_with_it(
    monkeypatch: pytest.MonkeyPatch, agents: tuple[str, ...], words: str
) -> None:
    told, found = started(monkeypatch, "--chaos", *agents)
    assert (told.exit_code, found) == (2, [])
    assert words in told.output
    assert started(monkeypatch, *agents)[0].exit_code == 0


def test_all_agents_with_chaos_are_all_but_the_protected_ones_which_run_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    told, (chaotic, apart, health) = started(monkeypatch, "--chaos", "--workers", "3")
    assert told.exit_code == 0
    assert "--chaos" in chaotic
    assert "--chaos" not in apart
    assert {one for one in apart if one in topics.LANE_AGENTS} == {"chaos", "gateway-chaos", "gateway-decisions"}
    assert {one for one in (*chaotic, *apart) if one in topics.LANE_AGENTS} == {*topics.LANE_AGENTS}
    assert not {*chaotic} & PROTECTED.keys()
    assert (apart[apart.index("--number") + 1], health[-2:]) == ("3", ["4", "1"])


@pytest.mark.parametrize("agents", [(), ("triage", "chaos")])
def test_a_worker_refuses_to_run_what_is_protected_with_chaos(
    capsys: pytest.CaptureFixture[str], agents: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        worker_process.main(["--chaos", *agents])
    assert "chaos" in capsys.readouterr().err
