"""A workflow run by hand: rows in a dictionary, a clock that is set, and every command kept."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from compensation.definition import Compensation, Node, WorkflowDefinition
from compensation.events import Answered, Ask, Call, Cancel, Command, Due, Event, Operate, Order, Verdict
from compensation.machine import Transition, advance, start
from compensation.plan import Plan, planned
from compensation.rows import NodeRow, WorkflowRow
from compensation.status import StepStatus, WorkflowState
from schemas.activity import Direction, Outcome


def node(id_: str, *dependencies: str, undo: bool = True, **changes: Any) -> Node:  # noqa: ANN401
    fields: dict[str, Any] = {
        "activity": f"do_{id_}",
        "compensation": Compensation(name=f"undo_{id_}", activity=f"undo_{id_}") if undo else None,
        **changes,
    }
    if fields.get("kind", "activity") != "activity":
        fields |= {"activity": None, "compensation": None}
    return Node(id=id_, name=id_, dependencies=dependencies, **fields)


def definition(*nodes: Node, **changes: Any) -> WorkflowDefinition:  # noqa: ANN401
    return WorkflowDefinition.of(name="test", nodes=nodes, **changes)


class Saga:
    """One run. Is its own memory."""

    def __init__(
        self, plan: Plan | WorkflowDefinition, holds: Iterable[str] = (), *, start_is_held: bool = False
    ) -> None:
        self.plan = plan if isinstance(plan, Plan) else planned(plan)
        self.now = 1_000_000
        self.held = frozenset(holds)
        self.nodes: dict[str, NodeRow] = {}
        self.row = WorkflowRow(open=0)
        self.commands: list[Command] = []
        self.history: list[tuple[str, StepStatus]] = []
        self._take(start(self.plan, self.now, self.held.__contains__, held=start_is_held))

    def workflow(self) -> WorkflowRow:
        return self.row

    def node(self, id_: str) -> NodeRow:
        return self.nodes[id_]

    def send(self, event: Event) -> Transition:
        return self._take(advance(self.plan, self, event, self.now, self.held.__contains__))

    def _take(self, step: Transition) -> Transition:
        for id_, row in step.nodes.items():
            before = self.nodes.get(id_)
            if before is None or before.status is not row.status:
                self.history.append((id_, row.status))
        self.row, self.nodes = step.workflow, {**self.nodes, **step.nodes}
        self.commands += step.commands
        return step

    # What tests say

    def answer(
        self, id_: str, outcome: Outcome = Outcome.COMPLETED, *, undo: bool = False, attempt: int | None = None
    ) -> Transition:
        """The present attempt (or the given one) of the node's present round ends so."""
        row = self.nodes[id_]
        direction = Direction.UNDO if undo else Direction.DO
        round_, current = (row.undo_round, row.undo_attempt) if undo else (row.round, row.attempt)
        return self.send(Answered(id_, direction, round_, attempt or current, outcome, error=outcome.value))

    def undo(self, id_: str, outcome: Outcome = Outcome.COMPLETED) -> Transition:
        return self.answer(id_, outcome, undo=True)

    def cancel(self) -> Transition:
        return self.send(Cancel("cancelled"))

    def verdict(self, id_: str | None, *, approved: bool) -> Transition:
        return self.send(Verdict(id_, approved, "said so"))

    def order(self, id_: str, order: Order) -> Transition:
        return self.send(Operate(id_, order, self.row.version))

    def pass_time(self, ms: int) -> None:
        """Lets the time pass, each timer firing at its moment."""
        until = self.now + ms
        while (due := min(self.timers().values(), default=until + 1)) <= until:
            self.now = max(self.now, due)
            before = self.timers()
            for id_ in [id_ for id_, at in before.items() if at <= self.now]:
                self.send(Due(id_))
            assert self.timers() != before, f"timers fire without effect: {before} {self.row} {self.nodes}"
        self.now = until

    def timers(self) -> dict[str | None, int]:
        found: dict[str | None, int] = {id_: row.due for id_, row in self.nodes.items() if row.due is not None}
        return found if self.row.due is None else {**found, None: self.row.due}

    # What tests look at

    @property
    def state(self) -> WorkflowState:
        return self.row.state

    def status(self, id_: str) -> StepStatus:
        return self.nodes[id_].status

    def statuses(self) -> Mapping[str, StepStatus]:
        return {id_: row.status for id_, row in self.nodes.items()}

    def called(self, direction: Direction) -> list[str]:
        return [
            command.node for command in self.commands if isinstance(command, Call) and command.direction is direction
        ]

    @property
    def done(self) -> list[str]:
        return self.called(Direction.DO)

    @property
    def undone(self) -> list[str]:
        return self.called(Direction.UNDO)

    @property
    def asked(self) -> list[str | None]:
        return [command.node for command in self.commands if isinstance(command, Ask)]

    def in_flight(self, direction: Direction) -> list[Call]:
        """Calls whose answer is awaited."""
        wanted = StepStatus.EXECUTING if direction is Direction.DO else StepStatus.COMPENSATING
        last = {c.node: c for c in self.commands if isinstance(c, Call) and c.direction is direction}
        return [call for id_, call in last.items() if self.nodes[id_].status is wanted]


def run_down(saga: Saga, answers: Callable[[Call], Outcome] = lambda _: Outcome.COMPLETED) -> None:
    """Answers every compensation until none is awaited."""
    while calls := saga.in_flight(Direction.UNDO):
        for call in calls:
            saga.undo(call.node, answers(call))
