"""Workflows as the outside sees them: commands on `in.workflows`, events, and the status of each."""

from enum import Enum, StrEnum
from typing import Annotated, Self

from pydantic import Field, JsonValue, model_validator

from schemas.activity import Count, Direction, Given, NodeId, Outcome, RunId, WorkflowId
from schemas.model import Contract, JsonObject, Name, Rfc3339, Score, Sha256, Uuid

MAX_INPUT_BYTES = 256 * 1024
"""How large a workflow's input may be, as JSON."""
MAX_TAGS = 16
MAX_ATTENTION = 20
"""How many nodes that need somebody are listed in a status; the others are counted."""
MAX_STATUS_RESULTS_BYTES = 256 * 1024
"""How large results may be, together, that stand in a status; larger ones are read from the events."""

Reason = Annotated[str, Field(min_length=1, max_length=1_000)]


class StepStatus(Enum):
    """The state of one node."""

    PENDING = "pending"
    """Its dependencies have not settled, or the workflow is paused."""
    WAITING = "waiting"
    """For a retry, an approval, a verdict, a signal or the end of a sleep."""
    BLOCKED = "blocked"
    """No worker knows its activity: an operator retries it or lets it fail."""
    EXECUTING = "executing"
    """It has been commanded."""
    COMPLETED = "completed"
    NO_EFFECT = "no_effect"
    """It failed and nothing has happened: there is nothing to undo."""
    FAILED = "failed"
    """It failed, may have had an effect, and has no compensation."""
    UNKNOWN = "unknown"
    """It failed or gave no answer, and may have had an effect: its compensation will run."""
    SKIPPED = "skipped"
    """It will not be commanded."""
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"
    """Its compensation failed for as long as it is tried: an operator retries it, skips it or marks it as done."""

    __hash__ = object.__hash__
    """Members are the only ones of their value: the hash of Enum, in Python, costs a workflow's step 6 us of 200."""


class WorkflowState(StrEnum):
    """The state of a whole workflow."""

    RUNNING = "running"
    PAUSED = "paused"
    """Nothing new is commanded; answers are taken."""
    DRAINING = "draining"
    """It failed or was cancelled; what has been commanded is waited for."""
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    COMPENSATED_WITH_EXCEPTIONS = "compensated_with_exceptions"
    """All undone but for what operators skipped or marked as done."""
    COMPENSATION_FAILED = "compensation_failed"
    """Parked: a compensation failed for as long as it is tried."""
    PARKED_FORWARD = "parked_forward"
    """Parked past its pivot: a node has failed, and there is no way back."""


class CommandKind(StrEnum):
    """What may be asked of a workflow."""

    START = "start"
    CANCEL = "cancel"
    """Undo everything. Refused past a pivot."""
    SIGNAL = "signal"
    """Complete a node of kind signal, with the payload as its result."""
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    """An operator has a parked or blocked node, or its compensation, tried anew."""
    SKIP = "skip"
    """An operator gives a parked or blocked node, or its compensation, up."""
    MARK_DONE = "mark_done"
    """An operator has done by hand what a parked or blocked node, or its compensation, should have done."""


OPERATORS_COMMANDS = frozenset({CommandKind.RETRY, CommandKind.SKIP, CommandKind.MARK_DONE})
"""What only operators may ask: they sign it once the policy names some."""

_NEEDS: dict[CommandKind, frozenset[str]] = {
    CommandKind.START: frozenset({"definition", "input"}),
    CommandKind.CANCEL: frozenset({"reason"}),
    CommandKind.SIGNAL: frozenset({"node"}),
    CommandKind.PAUSE: frozenset({"reason"}),
    CommandKind.RESUME: frozenset({"reason"}),
    CommandKind.RETRY: frozenset({"node", "version", "reason"}),
    CommandKind.SKIP: frozenset({"node", "version", "reason"}),
    CommandKind.MARK_DONE: frozenset({"node", "version", "reason"}),
}
_MAY: dict[CommandKind, frozenset[str]] = {
    CommandKind.START: frozenset({"tags"}),
    CommandKind.SIGNAL: frozenset({"payload"}),
    CommandKind.MARK_DONE: frozenset({"payload"}),
}
_BELONGING = ("definition", "input", "tags", "node", "payload", "version", "reason")


class WorkflowCommand(Contract):
    """One command on `in.workflows`.

    Which fields go with which `command`: start has `definition`, `input` and perhaps `tags`; cancel, pause and resume
    have a `reason`; signal has the `node` and perhaps a `payload`; retry, skip and mark_done have the `node`, the
    `version` of the workflow that the operator saw, and a `reason`; mark_done may have the node's result as `payload`.
    The same workflow_id with the same definition, input, tags and tenant is the same workflow: a start may be sent
    again. `requested_by` is a claim that the header `agent-signature` may prove, by a signature of the record's value.
    Of a start it is a sender of the tenant; unless it is proven, every action weighs at least `unknown_tool` in
    a tenant whose messages must be signed. Of retry, skip and mark_done it is an operator, who signs once there are
    some.
    """

    command: CommandKind
    command_id: Uuid
    workflow_id: WorkflowId
    tenant_id: Name
    requested_by: Name
    constitutional_hash: str
    created_at: Rfc3339
    expires_at: Rfc3339 | None = None
    definition: JsonObject | None = None
    input: JsonObject | None = None
    tags: Annotated[tuple[Name, ...], Field(max_length=MAX_TAGS)] | None = None
    node: NodeId | None = None
    payload: JsonValue = None
    version: Count | None = None
    reason: Reason | None = None

    @model_validator(mode="after")
    def _has_what_belongs(self) -> Self:
        needed = _NEEDS[self.command]
        allowed = needed | _MAY.get(self.command, frozenset())
        for name in _BELONGING:
            is_given = getattr(self, name) is not None
            if name in needed and not is_given:
                raise ValueError(f"{self.command.value} needs {name}")
            if is_given and name not in allowed:
                raise ValueError(f"{name} does not belong to {self.command.value}")
        return self


