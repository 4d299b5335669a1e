"""Random graphs under random histories: what must hold of every workflow, whatever happens to it."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compensation.definition import Compensation, Node, Retry, RunIf, Timeouts, WorkflowDefinition
from compensation.events import Answered, Call, Cancel, Due, Operate, Order, Pause, Resume
from compensation.status import CLOSED, STEP_TRANSITIONS, StepStatus, WorkflowState
from schemas.activity import Direction, Outcome
from tests.support.saga import Saga

MAX_NODES = 7
ON_A_BUSY_MACHINE = (HealthCheck.too_slow,)
STEPS = 40
DAY_MS = 24 * 3_600_000


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
        if undo:
            changes["compensation"] = Compensation(name=f"u{at}", activity="undo", max_retries=1)
        nodes.append(
            Node(id=f"n{at}", name="n", activity="do", dependencies=[f"n{d}" for d in dependencies], **changes)
        )
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
        match data.draw(st.integers(0, 11), label="what"):
            case 0 | 1 | 2 | 3 | 4 | 5 if calls:
                self.answer(data.draw(st.sampled_from(calls)), data.draw(st.sampled_from(Outcome)))
            case 6 | 7:
                saga.pass_time(data.draw(st.sampled_from([1, 1_000, 5_000, 3_600_000, DAY_MS])))
            case 8:
                saga.send(Cancel("random"))
            case 9:
                saga.send(data.draw(st.sampled_from([Pause(), Resume()])))
            case _:
                node = data.draw(st.sampled_from(sorted(saga.plan.nodes)))
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
            saga.send(Resume())
            for id_ in saga.plan.nodes:
                saga.order(id_, Order.RETRY)
            for direction in Direction:
                for call in saga.in_flight(direction):
                    saga.send(Answered(call.node, direction, call.round, call.attempt, Outcome.COMPLETED))
            saga.pass_time(120_000)
            if saga.state in CLOSED and not saga.timers():
                return
        raise AssertionError(f"it does not end: {saga.row} {saga.nodes}")


def check(saga: Saga) -> None:
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
@given(definitions(), st.data())
def test_whatever_happens_it_ends_and_what_may_have_happened_is_undone(
    definition: WorkflowDefinition, data: st.DataObject
) -> None:
    saga = Saga(definition)
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
@given(definitions(), st.data())
def test_a_timer_never_fires_without_effect_for_ever(definition: WorkflowDefinition, data: st.DataObject) -> None:
    """Every due timer changes its row, so that no timer fires again and again at the same moment."""
    saga = Saga(definition)
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
