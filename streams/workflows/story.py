"""What the events of a workflow say together: its graph, and how each node stands."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from compensation.definition import Node, WorkflowDefinition
from compensation.errors import DefinitionError
from schemas.activity import Outcome
from schemas.model import JsonObject
from schemas.workflow import EventKind, Step, StepStatus, WorkflowEvent, WorkflowState
from streams.workflows.moments import TIMERS

_FAILED_BY_TIME = frozenset({"answer", "verdict", "signal"})
_WELL = frozenset({StepStatus.COMPLETED, StepStatus.COMPENSATED})


@dataclass(frozen=True, slots=True)
class NodeView:
    """How a node stands. `attempt` is the last of what it does now, `why` what it last failed by."""

    node: Node
    status: StepStatus = StepStatus.PENDING
    attempt: int = 0
    why: str | None = None


@dataclass(slots=True)
class Story:
    """A workflow as its events tell it. `version` is what an operator's order names, `undone` the order of the undoing.

    Where the events of the start are gone there is no `definition`, and no node is known.
    """

    definition: WorkflowDefinition | None = None
    version: int = 0
    state: WorkflowState = WorkflowState.RUNNING
    nodes: dict[str, NodeView] = field(default_factory=dict[str, NodeView])
    undone: list[str] = field(default_factory=list[str])

    @classmethod
    def of(cls, events: Iterable[WorkflowEvent]) -> "Story":
        """What events say, in their order."""
        story = cls()
        for event in events:
            story.take(event)
        return story

    def take(self, event: WorkflowEvent) -> None:
        """Goes on with one event."""
        if event.definition is not None:
            self._begin(event.definition)
        attempts = {one.node: one.attempt or 0 for one in event.asked if one.step is Step.CALL}
        for id_ in {*event.statuses, *attempts, event.node}:
            view = self.nodes.get(id_ or "")
            if view is not None:
                self.nodes[view.node.id] = _after(view, event, attempts.get(id_))
        self.version, self.state = event.version, event.state
        self.undone += [id_ for id_, status in event.statuses.items() if status is StepStatus.COMPENSATED]

    def _begin(self, definition: JsonObject) -> None:
        try:
            self.definition = WorkflowDefinition.parse(orjson.dumps(definition))
        except DefinitionError:
            return  # of another version of this program
        self.nodes = {node.id: NodeView(node) for node in self.definition.nodes}


def _after(view: NodeView, event: WorkflowEvent, attempt: int | None) -> NodeView:
    status = event.statuses.get(view.node.id, view.status)
    why = None if status in _WELL else _failure(view.node.id, event) or view.why
    return NodeView(view.node, status, view.attempt if attempt is None else attempt, why)


def _failure(id_: str, event: WorkflowEvent) -> str | None:
    """What an event says of a node's failure, if it is about one."""
    if id_ != event.node:
        return None
    if event.event is EventKind.TIMER:
        return TIMERS.get(event.why or "") if event.why in _FAILED_BY_TIME else None
    is_failure = event.event in {EventKind.ANSWERED, EventKind.VERDICT} and event.outcome is not Outcome.COMPLETED
    return event.why if is_failure else None
