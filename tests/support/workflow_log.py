"""Statuses and events of workflows, made by hand."""

from typing import Any

import orjson

from compensation.definition import Compensation, Node, WorkflowDefinition
from schemas.activity import Direction, Outcome
from schemas.workflow import Attention, EventKind, StepStatus, WorkflowEvent, WorkflowState, WorkflowStatus
from streams.workflows.story import Story

NOW = 1_700_000_100_000
RUN = "0" * 32


def status(**changes: Any) -> WorkflowStatus:  # noqa: ANN401
    fields: dict[str, Any] = {
        "workflow_id": "w",
        "run": RUN,
        "name": "order",
        "definition_digest": "0" * 64,
        "tenant_id": "acme",
        "requested_by": "ada",
        "tags": (),
        "state": WorkflowState.RUNNING,
        "version": 1,
        "nodes": 3,
        "started_ms": NOW - 60_000,
        "changed_ms": NOW - 5_000,
        **changes,
    }
    return WorkflowStatus(**fields)


def attention(node: str | None, found: StepStatus | None, why: str = "no") -> Attention:
    return Attention(node=node, status=found, why=why)


class Log:
    """Events of one workflow, each a version on from the one before."""

    def __init__(self, *nodes: Node, **changes: Any) -> None:  # noqa: ANN401
        definition = WorkflowDefinition.of(name="order", nodes=nodes)
        self.events: list[WorkflowEvent] = []
        document = orjson.loads(definition.canonical())
        self.add(EventKind.STARTED, by="ada", definition=document, input={}, name="order", **changes)

    def add(self, kind: EventKind, **fields: Any) -> "Log":  # noqa: ANN401
        version = len(self.events) + 1
        about = {"workflow_id": "w", "run": RUN, "version": version, "at": NOW + version, "event": kind}
        self.events.append(WorkflowEvent(**{"state": WorkflowState.RUNNING, **about, **fields}))
        return self

    def answered(self, node: str, outcome: Outcome = Outcome.COMPLETED, **fields: Any) -> "Log":  # noqa: ANN401
        about = {"node": node, "direction": Direction.DO, "round": 0, "attempt": 1, "outcome": outcome}
        return self.add(EventKind.ANSWERED, **{**about, **fields})

    @property
    def story(self) -> Story:
        return Story.of(self.events)


def node(id_: str, *dependencies: str, **changes: Any) -> Node:  # noqa: ANN401
    undo = Compensation(name=f"undo_{id_}", activity=f"undo_{id_}")
    return Node(
        **{"id": id_, "name": id_, "activity": f"do_{id_}", "compensation": undo, **changes}, dependencies=dependencies
    )