class WorkflowVerdict(Contract):
    """On `workflows`, from the deliberation agent: the answer to an item of the orchestrator's.

    `node` is None where the start as a whole was held.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    item_id: Uuid
    workflow_id: WorkflowId
    run: RunId
    node: NodeId | None
    approved: bool
    why: str = ""


class EventKind(StrEnum):
    """What happened to a workflow."""

    STARTED = "started"
    ANSWERED = "answered"
    """An attempt ended, as its worker says."""
    TIMER = "timer"
    """A timeout, the end of a pause before a retry, of a sleep, of a deadline."""
    CANCELLED = "cancelled"
    SIGNALLED = "signalled"
    PAUSED = "paused"
    RESUMED = "resumed"
    VERDICT = "verdict"
    ORDERED = "ordered"
    """An operator's retry, skip or mark_done."""
    IGNORED = "ignored"
    """A result that changes nothing: it was late, or came twice."""


class Step(StrEnum):
    """What the orchestrator asks for in consequence of an event."""

    CALL = "call"
    STOP = "stop"
    ASK = "ask"
    """Somebody must approve."""
    WITHDRAW = "withdraw"


class Asked(Contract):
    """One consequence of an event. `score` is what a forward call weighs."""

    step: Step
    node: NodeId | None = None
    direction: Direction | None = None
    round: Count | None = None
    attempt: Count | None = None
    score: Score | None = None
    why: str | None = None


class WorkflowEvent(Contract):
    """On `workflow-events`: what happened, and what changed by it. In order for each workflow.

    `at` is the broker's time of what caused it, in milliseconds since 1970. `version` is the workflow's after it.
    `statuses` are the nodes that changed, `asked` what was asked for in consequence. `result` belongs to a node that
    completed by it. `by` is who asked, as far as is claimed; `verified` whether that was proven by a signature.
    `command_id` is that of the command that caused it. `definition`, `input`, `tags` and `name` come with the start.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    workflow_id: WorkflowId
    run: RunId
    version: Count
    at: Count
    event: EventKind
    state: WorkflowState
    node: NodeId | None = None
    direction: Direction | None = None
    round: Count | None = None
    attempt: Count | None = None
    outcome: Outcome | None = None
    command_id: Uuid | None = None
    order: CommandKind | None = None
    why: str | None = None
    by: str | None = None
    verified: bool | None = None
    cause: str | None = None
    statuses: dict[NodeId, StepStatus] = Field(default_factory=dict[str, StepStatus])
    asked: tuple[Asked, ...] = ()
    result: Given | None = None
    name: str | None = None
    tenant_id: str | None = None
    tags: tuple[str, ...] | None = None
    definition: JsonObject | None = None
    input: JsonObject | None = None


class CompensationRecord(Contract):
    """On `compensations`: an undo was commanded. In the order in which they are, for each workflow."""

    v: Annotated[int, Field(ge=1, le=1)] = 1
    workflow_id: WorkflowId
    run: RunId
    at: Count
    node: NodeId
    compensation: Name
    activity: Name
    queue: Name
    round: Count
    attempt: Count
    idempotency_key: str
    cause: str | None


class Attention(Contract):
    """A node that needs somebody: it waits for an approval or a signal, is blocked, or has failed for good."""

    node: NodeId | None
    status: StepStatus | None
    why: str


class WorkflowStatus(Contract):
    """On the compacted `workflow-status`, under the workflow's id: how it stands.

    Written at its start, whenever its state or what it waits for changes, and at its end. `version` is the one of that
    moment. `nodes` is how many it has. `results` are those of the nodes on which none depends, once it is completed;
    None where they are larger than 256 KiB together (the events have them). Times are in milliseconds since 1970.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    workflow_id: WorkflowId
    run: RunId
    name: Name
    definition_digest: Sha256
    tenant_id: Name
    requested_by: Name
    tags: tuple[Name, ...]
    state: WorkflowState
    version: Count
    nodes: Count
    started_ms: Count
    changed_ms: Count
    closed_ms: Count | None = None
    cause: str | None = None
    attention: tuple[Attention, ...] = ()
    attention_count: Count = 0
    results: dict[NodeId, Given] | None = None


class WorkflowAnswer(Contract):
    """From the orchestrator to the agent that started the workflow and wants to know: how it stands.

    Written when it ends, is parked, waits for somebody or goes on after that. `commanded` says whether anything was,
    `taken` whether a worker has answered or given a sign of life. `results` are as in WorkflowStatus. Of a start that
    was `refused` (reason and detail) there is no workflow.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    workflow_id: WorkflowId
    run: RunId | None = None
    state: WorkflowState | None = None
    version: Count = 0
    commanded: bool = False
    taken: bool = False
    cause: str | None = None
    attention: tuple[Attention, ...] = ()
    results: dict[NodeId, Given] | None = None
    refused: str | None = None
