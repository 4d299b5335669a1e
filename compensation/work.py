"""One step of the state machine while it is made: rows as they will be, and what is asked for."""

from collections.abc import Callable
from typing import Any

from compensation.errors import TransitionError
from compensation.events import Command
from compensation.plan import Plan
from compensation.rows import Memory, NodeRow, WorkflowRow, changed
from compensation.status import STEP_TRANSITIONS, WORKFLOW_TRANSITIONS, StepStatus, WorkflowState

Holds = Callable[[str], bool]
"""Whether the next call of a node must wait for a release, by what it would do."""


class Work:
    """The rows that differ, over those that are remembered. Checks every transition against the tables."""

    __slots__ = ("changed", "commands", "holds", "memory", "now", "plan", "row")

    def __init__(self, plan: Plan, memory: Memory, now_ms: int, holds: Holds) -> None:
        self.plan, self.memory, self.now, self.holds = plan, memory, now_ms, holds
        self.row: WorkflowRow = memory.workflow()
        self.changed: dict[str, NodeRow] = {}
        self.commands: list[Command] = []

    def node(self, id_: str) -> NodeRow:
        """The row of a node, with this step's changes."""
        return self.changed.get(id_) or self.memory.node(id_)

    def put(self, id_: str, **changes: Any) -> NodeRow:  # noqa: ANN401  # fields of a NodeRow
        """Changes a node's row.

        Raises:
            TransitionError: its status cannot follow the one before.
        """
        before = self.node(id_)
        after = self.changed[id_] = changed(before, changes)
        if after.status is not before.status and after.status not in STEP_TRANSITIONS[before.status]:
            raise TransitionError(f"node {id_}: {before.status.value} cannot become {after.status.value}")
        return after

    def become(self, state: WorkflowState) -> None:
        """Changes the state of the whole.

        Raises:
            TransitionError: it cannot follow the one before.
        """
        if state is self.row.state:
            return
        if state not in WORKFLOW_TRANSITIONS[self.row.state]:
            raise TransitionError(f"the workflow: {self.row.state} cannot become {state}")
        self.row = self.row._replace(state=state)

    def count(self, **changes: int) -> None:
        """Adds to counters of the whole."""
        row = self.row
        self.row = changed(row, {name: getattr(row, name) + by for name, by in changes.items() if by})

    @property
    def goes_on(self) -> bool:
        """Whether nodes are still commanded."""
        return self.row.state in _GOING_ON

    @property
    def is_forward(self) -> bool:
        """Whether the workflow has not begun to fail."""
        return not self.row.failing

    def fail(self, id_: str, error: str | None) -> StepStatus:
        """The node's forward call has failed for good: notes it, and returns the status that it has by that."""
        status = StepStatus.NO_EFFECT
        if self.node(id_).happened:
            status = StepStatus.UNKNOWN if self.plan.nodes[id_].has_undo else StepStatus.FAILED
        self.put(id_, status=status, awaits=None, due=None, error=error)
        self.count(unknown=int(status is StepStatus.UNKNOWN))
        return status

    def stack(self, id_: str) -> dict[str, object]:
        """Numbers a completion and lays it on those before; returns what the node's row has to say of it."""
        before, self.row = self.row.top, self.row._replace(top=id_)
        self.count(completions=1)
        return {"completed": self.row.completions, "before": before}


_GOING_ON = frozenset({WorkflowState.RUNNING, WorkflowState.PARKED_FORWARD})
