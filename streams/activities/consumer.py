"""The consumer of a queue, and commits that say what is finished beyond them."""

from collections.abc import Mapping
from typing import Any, cast

import aiokafka
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from streams.activities.commits import Commit
from streams.engine.client import Consumer, EngineSettings, TopicPartition

_Consumer: Any = aiokafka.AIOKafkaConsumer

_NEVER_MS = 2**31 - 1
_FETCH_BYTES = 1024 * 1024
_FETCH_WAIT_MS = 200
"""How long a fetch may wait for a partition without records while another one has been read empty."""


def command_consumer(settings: EngineSettings, group: str) -> Consumer:
    """A member of the group that never commits or resets by itself. Subscribe it before its start.

    It may be as long without a fetch as its activities take: its heartbeats alone say that it lives.
    """
    made = _Consumer(
        bootstrap_servers=settings.bootstrap_servers,
        client_id=f"{settings.client_id}-{group}",
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        partition_assignment_strategy=(RangePartitionAssignor,),
        session_timeout_ms=int(settings.session_timeout.total_seconds() * 1000),
        heartbeat_interval_ms=int(settings.heartbeat.total_seconds() * 1000),
        max_poll_interval_ms=_NEVER_MS,
        rebalance_timeout_ms=int(settings.session_timeout.total_seconds() * 1000),
        max_partition_fetch_bytes=_FETCH_BYTES,
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        retry_backoff_ms=100,
        **settings.security,
    )
    return cast("Consumer", made)


async def committed(consumer: Consumer, partition: TopicPartition) -> Commit | None:
    """What the group has committed for a partition, None for nothing. Asks for ever: set a deadline.

    Raises:
        KafkaError: the group may not be read.
    """
    # The client's own committed() leaves the metadata out.
    coordinator = cast("Any", consumer)._coordinator  # noqa: SLF001
    found = (await coordinator.fetch_committed_offsets([partition])).get(partition)
    return None if found is None or found.offset < 0 else Commit(found.offset, found.metadata)


async def commit(consumer: Consumer, commits: Mapping[TopicPartition, Commit]) -> None:
    """Commits offsets with their metadata. Tries for ever while the broker is away: set a deadline.

    Raises:
        KafkaError: the group has been rebalanced meanwhile, or the broker refuses.
    """
    offsets = {partition: (one.offset, one.metadata) for partition, one in commits.items()}
    await consumer.commit(cast("Any", offsets))
