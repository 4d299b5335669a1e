"""What the orchestrator and activity workers send each other: commands, results, heartbeats, cancels."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, JsonValue, model_validator

from schemas.model import Contract, JsonObject, Name, Sha256

MAX_RESULT_BYTES = 16 * 1024
"""How large a result may be, as JSON, that travels by itself; a larger one is kept in a claim-check store."""
MAX_COMMAND_BYTES = 512 * 1024
"""How large the input and the results that a command carries may be together, as JSON."""
MAX_DETAILS_BYTES = 4 * 1024
"""How large the details of a heartbeat may be, as JSON."""
MAX_ERROR_CHARACTERS = 1_000

WorkflowId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:-]+$")]
"""The id that its starter gives a workflow."""
NodeId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.-]+$")]
"""The id of a node within its workflow."""
RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""Tells two workflows of one id apart: a later one may take it once the earlier one is forgotten."""
Count = Annotated[int, Field(ge=0)]


class Direction(StrEnum):
    """Whether a call does or undoes."""

    DO = "do"
    UNDO = "undo"


class Outcome(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    NO_EFFECT = "no_effect"
    """It failed and says that nothing happened. Not tried again."""
    NEVER_STARTED = "never_started"
    """It came too late, or was cancelled before it began."""
    UNKNOWN_ACTIVITY = "unknown_activity"
    """No worker of the queue knows it. Nothing happened."""
    FAILED = "failed"
    """It may have had an effect; it may be tried again."""
    FINAL = "final"
    """It may have had an effect; it is of no use to try it again."""


class Claim(Contract):
    """A result that is kept in a claim-check store: the digest and the length of its JSON."""

    sha256: Sha256
    bytes: Count


class Given(Contract):
    """A result: itself, or where it is kept."""

    value: JsonValue = None
    claim: Claim | None = None


class Attempt(Contract):
    """One attempt at doing or undoing a node. The round rises when an operator orders it anew, or an undo is due again.

    `token` proves that the command was read: it cannot be guessed.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    workflow_id: WorkflowId
    run: RunId
    node: NodeId
    direction: Direction
    round: Count
    attempt: Annotated[int, Field(ge=1)]
    token: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class ActivityCommand(Attempt):
    """On `activities.{queue}`: run an activity, or the one that undoes a node. At least once; the keys stay the same.

    `not_after` is the last moment at which it may begin, in milliseconds since 1970. `input` is the workflow's,
    `inputs` holds the results of the nodes that this one names as inputs, and `result` the node's own where it is
    undone and known to have completed. `details` are those of the last heartbeat of an earlier attempt.
    `idempotency_key` is the call's own: the same at each attempt, another for each run, direction and undo round;
    `effect_key` the node's own in this run, the same for doing and undoing: the key for an EffectStore.
    """

    activity: Name
    queue: Name
    tenant_id: Name
    constitutional_hash: str
    not_after: Count
    start_to_close_ms: Count
    heartbeat_ms: Count | None = None
    idempotency_key: str
    effect_key: str
    input: JsonObject
    inputs: dict[NodeId, Given] = Field(default_factory=dict[str, Given])
    result: Given | None = None
    details: JsonValue = None


class ActivityResult(Attempt):
    """On `activity-results`: how an attempt ended. `result` belongs to a completed one, `error` to all others."""

    outcome: Outcome
    result: Given | None = None
    error: Annotated[str, Field(max_length=MAX_ERROR_CHARACTERS)] | None = None
    worker: Name

    @model_validator(mode="after")
    def _is_coherent(self) -> "ActivityResult":
        if self.outcome is not Outcome.COMPLETED and self.result is not None:
            raise ValueError("only a completed attempt has a result")
        return self


class Heartbeat(Attempt):
    """On `heartbeats`: an attempt lives. Its details reach the next attempt."""

    details: JsonValue = None
    worker: Name


class ActivityCancel(Attempt):
    """On `activity-cancels`: the result of an attempt is not wanted any more."""
