"""Faust's Kafka transport, made to read committed records only, and to begin where a table's own rows say.

Faust reads what aborted transactions have left behind, and loses count of its commits where transaction markers stand
between records. So a partition is not begun at the committed offset, but where `begin_at` says.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP

BeginAt = Callable[[str, int], int | None]
"""The offset at which a topic's partition begins, None where the committed one does."""


class _CommittedThread(AIOKafkaConsumerThread):
    """A consumer's thread whose consumer reads committed records only."""

    def _create_worker_consumer(self, transport: Any) -> Any:  # noqa: ANN401  # aiokafka's consumer has no types
        consumer: Any = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # noqa: SLF001  # Faust leaves no other way
        return consumer


class _CommittedConsumer(Consumer):
    """Begins each partition where its transport says."""

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        own: Any = self
        return _CommittedThread(own, loop=own.loop, beacon=own.beacon)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Called whenever partitions have come, and their tables are restored."""
        offsets = dict(await super().seek_to_committed())
        begin_at: BeginAt = cast("CommittedTransport", self.transport).begin_at
        for partition in self.assignment():
            offset = begin_at(partition.topic, partition.partition)
            if offset is not None:
                await self._seek(partition, offset)
                offsets[partition] = offset
        return offsets


class CommittedTransport(Transport):
    """The transport of one app."""

    Consumer = _CommittedConsumer

    def __init__(self, url: Any, app: Any, begin_at: BeginAt) -> None:  # noqa: ANN401  # Faust's own types of both are wide
        super().__init__(url, app)
        self.begin_at = begin_at
