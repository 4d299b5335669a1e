"""Recoveries of services whose breakers opened: rules, commands on `in.recovery`, events, and how each stands."""

from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from schemas.activity import Count, WorkflowId
from schemas.model import Contract, Name, Rfc3339, Uuid
from schemas.workflow import Reason

EVERY_SERVICE = "*"
"""In the policy's `recoveries`: every service that has no rule of its own."""
LOWEST_PRIORITY = 99
"""The highest number, which comes last."""
MAX_WHY_CHARACTERS = 1_000

Priority = Annotated[int, Field(ge=0, le=LOWEST_PRIORITY)]
"""Lower comes first, among what is due."""
Length = Annotated[timedelta, Strict(strict=False), Field(ge=timedelta(milliseconds=1), le=timedelta(days=30))]
"""A length of time up to 30 days; ISO 8601 in a file, such as PT30S."""
Multiplier = Annotated[Decimal, Strict(strict=False), Field(ge=1, le=100, max_digits=6, decimal_places=3)]
"""An exact decimal number, so that no float decides when something is due."""


class RecoveryStrategy(StrEnum):
    """When the attempts at a recovery come."""

    EXPONENTIAL_BACKOFF = "exponential_backoff"
    """The delay is multiplied after each attempt."""
    LINEAR_BACKOFF = "linear_backoff"
    """The delay grows by the first one after each attempt."""
    IMMEDIATE = "immediate"
    """Without delay."""
    MANUAL = "manual"
    """A person approves each attempt."""


class RecoveryState(StrEnum):
    """How the recovery of a service stands."""

    IDLE = "idle"
    """No recovery is under way."""
    SCHEDULED = "scheduled"
    """An attempt is to come: at its due time, or as soon as there is a place for it."""
    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """All attempts are used up."""
    CANCELLED = "cancelled"
    AWAITING_MANUAL = "awaiting_manual"
    """It goes on when a person approves."""


class RecoveryRule(Contract):
    """How a service is recovered.

    An attempt runs `activity`, then `health_check` if there is one: activities of the workers of `queue`, which are
    scored as any other. Of each, a worker must have begun within `start_within`, and it may take `timeout`. The health
    check says true or false. Without one it is the service's breakers that tell: they close within `timeout` after the
    activity, or the attempt has failed.

    The first attempt comes `initial_delay` after the breaker has opened; each later one by `strategy`, with
    `backoff_multiplier`, at most `max_delay` after the one before. After `max_retry_attempts` it has failed.
    """

    strategy: RecoveryStrategy = RecoveryStrategy.EXPONENTIAL_BACKOFF
    priority: Priority = 1
    max_retry_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    backoff_multiplier: Multiplier = Decimal(2)
    initial_delay: Length = timedelta(seconds=1)
    max_delay: Length = timedelta(seconds=60)
    activity: Name
    health_check: Name | None = None
    queue: Name = "default"
    start_within: Length = timedelta(seconds=30)
    timeout: Length = timedelta(seconds=60)


class RecoveryCommandKind(StrEnum):
    """What operators may ask of a recovery."""

    SCHEDULE = "schedule"
    """Begin one, whether a breaker is open or not."""
    APPROVE = "approve"
    """Start what awaits a person, or has failed, now."""
    CANCEL = "cancel"
    """End what is under way, and the workflow of an attempt with it."""


_VERSIONED = frozenset({RecoveryCommandKind.APPROVE, RecoveryCommandKind.CANCEL})
_OF_SCHEDULE = ("strategy", "priority", "not_before")


class RecoveryCommand(Contract):
    """One command on `in.recovery`.

    `version` is the recovery's that the operator saw: approve and cancel have it. schedule may have a `strategy` and a
    `priority` other than the policy's, and a time until which the first attempt waits unless a breaker opens meanwhile.
    `requested_by` is an operator; as soon as the policy names operators the header `agent-signature` bears their
    signature of the value.
    """

    command: RecoveryCommandKind
    command_id: Uuid
    service: Name
    requested_by: Name
    reason: Reason
    constitutional_hash: str
    created_at: Rfc3339
    expires_at: Rfc3339 | None = None
    version: Count | None = None
    strategy: RecoveryStrategy | None = None
    priority: Priority | None = None
    not_before: Rfc3339 | None = None

    @model_validator(mode="after")
    def _has_what_belongs(self) -> Self:
        if (self.version is not None) != (self.command in _VERSIONED):
            raise ValueError(f"{self.command.value} " + ("needs version" if self.version is None else "has no version"))
        if self.command is not RecoveryCommandKind.SCHEDULE:
            for name in _OF_SCHEDULE:
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} does not belong to {self.command.value}")
        return self


class RecoveryCause(StrEnum):
    """What changed the state of a recovery."""

    OPENED = "opened"
    """A breaker of the service opened."""
    CLOSED = "closed"
    """Its breakers are closed."""
    DUE = "due"
    """The time of an attempt came, or a place for it became free."""
    ANSWERED = "answered"
    """The workflow of an attempt ended, or cannot go on by itself."""
    DEADLINE = "deadline"
    """An attempt did not end in time."""
    ORDERED = "ordered"
    """An operator's command."""


class RecoveryEvent(Contract):
    """On `recovery-events`: the recovery of a service changed its state. In order for each service.

    `run` tells the recoveries of a service apart, `attempt` counts within one. `version` is the recovery's after it;
    operators name it. `at` and `due` are the log's times in milliseconds since 1970. `by`, `verified` and `command_id`
    belong to what an operator ordered; `verified` says whether a signature proves it.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    service: Name
    run: Count
    version: Count
    at: Count
    before: RecoveryState
    state: RecoveryState
    cause: RecoveryCause
    why: Annotated[str, Field(max_length=MAX_WHY_CHARACTERS)]
    attempt: Count
    due: Count | None = None
    workflow_id: WorkflowId | None = None
    command_id: Uuid | None = None
    by: Name | None = None
    verified: bool | None = None


class RecoveryStatus(Contract):
    """On the compacted `recovery-status`, under the service: how its recovery stands.

    `due` is when the next attempt comes while it is scheduled, and the deadline of the one that is in progress; None
    where it waits for somebody. `waits_for_place`: it is due, and the lane runs as many as it may. `max_attempts` is
    that of the policy's rule, None where it has none any more. `open_breakers` counts those not known to be closed.
    Times are in milliseconds since 1970.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    service: Name
    state: RecoveryState
    run: Count
    version: Count
    attempt: Count
    strategy: RecoveryStrategy
    priority: Priority
    since: Count
    why: Annotated[str, Field(max_length=MAX_WHY_CHARACTERS)]
    max_attempts: Count | None = None
    due: Count | None = None
    waits_for_place: bool = False
    waits_for_approval: bool = False
    workflow_id: WorkflowId | None = None
    open_breakers: Count = 0
    constitutional_hash: str
