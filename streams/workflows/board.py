"""How every workflow stands, and which of them somebody asks for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import ValidationError

from compensation.status import PARKED
from schemas import topics
from schemas.workflow import Attention, StepStatus, WorkflowState, WorkflowStatus
from streams.agents.naming import Naming
from streams.broker import read_to_end, reading, records_of, require_topics
from streams.engine import client
from streams.engine.client import Consumer, EngineSettings, TopicPartition
from streams.engine.records import Record
from streams.places import partition_of
from streams.workflows.errors import WorkflowUnknownError

ORDERED = frozenset(
    {
        StepStatus.BLOCKED,
        StepStatus.COMPENSATION_FAILED,
        StepStatus.UNKNOWN,
        StepStatus.FAILED,
        StepStatus.NO_EFFECT,
    }
)
"""A node that needs somebody and stands so is retried, skipped or marked as done; others wait for something."""


@dataclass(slots=True)
class WorkflowBoard:
    """Reads the topic of statuses, from its start at first and from where it was at each later look."""

    settings: EngineSettings
    _statuses: dict[bytes, WorkflowStatus] = field(default_factory=dict[bytes, WorkflowStatus])
    _next: dict[int, int] = field(default_factory=dict[int, int])

    async def look(self) -> list[WorkflowStatus]:
        """Every workflow that is not forgotten, the newest first, without results.

        Raises:
            InstallationError: there is no topic of statuses.
            BrokerError: the broker cannot be reached or refuses.
        """
        topic = Naming(self.settings.prefix).topic(topics.WORKFLOW_STATUS)
        counts = await require_topics(self.settings, [topic])
        async with reading(self.settings) as consumer:
            for partition in range(counts[topic]):
                await self._read(consumer, client.topic_partition(topic, partition))
        return sorted(self._statuses.values(), key=lambda status: (-status.started_ms, status.workflow_id))

    async def _read(self, consumer: Consumer, partition: TopicPartition) -> None:
        async for record in read_to_end(consumer, partition, self._next.get(partition.partition)):
            self._take(record)
        self._next[partition.partition] = await consumer.position(partition)

    def _take(self, record: Record) -> None:
        if record.key is None:
            return
        status = _status(record)
        if status is not None:
            self._statuses[record.key] = status.model_copy(update={"results": None})
        elif record.value is None:
            self._statuses.pop(record.key, None)


async def status_of(settings: EngineSettings, workflow_id: str) -> WorkflowStatus:
    """How one workflow stands, with its results.

    Raises:
        WorkflowUnknownError: there is no workflow of this id.
        InstallationError: there is no topic of statuses.
        BrokerError: the broker cannot be reached or refuses.
    """
    topic = Naming(settings.prefix).topic(topics.WORKFLOW_STATUS)
    partitions = (await require_topics(settings, [topic]))[topic]
    place, key = partition_of(topic, workflow_id, partitions), workflow_id.encode()
    found: WorkflowStatus | None = None
    async for record in records_of(settings, topic, [place.partition]):
        if record.key == key:
            found = None if record.value is None else _status(record) or found
    if found is None:
        raise WorkflowUnknownError(workflow_id)
    return found


def _status(record: Record) -> WorkflowStatus | None:
    try:
        return None if record.value is None else WorkflowStatus.model_validate_json(record.value)
    except ValidationError:
        return None  # of another version of this program


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which workflows are asked for. What is empty or None asks for nothing; all tags must be there."""

    states: frozenset[WorkflowState] = frozenset()
    tags: frozenset[str] = frozenset()
    name: str | None = None
    older_than: timedelta | None = None
    needs_attention: bool = False

    def of(self, statuses: Iterable[WorkflowStatus], now_ms: int) -> list[WorkflowStatus]:
        """Those that are asked for, in the order given."""
        return [status for status in statuses if self._has(status, now_ms)]

    def _has(self, status: WorkflowStatus, now_ms: int) -> bool:
        is_old = self.older_than is None or now_ms - status.started_ms > self.older_than.total_seconds() * 1000
        return (
            is_old
            and (not self.states or status.state in self.states)
            and self.tags <= set(status.tags)
            and (self.name is None or self.name == status.name)
            and (not self.needs_attention or needs_somebody(status))
        )


def needs_somebody(status: WorkflowStatus) -> bool:
    """Whether it does not go on by itself: it is parked, paused, or a node waits for a person or is blocked."""
    return status.attention_count > 0 or status.state in PARKED or status.state is WorkflowState.PAUSED


def to_order(status: WorkflowStatus) -> Iterator[Attention]:
    """The nodes, of those listed, that an operator may retry, skip or mark as done."""
    return (one for one in status.attention if one.node is not None and one.status in ORDERED)
