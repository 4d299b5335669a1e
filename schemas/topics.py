"""The topic catalogue: every topic this system has, who writes it, who reads it, and how it is kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

MIB = 1024 * 1024
MAX_MESSAGE_BYTES = MIB
"""The largest value that a message may have on a public topic."""

_MIN_IN_SYNC = 2
_CHANGELOG_SEGMENT_BYTES = 16 * MIB


class Cleanup(StrEnum):
    """How a topic forgets: by age, or by keeping the last record of each key."""

    DELETE = "delete"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic, its name without the installation's prefix.

    `retention` None keeps records for ever. `max_bytes` bounds a batch of records after decompression. `lane_input`
    topics must all have the same number of partitions, which never changes.
    """

    name: str
    purpose: str
    key: str
    contract: str
    retention: timedelta | None
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    cleanup: Cleanup = Cleanup.DELETE
    max_bytes: int = 4 * MIB
    public: bool = False
    lane_input: bool = True

    def configuration(self, replication: int) -> dict[str, str]:
        """The topic's settings on the broker."""
        settings = {
            "cleanup.policy": self.cleanup.value,
            "max.message.bytes": str(self.max_bytes),
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": str(-1 if self.retention is None else int(self.retention.total_seconds() * 1000)),
            "min.insync.replicas": str(min(_MIN_IN_SYNC, replication)),
        }
        if self.public:
            settings["compression.type"] = "uncompressed"
        if self.cleanup is Cleanup.COMPACT:
            settings |= {"segment.bytes": str(_CHANGELOG_SEGMENT_BYTES), "min.cleanable.dirty.ratio": "0.1"}
        return settings


IN_MESSAGES = "in.messages"
IN_WORKFLOWS = "in.workflows"
IN_DECISIONS = "in.decisions"
IN_BREAKERS = "in.breakers"
IN_RECOVERY = "in.recovery"
IN_CHAOS = "in.chaos"
CONTROL = "control"
MESSAGES = "messages"
DELIVERIES = "deliveries"
DELIBERATION = "deliberation"
VERDICTS = "verdicts"
DELIBERATION_STATUS = "deliberation-status"
REJECTED = "rejected"
AUDIT = "audit"
LANES = "lanes"
WORKFLOWS = "workflows"
ACTIVITIES = "activities"
ACTIVITY_CANCELS = "activity-cancels"
ACTIVITY_RESULTS = "activity-results"
HEARTBEATS = "heartbeats"
COMPENSATIONS = "compensations"
WORKFLOW_EVENTS = "workflow-events"
WORKFLOW_STATUS = "workflow-status"
BREAKERS = "breakers"
HEALTH = "health"
SYSTEM_HEALTH = "system-health"
RECOVERY = "recovery"
RECOVERY_EVENTS = "recovery-events"
RECOVERY_STATUS = "recovery-status"
CHAOS_REQUESTS = "chaos-requests"
CHAOS = "chaos"

GATEWAY_MESSAGES = "gateway-messages"
GATEWAY_WORKFLOWS = "gateway-workflows"
GATEWAY_DECISIONS = "gateway-decisions"
GATEWAY_BREAKERS = "gateway-breakers"
GATEWAY_RECOVERY = "gateway-recovery"
GATEWAY_CHAOS = "gateway-chaos"
TRIAGE = "triage"
ORCHESTRATOR = "orchestrator"
DELIBERATOR = "deliberation"
RECOVERER = "recovery"
CHAOS_AGENT = "chaos"
GATEWAYS = (
    GATEWAY_MESSAGES,
    GATEWAY_WORKFLOWS,
    GATEWAY_DECISIONS,
    GATEWAY_BREAKERS,
    GATEWAY_RECOVERY,
    GATEWAY_CHAOS,
)
LANE_AGENTS = (*GATEWAYS, TRIAGE, ORCHESTRATOR, DELIBERATOR, RECOVERER, CHAOS_AGENT)
"""The agents that run on lanes; each has a changelog and a topic of dead letters."""

APPROVERS = "approvers"
"""The role of people, bots and callback servers that decide."""

HEALTH_TABLE = "health-table"
"""The view that folds breaker events into health. It runs on Faust, not on lanes."""

AUDITORS = "auditors"
"""The role of whoever verifies the trail. It may read everything and write nothing."""

