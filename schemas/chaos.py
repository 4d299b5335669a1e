"""Chaos as its operators order it: commands on `in.chaos`, and on `chaos` what is in force and how it ended."""

from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, NamedTuple, Self

from pydantic import Field, model_validator

from schemas.model import Contract, Name, Rfc3339, Uuid

MAX_DURATION = timedelta(minutes=5)
"""The longest that any scenario may be in force, whoever asks and whatever the policy says."""
MAX_VALIDITY = timedelta(minutes=10)
"""How long after it was made a command may be acted on: a signed one is of no use to anybody later."""
MAX_LATENCY_MS = 5_000
"""Half of a turn's deadline and of a member's session: what is late is not yet taken for dead."""
MAX_MEMORY_MIB = 512
MAX_CPU_PERCENT = 80
MAX_BLAST_RADIUS = 32
EVERYTHING = "stop_all"
"""The key on `chaos` of the last emergency stop."""


class ChaosType(StrEnum):
    """What a scenario does to its target."""

    LATENCY = "latency"
    """Turns of lanes and calls of activities begin later."""
    ERROR = "error"
    """Turns fail before they commit; calls of activities are refused before they begin."""
    CIRCUIT_BREAKER = "circuit_breaker"
    """The breaker of a service is open; calls of activities are refused as one would."""
    RESOURCE_EXHAUSTION = "resource_exhaustion"
    """A process holds memory and burns processor time."""
    NETWORK_PARTITION = "network_partition"
    """Lanes are cut off from Kafka: they can write nothing."""
    TIMEOUT = "timeout"
    """Commits are not answered within their deadline; calls of activities do not begin."""


class TargetKind(StrEnum):
    """What a target is."""

    AGENT = "agent"
    """Every lane of an agent."""
    LANE = "lane"
    """One lane: the agent, a slash and the number."""
    QUEUE = "queue"
    """Every activity of a queue, in its workers."""
    ACTIVITY = "activity"
    """One activity, in the workers that serve it."""
    SERVICE = "service"
    """What circuit breakers guard calls to."""


_RUNNING = frozenset({TargetKind.AGENT, TargetKind.LANE, TargetKind.QUEUE, TargetKind.ACTIVITY})
SUITS: dict[ChaosType, frozenset[TargetKind]] = {
    ChaosType.LATENCY: _RUNNING,
    ChaosType.ERROR: _RUNNING,
    ChaosType.TIMEOUT: _RUNNING,
    ChaosType.NETWORK_PARTITION: frozenset({TargetKind.AGENT, TargetKind.LANE}),
    ChaosType.RESOURCE_EXHAUSTION: frozenset({TargetKind.AGENT, TargetKind.QUEUE}),
    ChaosType.CIRCUIT_BREAKER: frozenset({TargetKind.SERVICE, TargetKind.QUEUE, TargetKind.ACTIVITY}),
}
"""Which targets a type of chaos can be done to."""

TargetText = Annotated[
    str, Field(pattern=r"^(agent|queue|activity|service):[^*]{1,200}$|^lane:[^*/]{1,200}/[0-9]{1,5}$")
]
"""A target: its kind, a colon, its name. A lane's name is its agent, a slash and its number."""

TargetPattern = Annotated[str, Field(pattern=r"^(agent|lane|queue|activity|service):.{1,200}$")]
"""Targets of one kind: a name, or one in which `*` stands for any characters."""


class Target(NamedTuple):
    """A target, read."""

    kind: TargetKind
    name: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Reads a TargetText."""
        kind, _, name = text.partition(":")
        return cls(TargetKind(kind), name)

    @property
    def agent(self) -> str | None:
        """The agent whose lanes it is; None for what is no lane."""
        match self.kind:
            case TargetKind.AGENT:
                return self.name
            case TargetKind.LANE:
                return self.name.rpartition("/")[0]
            case _:
                return None


def covers(radius: str, target: str) -> bool:
    """Whether a target, or a pattern of some, has the other within it. An agent has its lanes within it."""
    if fnmatchcase(target, _literal(radius)):
        return True
    agent = Target.of(target).agent
    return agent is not None and fnmatchcase(f"{TargetKind.AGENT}:{agent}", _literal(radius))


def _literal(pattern: str) -> str:
    """The pattern with nothing in it that means anything but `*`."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


class ChaosParameters(Contract):
    """How bad it is.

    `latency_ms` goes with latency. Resource exhaustion holds `memory_mib` of memory, burns `cpu_percent` of one
    processor, or both, in each process that it is in force in. `probability_percent` is how often a turn or a call is
    met by latency, error or timeout.
    """

    latency_ms: Annotated[int, Field(ge=1, le=MAX_LATENCY_MS)] | None = None
    memory_mib: Annotated[int, Field(ge=1, le=MAX_MEMORY_MIB)] | None = None
    cpu_percent: Annotated[int, Field(ge=1, le=MAX_CPU_PERCENT)] | None = None
    probability_percent: Annotated[int, Field(ge=1, le=100)] | None = None


_TAKES: dict[ChaosType, frozenset[str]] = {
    ChaosType.LATENCY: frozenset({"latency_ms", "probability_percent"}),
    ChaosType.ERROR: frozenset({"probability_percent"}),
    ChaosType.TIMEOUT: frozenset({"probability_percent"}),
    ChaosType.NETWORK_PARTITION: frozenset(),
    ChaosType.RESOURCE_EXHAUSTION: frozenset({"memory_mib", "cpu_percent"}),
    ChaosType.CIRCUIT_BREAKER: frozenset(),
}


