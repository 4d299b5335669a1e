"""What a workflow remembers: one row for the whole of it and one a node."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeVar

from compensation.status import StepStatus, WorkflowState


class Awaits(StrEnum):
    """What the due time of a node is for."""

    ANSWER = "answer"
    """The end of the attempt in flight."""
    RETRY = "retry"
    VERDICT = "verdict"
    """Of an approval node, until its deadline."""
    RELEASE = "release"
    """Of a call that was scored too dangerous to go on at once."""
    SLEEP = "sleep"
    SIGNAL = "signal"
    """Of a signal node, until its deadline."""
    LAST_START = "last_start"
    """The moment from which on no worker may begin the forward call any more: then it can be undone."""


class NodeRow(NamedTuple):
    """The state of one node.

    `missing` counts the dependencies that have not settled, `unsatisfied` says that one of them did not complete.
    `commanded` and `completed` number first commands and completions in their order, from 1; `before` is the node that
    completed before this one. `happened` says that an attempt may have had an effect; it stays until one succeeds.
    `counted` are the rounds and attempts whose success was taken. `ended` says that the last attempt has answered,
    `lost` that one was given up before it did: it may still succeed. `released` says that the call was approved, or
    that the signal has come. `again` says that the undo in flight must be followed by another. `error` is the last of
    the forward call, `undo_error` of the compensation. Times are in milliseconds since 1970.
    """

    missing: int
    status: StepStatus = StepStatus.PENDING
    unsatisfied: bool = False
    round: int = 0
    attempt: int = 0
    undo_round: int = 0
    undo_attempt: int = 0
    commanded: int = 0
    completed: int = 0
    before: str | None = None
    counted: tuple[tuple[int, int], ...] = ()
    happened: bool = False
    ended: bool = True
    lost: bool = False
    again: bool = False
    released: bool = False
    awaits: Awaits | None = None
    due: int | None = None
    first_at: int | None = None
    last_start: int | None = None
    undo_since: int | None = None
    error: str | None = None
    undo_error: str | None = None


class WorkflowRow(NamedTuple):
    """The state of the whole. Does not grow with the nodes.

    `version` rises with every change: operators name the one they saw. `open` counts nodes that have not settled,
    `flying` forward attempts without an answer, `undoing` nodes that compensate outside of a failing workflow,
    `unknown` nodes to be undone of which it is not known whether they happened, `failed_undo` those parked.
    `pivots` counts pivots that were commanded and may have happened. `failing` says that everything is to be undone,
    `cause` why, and `excepted` that an operator skipped or marked an undo. `held` says that the start as a whole waits
    for an approval.
    """

    open: int
    state: WorkflowState = WorkflowState.RUNNING
    version: int = 0
    started_ms: int = 0
    flying: int = 0
    commands: int = 0
    completions: int = 0
    top: str | None = None
    unknown: int = 0
    undoing: int = 0
    failed_undo: int = 0
    parked: int = 0
    pivots: int = 0
    failing: bool = False
    cause: str | None = None
    excepted: bool = False
    held: bool = False
    due: int | None = None


_Row = TypeVar("_Row", NodeRow, WorkflowRow)
_PLACES = {kind: {name: at for at, name in enumerate(kind._fields)} for kind in (NodeRow, WorkflowRow)}


def changed(row: _Row, changes: Mapping[str, Any]) -> _Row:
    """The row with other values in those fields: what _replace() does, in half its time."""
    places, values = _PLACES[type(row)], list(row)
    for name, value in changes.items():
        values[places[name]] = value
    return type(row)._make(values)


class Memory(Protocol):
    """Where the rows of one workflow are."""

    def workflow(self) -> WorkflowRow:
        """The row of the whole."""
        ...

    def node(self, id_: str) -> NodeRow:
        """The row of a node."""
        ...