NOTARY = "notary"
"""The process that signs checkpoints of the trail. It reads `audit` and nothing else."""

DEFAULT_QUEUE = "default"
"""The queue of activities that there always is."""

_WEEK = timedelta(days=7)
_TWO_MONTHS = timedelta(days=60)

_SHARED = (
    Topic(
        name=IN_MESSAGES,
        purpose="messages as agents publish them; untrusted",
        key="any",
        contract="AgentMessage",
        retention=_WEEK,
        writers=("producers",),
        readers=(GATEWAY_MESSAGES,),
        public=True,
    ),
    Topic(
        name=CONTROL,
        purpose="the policy's epochs, each copied to every partition",
        key="policy",
        contract="Policy",
        retention=None,
        writers=("policy-publisher", DELIBERATOR),
        readers=("every lane",),
    ),
    Topic(
        name=MESSAGES,
        purpose="messages that passed the gateway",
        key="conversation_id",
        contract="AgentMessage",
        retention=_WEEK,
        writers=(GATEWAY_MESSAGES,),
        readers=(TRIAGE,),
    ),
    Topic(
        name=DELIVERIES,
        purpose="messages for their receivers",
        key="to_agent, else conversation_id",
        contract="AgentMessage",
        retention=_WEEK,
        writers=(TRIAGE, DELIBERATOR),
        readers=("agents",),
        lane_input=False,
    ),
    Topic(
        name=DELIBERATION,
        purpose="what waits for approvals, decisions on it that passed their gateway, and the agent's timers",
        key="item_id; of the policy's next epoch, policy",
        contract="AgentMessage and others, DeliberationItem in acgs-item; Decision",
        retention=None,
        writers=(TRIAGE, ORCHESTRATOR, GATEWAY_DECISIONS, DELIBERATOR),
        readers=(DELIBERATOR, APPROVERS, "dashboards"),
    ),
    Topic(
        name=VERDICTS,
        purpose="the public record: how each item ended, with every vote and signature",
        key="item_id",
        contract="DeliberationVerdict",
        retention=None,
        writers=(DELIBERATOR,),
        readers=(APPROVERS, "dashboards", AUDITORS),
        lane_input=False,
    ),
    Topic(
        name=DELIBERATION_STATUS,
        purpose="how each item stands",
        key="item_id",
        contract="DeliberationStatus",
        retention=None,
        writers=(DELIBERATOR,),
        readers=(APPROVERS, "dashboards", "operators"),
        cleanup=Cleanup.COMPACT,
        lane_input=False,
    ),
    Topic(
        name=IN_WORKFLOWS,
        purpose="commands for workflows as their starters and operators give them; untrusted",
        key="any",
        contract="WorkflowCommand",
        retention=_WEEK,
        writers=("producers", "operators"),
        readers=(GATEWAY_WORKFLOWS,),
        public=True,
    ),
    Topic(
        name=WORKFLOWS,
        purpose="commands that passed their gateway, verdicts, and the orchestrator's timers",
        key="workflow_id",
        contract="WorkflowCommand, WorkflowVerdict",
        retention=_WEEK,
        writers=(GATEWAY_WORKFLOWS, ORCHESTRATOR, DELIBERATOR, RECOVERER),
        readers=(ORCHESTRATOR,),
    ),
    Topic(
        name=IN_DECISIONS,
        purpose="signed decisions of approvers, bots and callback servers; untrusted",
        key="any",
        contract="Decision",
        retention=_WEEK,
        writers=(APPROVERS,),
        readers=(GATEWAY_DECISIONS,),
        public=True,
    ),
    Topic(
        name=ACTIVITY_RESULTS,
        purpose="how attempts at activities ended",
        key="workflow_id",
        contract="ActivityResult",
        retention=_WEEK,
        writers=("activity-workers",),
        readers=(ORCHESTRATOR,),
    ),
    Topic(
        name=HEARTBEATS,
        purpose="signs of life of attempts at activities",
        key="workflow_id",
        contract="Heartbeat",
        retention=_WEEK,
        writers=("activity-workers",),
        readers=(ORCHESTRATOR,),
    ),
    Topic(
        name=ACTIVITY_CANCELS,
        purpose="attempts whose results are not wanted any more",
        key="workflow_id",
        contract="ActivityCancel",
        retention=_WEEK,
        writers=(ORCHESTRATOR,),
        readers=("activity-workers",),
        lane_input=False,
    ),
    Topic(
        name=COMPENSATIONS,
        purpose="the public record of compensations, in the order in which they are commanded",
        key="workflow_id",
        contract="CompensationRecord",
        retention=_TWO_MONTHS,
        writers=(ORCHESTRATOR,),
        readers=("dashboards",),
        lane_input=False,
    ),
    Topic(
        name=WORKFLOW_EVENTS,
        purpose="what happened to each workflow, and what followed from it",
        key="workflow_id",
        contract="WorkflowEvent",
        retention=_TWO_MONTHS,
        writers=(ORCHESTRATOR,),
        readers=("workflow-clients", "dashboards", "operators"),
        lane_input=False,
    ),
    Topic(
        name=WORKFLOW_STATUS,
        purpose="how each workflow stands",
        key="workflow_id",
        contract="WorkflowStatus",
        retention=None,
        writers=(ORCHESTRATOR,),
        readers=("workflow-clients", "dashboards", "operators"),
        cleanup=Cleanup.COMPACT,
        lane_input=False,
    ),
    Topic(
        name=IN_BREAKERS,
        purpose="what services say of their circuit breakers; untrusted",
        key="any",
        contract="BreakerEvent",
        retention=_WEEK,
        writers=("producers", "services"),
        readers=(GATEWAY_BREAKERS,),
        public=True,
    ),
    Topic(
        name=BREAKERS,
        purpose="breaker events that passed their gateway, and the health table's ticks",
        key="service",
        contract="BreakerEvent",
        retention=_WEEK,
        writers=(GATEWAY_BREAKERS, HEALTH_TABLE, CHAOS_AGENT),
        readers=(HEALTH_TABLE, RECOVERER),
    ),
    Topic(
        name=HEALTH,
        purpose="how each service stands; the health table's own changelog",
        key="service",
        contract="ServiceHealth",
        retention=None,
        writers=(HEALTH_TABLE,),
        readers=(HEALTH_TABLE, "dashboards", "operators"),
        cleanup=Cleanup.COMPACT,
    ),
    Topic(
        name=SYSTEM_HEALTH,
        purpose="how all services together stand",
        key="system",
        contract="SystemHealth",
        retention=None,
        writers=(HEALTH_TABLE,),
        readers=("dashboards", "operators"),
        cleanup=Cleanup.COMPACT,
        lane_input=False,
    ),
    Topic(
        name=IN_RECOVERY,
        purpose="operators' commands for recoveries; untrusted",
        key="any",
        contract="RecoveryCommand",
        retention=_WEEK,
        writers=("operators",),
        readers=(GATEWAY_RECOVERY,),
        public=True,
    ),
    Topic(
        name=RECOVERY,
        purpose="commands that passed their gateway, answers of workflows, and the recovery agent's timers",
        key="service",
        contract="RecoveryCommand, WorkflowAnswer",
        retention=_WEEK,
        writers=(GATEWAY_RECOVERY, ORCHESTRATOR, RECOVERER),
        readers=(RECOVERER,),
    ),
    Topic(
        name=RECOVERY_EVENTS,
        purpose="every change of state of each service's recovery, and why",
        key="service",
        contract="RecoveryEvent",
        retention=_TWO_MONTHS,
        writers=(RECOVERER,),
        readers=("dashboards", "operators"),
        lane_input=False,
    ),
    Topic(
        name=RECOVERY_STATUS,
        purpose="how the recovery of each service stands",
        key="service",
        contract="RecoveryStatus",
        retention=None,
        writers=(RECOVERER,),
        readers=("dashboards", "operators"),
        cleanup=Cleanup.COMPACT,
        lane_input=False,
    ),
    Topic(
        name=IN_CHAOS,
        purpose="signed commands for chaos; untrusted",
        key="any",
        contract="ChaosCommand",
        retention=_WEEK,
        writers=("operators",),
        readers=(GATEWAY_CHAOS,),
        public=True,
    ),
    Topic(
        name=CHAOS_REQUESTS,
        purpose="commands for chaos that passed their gateway, and the chaos agent's timers",
        key="chaos: all in one order",
        contract="ChaosCommand",
        retention=_WEEK,
        writers=(GATEWAY_CHAOS, CHAOS_AGENT),
        readers=(CHAOS_AGENT,),
    ),
    Topic(
        name=CHAOS,
        purpose="the chaos that is in force, and how what was has ended",
        key="scenario_id, or stop_all",
        contract="ChaosStatus, EmergencyStop",
        retention=None,
        writers=(CHAOS_AGENT,),
        readers=("every worker", "activity-workers", "dashboards", "operators"),
        cleanup=Cleanup.COMPACT,
        lane_input=False,
    ),
    Topic(
        name=REJECTED,
        purpose="refused records, byte for byte, with the reason; holds hostile and private bytes",
        key="as it came",
        contract="Rejection in headers",
        retention=timedelta(days=3),
        writers=(*GATEWAYS, ORCHESTRATOR, DELIBERATOR, RECOVERER, CHAOS_AGENT),
        readers=("operators", "workflow-clients", APPROVERS),
        max_bytes=8 * MIB,
        lane_input=False,
    ),
    Topic(
        name=AUDIT,
        purpose="one record a turn of a lane: what it read, wrote and decided by",
        key="agent/lane",
        contract="AuditRecord",
        retention=None,
        writers=("every lane",),
        readers=(AUDITORS, NOTARY),
        lane_input=False,
    ),
    Topic(
        name=LANES,
        purpose="the state of every lane, and which agents were ever installed",
        key="lane/{agent}/{partition} or installed/{agent}",
        contract="LaneStatus",
        retention=None,
        writers=("every worker", "operators"),
        readers=("operators",),
        cleanup=Cleanup.COMPACT,
        lane_input=False,
    ),
)


