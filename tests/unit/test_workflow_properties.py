"""Random graphs under random histories: what must hold of every workflow, whatever happens to it."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compensation.definition import (
    Approval,
    Compensation,
    Kind,
    Node,
    Retry,
    RunIf,
    SignalWait,
    Timeouts,
    WorkflowDefinition,
)
from compensation.events import Answered, Call, Cancel, Due, Operate, Order, Pause, Resume, Signal, Verdict
from compensation.status import CLOSED, STEP_TRANSITIONS, StepStatus, WorkflowState
from schemas.activity import Direction, Outcome
from tests.support.saga import Saga

MAX_NODES = 7
ON_A_BUSY_MACHINE = (HealthCheck.too_slow,)
STEPS = 40
KINDS = (Kind.ACTIVITY,) * 5 + (Kind.APPROVAL, Kind.SLEEP, Kind.SIGNAL)
WAITING_FOR: dict[Kind, dict[str, Any]] = {
    Kind.APPROVAL: {"approval": Approval(tier="high", deadline_ms=50_000)},
    Kind.SLEEP: {"sleep_ms": 1_500},
    Kind.SIGNAL: {"signal": SignalWait(deadline_ms=50_000)},
}
DAY_MS = 24 * 3_600_000


@st.composite
def sagas(draw: st.DrawFn) -> Saga:
    """A run, of which some calls are too dangerous to go on at once, or the start is."""
    definition = draw(definitions())
    held = draw(st.lists(st.sampled_from([node.id for node in definition.nodes]), unique=True, max_size=2))
    return Saga(definition, held, start_is_held=draw(st.integers(0, 9)) == 0)


@st.composite
def definitions(draw: st.DrawFn) -> WorkflowDefinition:
    count = draw(st.integers(1, MAX_NODES))
    nodes: list[Node] = []
    for at in range(count):
        pivot = draw(st.integers(0, 9)) == 0
        undo = not pivot and draw(st.integers(0, 4)) > 0
        dependencies = draw(st.lists(st.sampled_from(range(at)), unique=True, max_size=3)) if at else []
        changes: dict[str, Any] = {
            "optional": not pivot and draw(st.integers(0, 5)) == 0,
            "pivot": pivot,
            "run_if": draw(st.sampled_from(RunIf)),
            "retry": Retry(attempts=draw(st.integers(1, 3))),
            "timeouts": Timeouts(schedule_to_start_ms=2_000, start_to_close_ms=2_000),
        }
        kind = draw(st.sampled_from(KINDS))
        if kind is Kind.ACTIVITY:
            changes["activity"] = "do"
        else:
            changes |= {"kind": kind, **WAITING_FOR[kind]}
        if undo and kind is Kind.ACTIVITY:
            changes["compensation"] = Compensation(name=f"u{at}", activity="undo", max_retries=1)
        nodes.append(Node(id=f"n{at}", name="n", dependencies=[f"n{d}" for d in dependencies], **changes))
    return WorkflowDefinition.of(
        name="random", nodes=nodes, parallel_undo=draw(st.booleans()), drain_timeout_ms=3_000, deadline_ms=None
    )


class World:
    """Workers, a network and operators that do anything at all. Knows what really happened."""

    def __init__(self, saga: Saga) -> None:
        self.saga = saga
        self.effects: dict[str, int] = {}
        """How often each forward call took effect without having been undone since."""

    def random_step(self, data: st.DataObject) -> None:
        saga = self.saga
        calls = [command for command in saga.commands if isinstance(command, Call)]
        node = data.draw(st.sampled_from(sorted(saga.plan.nodes)))
        match data.draw(st.integers(0, 14), label="what"):
            case 0 | 1 | 2 | 3 | 4 | 5 if calls:
                self.answer(data.draw(st.sampled_from(calls)), data.draw(st.sampled_from(Outcome)))
            case 6 | 7:
                saga.pass_time(data.draw(st.sampled_from([1, 1_000, 5_000, 3_600_000, DAY_MS])))
            case 8:
                saga.send(Cancel("random"))
            case 9:
                saga.send(data.draw(st.sampled_from([Pause(), Resume()])))
            case 10:
                saga.send(Signal(node))
            case 11 | 12:
                about = data.draw(st.sampled_from([node, None]))
                saga.send(Verdict(about, approved=data.draw(st.booleans()), why="random"))
            case _:
                saga.send(Operate(node, data.draw(st.sampled_from(Order)), saga.row.version))

    def answer(self, call: Call, outcome: Outcome) -> None:
        saga, late = self.saga, self.saga.now > call.not_after
        row = saga.nodes[call.node]
        if late and call.direction is Direction.DO and row.last_start != call.not_after:
            outcome = Outcome.NEVER_STARTED
        saga.send(Answered(call.node, call.direction, call.round, call.attempt, outcome))

    def let_it_end(self) -> None:
        """From now on every call succeeds and operators retry what is parked."""
        saga = self.saga
        for _ in range(200):
            saga.verdict(None, approved=True)
            saga.send(Resume())
            for id_ in saga.plan.nodes:
                saga.verdict(id_, approved=True)
                saga.send(Signal(id_))
                saga.order(id_, Order.RETRY)
            for direction in Direction:
                for call in saga.in_flight(direction):
                    saga.send(Answered(call.node, direction, call.round, call.attempt, Outcome.COMPLETED))
            saga.pass_time(120_000)
            if saga.state in CLOSED and not saga.timers():
                return
        raise AssertionError(f"it does not end: {saga.row} {saga.nodes}")


def check(saga: Saga) -> None:
    for call in (command for command in saga.commands if isinstance(command, Call)):
        assert call.direction is Direction.UNDO or call.node not in saga.held or saga.nodes[call.node].released
    assert not (saga.row.held and saga.done)
    undone_before = {c.node for c in saga.commands if isinstance(c, Call) and c.direction is Direction.UNDO}
    commanded = {c.node for c in saga.commands if isinstance(c, Call) and c.direction is Direction.DO}
    assert undone_before <= commanded
    counted = list(saga.nodes.values())
    assert saga.row.flying == sum(row.status is StepStatus.EXECUTING for row in counted)
    assert saga.row.undoing == sum(row.status is StepStatus.COMPENSATING for row in counted)
    assert saga.row.unknown == sum(row.status is StepStatus.UNKNOWN for row in counted)
    assert saga.row.failed_undo == sum(row.status is StepStatus.COMPENSATION_FAILED for row in counted)
    if not saga.plan.parallel_undo and saga.row.failing:
        alone = {id_ for id_, node in saga.plan.nodes.items() if node.optional}
        undoing = {id_ for id_, row in saga.nodes.items() if row.status is StepStatus.COMPENSATING}
        assert len(undoing - alone) <= 1


def check_closed(saga: Saga) -> None:
    """Nothing ends both done and undone, and what may have happened is undone."""
    for id_, row in saga.nodes.items():
        has_undo = saga.plan.nodes[id_].has_undo
        if saga.row.failing and has_undo:
            assert row.status in {StepStatus.COMPENSATED, StepStatus.NO_EFFECT, StepStatus.SKIPPED}, (id_, row)
        if row.happened and has_undo and not saga.row.failing:
            assert row.status in {StepStatus.COMPLETED, StepStatus.COMPENSATED, StepStatus.SKIPPED}, (id_, row)
        assert row.status not in {StepStatus.EXECUTING, StepStatus.COMPENSATING, StepStatus.WAITING}


@settings(max_examples=250, deadline=None, suppress_health_check=ON_A_BUSY_MACHINE)
@given(sagas(), st.data())
def test_whatever_happens_it_ends_and_what_may_have_happened_is_undone(saga: Saga, data: st.DataObject) -> None:
    world = World(saga)
    for _ in range(data.draw(st.integers(0, STEPS))):
        world.random_step(data)
        check(saga)
    world.let_it_end()
    check(saga)
    check_closed(saga)


@settings(max_examples=100, deadline=None, suppress_health_check=ON_A_BUSY_MACHINE)
@given(definitions(), st.data())
def test_undo_runs_in_reverse_of_recorded_completions(definition: WorkflowDefinition, data: st.DataObject) -> None:
    """Without failing compensations and late answers: the order of the undone is the reverse of the completed."""
    saga = Saga(definition)
    for _ in range(data.draw(st.integers(0, MAX_NODES))):
        calls = saga.in_flight(Direction.DO)
        if not calls or saga.row.failing:
            break
        saga.answer(data.draw(st.sampled_from(calls)).node)
    if saga.cancel().refused:
        return
    for call in saga.in_flight(Direction.DO):
        saga.answer(call.node, Outcome.NO_EFFECT)
    completed = {id_: row.completed for id_, row in saga.nodes.items() if row.completed and _has_undo(saga, id_)}
    while calls := saga.in_flight(Direction.UNDO):
        saga.undo(data.draw(st.sampled_from(calls)).node)
    assert saga.state is WorkflowState.COMPENSATED
    in_reverse = sorted(completed, key=lambda id_: -completed[id_])
    if not definition.parallel_undo:
        assert saga.undone == in_reverse
    assert sorted(saga.undone) == sorted(in_reverse)
    position = {id_: at for at, id_ in enumerate(saga.undone)}
    for id_, at in position.items():
        for dependency in saga.plan.nodes[id_].dependencies:
            assert at < position.get(dependency, len(position))


def _has_undo(saga: Saga, id_: str) -> bool:
    return saga.plan.nodes[id_].has_undo


@settings(max_examples=100, deadline=None, suppress_health_check=ON_A_BUSY_MACHINE)
@given(sagas(), st.data())
def test_a_timer_never_fires_without_effect_for_ever(saga: Saga, data: st.DataObject) -> None:
    """Every due timer changes its row, so that no timer fires again and again at the same moment."""
    world = World(saga)
    for _ in range(data.draw(st.integers(0, STEPS))):
        world.random_step(data)
    for id_, due in saga.timers().items():
        saga.now = max(saga.now, due)
        if saga.timers().get(id_) == due:
            saga.send(Due(id_))
            assert saga.timers().get(id_) != due


def test_no_status_leads_nowhere_but_by_the_table() -> None:
    assert set(STEP_TRANSITIONS) == set(StepStatus)
    reachable = {StepStatus.PENDING}
    while (more := reachable | {to for at in reachable for to in STEP_TRANSITIONS[at]}) != reachable:
        reachable = more
    assert reachable == set(StepStatus)
