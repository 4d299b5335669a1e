"""The agent message: what fleets of agents publish on `in.messages`."""

from enum import IntEnum, StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from schemas.model import Contract, JsonObject, Name, Rfc3339, Uuid


class MessageType(StrEnum):
    """What kind of message it claims to be. A type never lowers an impact score."""

    COMMAND = "command"
    QUERY = "query"
    RESPONSE = "response"
    EVENT = "event"
    NOTIFICATION = "notification"
    HEARTBEAT = "heartbeat"
    GOVERNANCE_REQUEST = "governance_request"
    GOVERNANCE_RESPONSE = "governance_response"
    CONSTITUTIONAL_VALIDATION = "constitutional_validation"
    TASK_REQUEST = "task_request"
    TASK_RESPONSE = "task_response"
    AUDIT_LOG = "audit_log"


class Priority(IntEnum):
    """How urgent the sender says it is. CRITICAL raises an action's score to at least 9,000."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


class MessageStatus(StrEnum):
    """Where the sender says the message is in its life; informative only."""

    PENDING = "pending"
    PROCESSING = "processing"
    DELIVERED = "delivered"
    FAILED = "failed"
    EXPIRED = "expired"
    PENDING_DELIBERATION = "pending_deliberation"
    VALIDATED = "validated"


class Action(Contract):
    """The only thing in a message that a receiver may execute.

    `target` and `reversible` are the caller's claims: they may raise a score, never lower it.
    """

    tool: Name
    arguments: JsonObject
    target: str | None = None
    reversible: bool | None = None


class Task(Contract):
    """Why the sender acts: context for scoring. An action that breaks a constraint scores higher."""

    model_config = ConfigDict(extra="ignore")

    description: str | None = None
    constraints: tuple[str, ...] | None = None


class Payload(Contract):
    """The message's payload: open, but for the action, which is closed, and the task."""

    model_config = ConfigDict(extra="allow")

    action: Action | None = None
    task: Task | None = None


class AgentMessage(Contract):
    """One message of one agent.

    The producer's bytes travel unchanged; this is what they must say to pass the gateway. An optional field may be
    absent or null. `priority` is a number of Priority. `constitutional_hash` has no default: it names the policy
    generation its producer accepted. `impact_score` is the caller's own claim (0..1) and may raise the computed score,
    never lower it.
    """

    message_id: Uuid
    conversation_id: Uuid
    content: JsonObject
    from_agent: Name
    message_type: MessageType
    priority: Annotated[int, Field(ge=Priority.LOW, le=Priority.CRITICAL)]
    constitutional_hash: str
    tenant_id: Name
    created_at: Rfc3339
    to_agent: Name | None = None
    sender_id: Name | None = None
    payload: Payload | None = None
    routing: JsonObject | None = None
    headers: JsonObject | None = None
    security_context: JsonObject | None = None
    status: MessageStatus | None = None
    metadata: JsonObject | None = None
    updated_at: Rfc3339 | None = None
    expires_at: Rfc3339 | None = None
    impact_score: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _heartbeat_is_empty(self) -> "AgentMessage":
        if self.message_type is MessageType.HEARTBEAT and self.content:
            raise ValueError("a heartbeat carries no content")
        return self