def changelog(agent: str) -> str:
    """The topic that holds an agent's positions and rows."""
    return f"{agent}.changelog"


def dead_letters(agent: str) -> str:
    """The topic that holds what an agent's handler failed on."""
    return f"{agent}.dead-letters"


def deliveries_of(tenant: str) -> str:
    """The topic of a tenant that has its deliveries apart."""
    return f"{DELIVERIES}.{tenant}"


def activities_of(queue: str) -> str:
    """The topic of commands for the workers of a queue."""
    return f"{ACTIVITIES}.{queue}"


def catalogue(tenants: Iterable[str] = (), queues: Iterable[str] = ()) -> tuple[Topic, ...]:
    """Every topic of an installation whose policy gives those tenants deliveries of their own and has those queues.

    There is always the default queue.
    """
    named = dict.fromkeys((DEFAULT_QUEUE, *queues))
    return (
        *_SHARED,
        *map(_tenant_deliveries, tenants),
        *map(_queue, named),
        *(topic for agent in LANE_AGENTS for topic in _own(agent)),
    )


def _queue(queue: str) -> Topic:
    return Topic(
        name=activities_of(queue),
        purpose=f"commands for the activity workers of queue {queue}",
        key="workflow_id",
        contract="ActivityCommand",
        retention=_WEEK,
        writers=(ORCHESTRATOR,),
        readers=("activity-workers",),
        lane_input=False,
    )


def _tenant_deliveries(tenant: str) -> Topic:
    return Topic(
        name=deliveries_of(tenant),
        purpose=f"messages for the receivers of tenant {tenant}",
        key="to_agent, else conversation_id",
        contract="AgentMessage",
        retention=_WEEK,
        writers=(TRIAGE, DELIBERATOR),
        readers=(f"agents of {tenant}",),
        lane_input=False,
    )


def _own(agent: str) -> tuple[Topic, Topic]:
    return (
        Topic(
            name=changelog(agent),
            purpose=f"positions and rows of {agent}",
            key="position, control or row",
            contract="the engine's own",
            retention=None,
            writers=(agent,),
            readers=(agent,),
            cleanup=Cleanup.COMPACT,
        ),
        Topic(
            name=dead_letters(agent),
            purpose=f"records that {agent} failed on, byte for byte, and how each was resolved",
            key="source position",
            contract="the engine's own",
            retention=timedelta(days=14),
            writers=(agent, "operators"),
            readers=("operators",),
            max_bytes=8 * MIB,
            lane_input=False,
        ),
    )
