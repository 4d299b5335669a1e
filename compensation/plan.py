"""A definition made ready to run: what the state machine asks of it, answered at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compensation import graph
from compensation.definition import (
    DEFAULT_RETRY,
    DEFAULT_TIMEOUTS,
    Kind,
    Node,
    Retry,
    RunIf,
    Timeouts,
    WorkflowDefinition,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedNode:
    """One node as the state machine sees it. `undo_retries` and `undo_timeouts` are None where nothing undoes it."""

    id: str
    kind: Kind = Kind.ACTIVITY
    dependencies: tuple[str, ...] = ()
    dependents: tuple[str, ...] = ()
    optional: bool = False
    pivot: bool = False
    all_settled: bool = False
    retry: Retry = DEFAULT_RETRY
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    undo_retries: int | None = None
    undo_timeouts: Timeouts | None = None
    wait_ms: int | None = None

    @property
    def has_undo(self) -> bool:
        """Whether a compensation is registered for it."""
        return self.undo_timeouts is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A graph that has been checked.

    A failing compensation is tried again after `undo_pause_ms`, twice that and so on, then slowly for `slow_undo_ms`.
    `skew_ms` is what the clocks of workers may differ by.
    """

    nodes: Mapping[str, PlannedNode]
    parallel_undo: bool = False
    drain_timeout_ms: int = 10_000
    deadline_ms: int | None = None
    undo_pause_ms: int = 1_000
    slow_undo_ms: int = 24 * 3_600_000
    skew_ms: int = 1_000


def planned(definition: WorkflowDefinition) -> Plan:
    """The plan of a durable workflow."""
    after = graph.dependents({node.id: node.dependencies for node in definition.nodes})
    return Plan(
        nodes={node.id: _planned(node, after[node.id]) for node in definition.nodes},
        parallel_undo=definition.parallel_undo,
        drain_timeout_ms=definition.drain_timeout_ms,
        deadline_ms=definition.deadline_ms,
    )


def _planned(node: Node, dependents: Sequence[str]) -> PlannedNode:
    undo = node.compensation
    return PlannedNode(
        id=node.id,
        kind=node.kind,
        dependencies=node.dependencies,
        dependents=tuple(dependents),
        optional=node.optional,
        pivot=node.pivot,
        all_settled=node.run_if is RunIf.ALL_SETTLED,
        retry=node.retry,
        timeouts=node.timeouts,
        undo_retries=undo.max_retries if undo else None,
        undo_timeouts=undo.timeouts if undo else None,
        wait_ms=_wait_ms(node),
    )


def _wait_ms(node: Node) -> int | None:
    if node.approval is not None:
        return node.approval.deadline_ms
    return node.sleep_ms if node.signal is None else node.signal.deadline_ms
