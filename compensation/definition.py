"""A workflow as data: nodes, what undoes them, and how long each may take."""

import hashlib
from enum import StrEnum
from typing import Annotated, Self

import rfc8785
from pydantic import Field, ValidationError, model_validator

from compensation import checks, graph
from compensation.errors import DefinitionError
from schemas.activity import NodeId
from schemas.model import Contract, Name

MAX_NODES = 5_000
"""How many nodes a durable workflow may have."""
MAX_BYTES = 512 * 1024
"""How large a definition may be, as canonical JSON."""

Milliseconds = Annotated[int, Field(gt=0, le=366 * 24 * 3_600_000)]


NodeIds = Annotated[tuple[NodeId, ...], Field(strict=False)]
"""Ids of nodes; a list is taken too."""


class Kind(StrEnum):
    """What a node does."""

    ACTIVITY = "activity"
    APPROVAL = "approval"
    """It completes by a verdict, or fails by one or by its deadline."""
    SLEEP = "sleep"
    SIGNAL = "signal"
    """It completes when a signal comes for it, whose payload is its result, or fails by its deadline."""


class RunIf(StrEnum):
    """When a node with dependencies runs."""

    ALL_COMPLETED = "all_completed"
    ALL_SETTLED = "all_settled"
    """Also where optional dependencies failed or were skipped."""


class Retry(Contract):
    """How often a forward call is tried, and how long is waited in between."""

    attempts: Annotated[int, Field(ge=1, le=1_000)] = 5
    first_ms: Milliseconds = 1_000
    factor: Annotated[int, Field(ge=1, le=10)] = 2
    cap_ms: Milliseconds = 60_000


class Timeouts(Contract):
    """How long one call may take.

    `schedule_to_start_ms` runs from the command until a worker must have begun: later it is not begun at all.
    `start_to_close_ms` bounds one attempt, `heartbeat_ms` the silence within one, `schedule_to_close_ms` all attempts.
    """

    schedule_to_start_ms: Milliseconds = 60_000
    start_to_close_ms: Milliseconds = 60_000
    heartbeat_ms: Milliseconds | None = None
    schedule_to_close_ms: Milliseconds | None = None


DEFAULT_RETRY, DEFAULT_TIMEOUTS = Retry(), Timeouts()


class Compensation(Contract):
    """What undoes a node: an activity that must succeed however often it is called, even if nothing had happened.

    `max_retries` quick retries follow a failure, then slow ones for 24 hours.
    """

    name: Name
    activity: Name
    queue: Name = "default"
    idempotency_key: str | None = None
    max_retries: Annotated[int, Field(ge=0, le=100)] = 3
    timeouts: Timeouts = DEFAULT_TIMEOUTS


class Approval(Contract):
    """Who must approve: the tier of the policy and how long is waited."""

    tier: Name
    deadline_ms: Milliseconds


class SignalWait(Contract):
    """How long a signal is waited for."""

    deadline_ms: Milliseconds


class Node(Contract):
    """One node.

    `inputs` are the nodes whose results the call is given; the direct dependencies where it is None. Past a completed
    `pivot` nothing is undone. An `optional` node fails alone.
    """

    id: NodeId
    name: Name
    kind: Kind = Kind.ACTIVITY
    activity: Name | None = None
    queue: Name = "default"
    dependencies: NodeIds = ()
    inputs: NodeIds | None = None
    compensation: Compensation | None = None
    optional: bool = False
    pivot: bool = False
    run_if: RunIf = RunIf.ALL_COMPLETED
    retry: Retry = DEFAULT_RETRY
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    idempotency_key: str | None = None
    sleep_ms: Milliseconds | None = None
    approval: Approval | None = None
    signal: SignalWait | None = None


class WorkflowDefinition(Contract):
    """A workflow. Checked when it is made: one that exists can run.

    `drain_timeout_ms` is how long a failing workflow waits for what it has commanded, `deadline_ms` how long it may
    run before it is cancelled (compensations are not). With `parallel_undo`, nodes of which neither depends on the
    other are undone at once.

    Raises:
        DefinitionError: on being made by `of()` or `parse()`: everything that is wrong, each with its place.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    name: Name
    nodes: Annotated[tuple[Node, ...], Field(min_length=1, max_length=MAX_NODES, strict=False)]
    parallel_undo: bool = False
    drain_timeout_ms: Milliseconds = 10_000
    deadline_ms: Milliseconds | None = None

    @classmethod
    def of(cls, **fields: object) -> Self:
        """A definition from its fields."""
        try:
            made = cls.model_validate(fields)
        except ValidationError as error:
            raise DefinitionError(str(fields.get("name", "")), _problems(error)) from None
        made.canonical()
        return made

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """A definition from JSON."""
        try:
            made = cls.model_validate_json(text)
        except ValidationError as error:
            raise DefinitionError("", _problems(error)) from None
        made.canonical()
        return made

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        problems = [*graph.problems({node.id: node.dependencies for node in self.nodes}, [n.id for n in self.nodes])]
        for node in self.nodes:
            problems += _of_node(node, {other.id for other in self.nodes})
        names = [node.compensation.name for node in self.nodes if node.compensation]
        problems += [
            f"two compensations are named {name!a}" for name in sorted({n for n in names if names.count(n) > 1})
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def canonical(self) -> bytes:
        """Canonical JSON (RFC 8785) of what differs from the defaults; another default would be another `v`.

        Raises:
            DefinitionError: it is larger than 512 KiB.
        """
        text = rfc8785.dumps(self.model_dump(mode="json", exclude_defaults=True) | {"v": self.v})
        if len(text) > MAX_BYTES:
            raise DefinitionError(self.name, (f"{len(text)} bytes, allowed are {MAX_BYTES}",))
        return text

    def digest(self) -> str:
        """SHA-256 of the canonical form, in hexadecimal."""
        return hashlib.sha256(self.canonical()).hexdigest()


def _problems(error: ValidationError) -> tuple[str, ...]:
    found: list[str] = []
    for place in error.errors(include_url=False, include_input=False):
        where = ".".join(str(step) for step in place["loc"])
        words = place["msg"].removeprefix("Value error, ")
        found += [f"{where}: {line}" if where else line for line in words.splitlines()]
    return tuple(found)


def _of_node(node: Node, known: set[str]) -> list[str]:
    at = f"node {node.id!a}"
    needs = {Kind.ACTIVITY: "activity", Kind.APPROVAL: "approval", Kind.SLEEP: "sleep_ms", Kind.SIGNAL: "signal"}
    problems = [
        f"{at}: a node of kind {node.kind.value} needs {name}" if kind is node.kind else f"{at}: {name} does not belong"
        for kind, name in needs.items()
        if (getattr(node, name) is None) == (kind is node.kind)
    ]
    if node.kind is not Kind.ACTIVITY and node.compensation is not None:
        problems.append(f"{at}: only an activity can be undone")
    problems += [f"{at}: input {name!a} is no node" for name in node.inputs or () if name not in known]
    undo = node.compensation
    problems += checks.problems(
        node.id,
        pivot=node.pivot,
        undone_or_optional=undo is not None or node.optional,
        keys={
            "idempotency_key": node.idempotency_key,
            "compensation.idempotency_key": undo.idempotency_key if undo else None,
        },
    )
    return problems
