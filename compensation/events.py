"""What can happen to a workflow, and what it asks for."""

from enum import StrEnum
from typing import NamedTuple

from schemas.activity import Direction, Outcome


class Answered(NamedTuple):
    """An attempt ended, as its worker says."""

    node: str
    direction: Direction
    round: int
    attempt: int
    outcome: Outcome
    error: str | None = None


class Beat(NamedTuple):
    """An attempt lives."""

    node: str
    direction: Direction
    round: int
    attempt: int


class Due(NamedTuple):
    """A timer fired: of a node, or of the workflow (None)."""

    node: str | None


class Cancel(NamedTuple):
    """Undo everything. Refused past a pivot."""

    cause: str


class Pause(NamedTuple):
    """Command nothing new until Resume."""


class Resume(NamedTuple):
    """Go on after Pause."""


class Signal(NamedTuple):
    """What a node of kind signal waits for has come."""

    node: str


class Verdict(NamedTuple):
    """The answer to an Ask; of the start as a whole where `node` is None."""

    node: str | None
    approved: bool
    why: str = ""


class Order(StrEnum):
    """What an operator may order for a node that waits for one."""

    RETRY = "retry"
    SKIP = "skip"
    MARK_DONE = "mark_done"


class Operate(NamedTuple):
    """An operator's order for one node. `version` is the workflow's as the operator saw it."""

    node: str
    order: Order
    version: int


Event = Answered | Beat | Due | Cancel | Pause | Resume | Signal | Verdict | Operate


class Call(NamedTuple):
    """Run an activity, or what undoes it. `not_after` is the last moment at which it may begin, in milliseconds."""

    node: str
    direction: Direction
    round: int
    attempt: int
    not_after: int


class Stop(NamedTuple):
    """Tell the worker of an attempt that its result is not wanted any more."""

    node: str
    direction: Direction
    round: int
    attempt: int


class Ask(NamedTuple):
    """Somebody must approve: the node itself is an approval, or its call was scored too dangerous (`is_release`).

    `node` is None where the start as a whole is held.
    """

    node: str | None
    is_release: bool


class Withdraw(NamedTuple):
    """What was asked is of no use any more."""

    node: str | None


class Complete(NamedTuple):
    """A sleep, an approval or a signal completed."""

    node: str
    why: str


Command = Call | Stop | Ask | Withdraw | Complete
