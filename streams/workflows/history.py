"""The events of one workflow, in order."""

from collections.abc import AsyncGenerator

from pydantic import ValidationError

from compensation.status import CLOSED
from schemas import topics
from schemas.workflow import WorkflowEvent, WorkflowState, WorkflowStatus
from streams.agents.naming import Naming
from streams.broker import reading, require_topics
from streams.engine.client import Consumer, EngineSettings, TopicPartition
from streams.engine.records import Record
from streams.places import partition_of

_POLL_MS = 250
_SKEW_MS = 60_000
"""How far apart the clocks of two brokers may be: events are looked for from so long before the start."""


async def events(
    settings: EngineSettings, status: WorkflowStatus, *, follow: bool
) -> AsyncGenerator[WorkflowEvent, None]:
    """The events of a workflow's run, from its start on as far as retention has left them.

    Ends at the log's end as of the call; with `follow` not before the workflow is closed. Takes time proportional to
    what all workflows of the same partition have done since this one began.

    Raises:
        InstallationError: there is no topic of events.
        BrokerError: the broker cannot be reached or refuses.
    """
    topic = Naming(settings.prefix).topic(topics.WORKFLOW_EVENTS)
    partitions = (await require_topics(settings, [topic]))[topic]
    partition, key = partition_of(topic, status.workflow_id, partitions), status.workflow_id.encode()
    async with reading(settings) as consumer:
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        consumer.seek(partition, await _first(consumer, partition, status.started_ms - _SKEW_MS, end))
        state: WorkflowState = WorkflowState.RUNNING
        while (follow and state not in CLOSED) or await consumer.position(partition) < end:
            for record in (await consumer.getmany(partition, timeout_ms=_POLL_MS)).get(partition, []):
                event = _event(record, key, status.run)
                if event is not None and (follow or record.offset < end):
                    state = event.state
                    yield event


async def _first(consumer: Consumer, partition: TopicPartition, since_ms: int, end: int) -> int:
    found = (await consumer.offsets_for_times({partition: max(0, since_ms)}))[partition]
    return end if found is None else found.offset


def _event(record: Record, key: bytes, run: str) -> WorkflowEvent | None:
    if record.key != key or record.value is None:
        return None
    try:
        event = WorkflowEvent.model_validate_json(record.value)
    except ValidationError:
        return None  # of another version of this program
    return event if event.run == run else None