def check_fit(chaos_type: ChaosType, target: str, parameters: ChaosParameters) -> None:
    """That this can be done to the target, and that the parameters are the type's.

    Raises:
        ValueError: it cannot, or they are not; the words say what can.
    """
    kind = Target.of(target).kind
    if kind not in SUITS[chaos_type]:
        kinds = ", ".join(sorted(SUITS[chaos_type]))
        raise ValueError(f"{chaos_type} cannot be done to {kind}:..., but to {kinds}")
    check_parameters(chaos_type, parameters)


def check_parameters(chaos_type: ChaosType, parameters: ChaosParameters) -> None:
    """That the parameters are the type's.

    Raises:
        ValueError: they are not; the words say what is wrong.
    """
    given = set(parameters.model_dump(exclude_none=True))
    if strange := sorted(given - _TAKES[chaos_type]):
        raise ValueError(f"{', '.join(strange)} does not belong to {chaos_type}")
    if chaos_type is ChaosType.LATENCY and parameters.latency_ms is None:
        raise ValueError("latency needs latency_ms")
    if chaos_type is ChaosType.RESOURCE_EXHAUSTION and not given:
        raise ValueError("resource_exhaustion needs memory_mib, cpu_percent or both")


class ChaosOrder(StrEnum):
    """What an operator may order."""

    RUN = "run"
    STOP = "stop"
    STOP_ALL = "stop_all"
    """The emergency stop: whatever is in force ends."""


Reason = Annotated[str, Field(min_length=1, max_length=300)]
DurationMs = Annotated[int, Field(ge=1, le=int(MAX_DURATION / timedelta(milliseconds=1)))]
BlastRadius = Annotated[tuple[TargetText, ...], Field(min_length=1, max_length=MAX_BLAST_RADIUS)]
Ms = Annotated[int, Field(ge=0)]

_OF_RUN = ("name", "chaos_type", "target", "duration_ms", "blast_radius")
_OF_SCENARIO = ("scenario_id", *_OF_RUN)


class ChaosCommand(Contract):
    """One command on `in.chaos`. The header `agent-signature` bears the signature of `requested_by`, an operator.

    Run has every field; stop names the `scenario_id` alone; stop_all none of a scenario's. `blast_radius` is all that
    the scenario may touch, and the `target` must be inside. `expires_at` is at most 10 minutes after `created_at`.
    """

    command: ChaosOrder
    command_id: Uuid
    requested_by: Name
    reason: Reason
    constitutional_hash: str
    created_at: Rfc3339
    expires_at: Rfc3339
    scenario_id: Uuid | None = None
    name: Name | None = None
    chaos_type: ChaosType | None = None
    target: TargetText | None = None
    duration_ms: DurationMs | None = None
    blast_radius: BlastRadius | None = None
    parameters: ChaosParameters | None = None

    @model_validator(mode="after")
    def _is_soon_void(self) -> Self:
        valid = self.expires_at - self.created_at
        if not timedelta(0) < valid <= MAX_VALIDITY:
            raise ValueError(f"expires_at must be after created_at, by at most {MAX_VALIDITY.total_seconds():.0f} s")
        return self

    @model_validator(mode="after")
    def _has_what_belongs(self) -> Self:
        needed = {ChaosOrder.RUN: _OF_SCENARIO, ChaosOrder.STOP: ("scenario_id",)}.get(self.command, ())
        for name in _OF_SCENARIO:
            is_given = getattr(self, name) is not None
            if name in needed and not is_given:
                raise ValueError(f"{self.command} needs {name}")
            if is_given and name not in needed:
                raise ValueError(f"{name} does not belong to {self.command}")
        if self.parameters is not None and self.command is not ChaosOrder.RUN:
            raise ValueError(f"parameters does not belong to {self.command}")
        if self.chaos_type is not None and self.target is not None:
            check_fit(self.chaos_type, self.target, self.parameters or ChaosParameters())
        return self


class ChaosState(StrEnum):
    """How a scenario stands."""

    IN_FORCE = "in_force"
    OVER = "over"
    """It ended by itself."""
    STOPPED = "stopped"


class ChaosStatus(Contract):
    """On the compacted `chaos`, under the scenario's id: what is in force until when, or how it ended.

    It is in force no longer than until `until_ms` by the clock, nor longer than `duration_ms` after it was first seen,
    nor once another record says that it ended. `command_id` is that of the command that brought it to this state, where
    one did; `ended_by` who stopped it. Times are in milliseconds since 1970, by the log. A while after its end the
    record is deleted.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    scenario_id: Uuid
    name: Name
    chaos_type: ChaosType
    target: TargetText
    duration_ms: DurationMs
    blast_radius: BlastRadius
    parameters: ChaosParameters
    requested_by: Name
    reason: Reason
    constitutional_hash: str
    state: ChaosState
    started_ms: Ms
    until_ms: Ms
    ended_ms: Ms | None = None
    ended_by: Name | None = None
    why: Reason | None = None
    command_id: Uuid | None = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.until_ms - self.started_ms != self.duration_ms:
            raise ValueError("until_ms is not duration_ms after started_ms")
        if (self.state is ChaosState.IN_FORCE) == (self.ended_ms is not None):
            raise ValueError("a scenario has ended at a time, or is in force")
        return self


class EmergencyStop(Contract):
    """On `chaos`, under the key `stop_all`: the last time that everything was stopped, and what was in force then."""

    v: Annotated[int, Field(ge=1, le=1)] = 1
    command_id: Uuid
    by: Name
    reason: Reason
    at: Ms
    stopped: tuple[Uuid, ...]
