"""The gateways: one agent a public topic, the only door from outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from handlers.chaos import admitting as chaos
from handlers.gateway import DECISION_VERSION, Admission, Refused
from handlers.operators import Ordered
from handlers.recovery.records import IDS, TENANT
from handlers.senders import Sent
from schemas import envelope, topics
from schemas.breaker import BreakerEvent
from schemas.decision import Decision
from schemas.deliberation import CHANGE_POLICY, POLICY_TENANT, key_of
from schemas.effects import Headers
from schemas.message import AgentMessage
from schemas.policy import PublishedPolicy
from schemas.recovery import RecoveryCommand
from schemas.workflow import OPERATORS_COMMANDS, CommandKind, WorkflowCommand
from streams.agents.control import control_input
from streams.agents.naming import Naming
from streams.engine.agent import Agent, View
from streams.engine.records import Emit, Record
from streams.metrics import Measures


def _who_asks(command: WorkflowCommand) -> Sent | Ordered | None:
    """A start is an agent's, as a message is; some orders are an operator's; the others anybody may give."""
    if command.command is CommandKind.START:
        return Sent(command.tenant_id, command.requested_by)
    return Ordered(command.requested_by) if command.command in OPERATORS_COMMANDS else None


def _reserved(command: WorkflowCommand) -> str | None:
    """Attempts at recoveries are workflows that their agent starts: whoever came first would keep it from them."""
    if command.command is not CommandKind.START:
        return None
    if command.tenant_id == TENANT:
        return f"tenant_id {TENANT} is the recovery agent's own"
    if command.workflow_id.startswith(IDS):
        return f"workflow ids that begin with {IDS} are the recovery agent's own"
    return None


def _who_sent(message: AgentMessage) -> Sent:
    """A proposal of a policy may be signed by an approver: else strangers could use up all the room that it has."""
    action = None if message.payload is None else message.payload.action
    is_proposal = action is not None and action.tool == CHANGE_POLICY and message.tenant_id == POLICY_TENANT
    return Sent(message.tenant_id, message.from_agent, proposes=is_proposal)


@dataclass(frozen=True, slots=True)
class Route:
    """The way in of one contract: from its public topic to its internal one."""

    agent: str
    public: str
    internal: str
    admission: Admission[Any]


ROUTES = (
    Route(
        topics.GATEWAY_MESSAGES,
        topics.IN_MESSAGES,
        topics.MESSAGES,
        Admission(
            AgentMessage,
            lambda message: message.conversation_id.lower(),
            who=_who_sent,
        ),
    ),
    Route(
        topics.GATEWAY_WORKFLOWS,
        topics.IN_WORKFLOWS,
        topics.WORKFLOWS,
        Admission(WorkflowCommand, lambda command: command.workflow_id, who=_who_asks, reserved=_reserved),
    ),
    Route(
        topics.GATEWAY_DECISIONS,
        topics.IN_DECISIONS,
        topics.DELIBERATION,
        Admission(Decision, lambda decision: key_of(decision.kind, decision.item_id)),
    ),
    Route(
        topics.GATEWAY_BREAKERS,
        topics.IN_BREAKERS,
        topics.BREAKERS,
        Admission(BreakerEvent, lambda event: event.service),
    ),
    Route(
        topics.GATEWAY_RECOVERY,
        topics.IN_RECOVERY,
        topics.RECOVERY,
        Admission(RecoveryCommand, lambda command: command.service, who=lambda command: Ordered(command.requested_by)),
    ),
    Route(topics.GATEWAY_CHAOS, topics.IN_CHAOS, topics.CHAOS_REQUESTS, chaos.ADMISSION),
)
"""Every way in. Each row is an agent of its own, so that a flood on one topic delays nothing on another."""


def gateway(route: Route, naming: Naming, measures: Measures) -> Agent[None, PublishedPolicy]:
    """The agent of one route."""
    internal, rejected = naming.topic(route.internal), naming.topic(topics.REJECTED)

    def handle(view: View[None, PublishedPolicy], record: Record) -> Sequence[Emit]:
        published = view.control
        source = envelope.encode_source(record.topic, record.partition, record.offset)
        decided = route.admission.decide(record.value, record.headers, published, view.clock_ms)
        stamp: Headers = (
            (envelope.VERSION, envelope.CURRENT_VERSION),
            (envelope.SOURCE, source),
            (envelope.POLICY, published.reference.encode()),
        )
        if isinstance(decided, Refused):
            return (_rejection(rejected, record, decided, stamp),)
        if decided.verified is not None:
            stamp = (*stamp, (envelope.SENDER_VERIFIED, b"true" if decided.verified else b"false"))
        return (Emit(internal, decided.key, record.value, (*stamp, *record.headers)),)

    return Agent(
        name=route.agent,
        inbox=(naming.topic(route.public),),
        outputs=(internal, rejected),
        topics=naming.own(route.agent),
        handler=handle,
        decision_version=DECISION_VERSION,
        control=control_input(naming),
        measure=measures.rejections,
    )


def _rejection(topic: str, record: Record, refused: Refused, stamp: Headers) -> Emit:
    headers = (
        *stamp,
        (envelope.REASON, refused.reason.value.encode()),
        (envelope.DETAIL, refused.detail.encode()),
        (envelope.NULL_VALUE, b"true" if record.value is None else b"false"),
        *record.headers,
    )
    return Emit(topic, record.key, record.value, headers, measure=refused.reason.value)
