"""Following topics in the background, from now on or from their start."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence

from streams.broker import require_topics, told_errors
from streams.engine import client
from streams.engine.client import Consumer, EngineSettings, TopicPartition
from streams.engine.records import Record
from streams.errors import StreamsError

_WAIT_MS = 1_000
"""How long one call waits for records. They are handed on as soon as they come."""

_LOOK_S = 0.05


class Follower:
    """Hands every committed record that is written after start() to `take`, in the order of its partition.

    Of the topics in `whole`, those written before come first: `caught_up` is set once all of them have been handed on.
    `take` must neither wait nor raise. If the broker refuses to go on, `failed` is told once and nothing more comes; a
    broker that is away for a while is waited for.
    """

    def __init__(
        self,
        settings: EngineSettings,
        topics: Sequence[str],
        take: Callable[[Record], None],
        failed: Callable[[StreamsError], None],
        *,
        whole: Collection[str] = (),
    ) -> None:
        self._settings, self._topics, self._take, self._failed = settings, topics, take, failed
        self._whole, self._behind = whole, dict[TopicPartition, int]()
        self.caught_up = asyncio.Event()
        self._consumer: Consumer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when it stands where it begins: from there on nothing is missed. stop() it in any case.

        Raises:
            InstallationError: a topic is missing.
            BrokerError: the broker cannot be reached or refuses.
        """
        counts = await require_topics(self._settings, self._topics)
        partitions = [client.topic_partition(topic, p) for topic in self._topics for p in range(counts[topic])]
        consumer = self._consumer = client.reader(self._settings, follows=True)
        with told_errors(self._settings):
            async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
                await consumer.start()
                consumer.assign(partitions)
                begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
                for partition, end in ends.items():
                    is_whole = partition.topic in self._whole
                    consumer.seek(partition, begins[partition] if is_whole else end)
                    if is_whole:
                        self._behind[partition] = end
        self._task = asyncio.create_task(self._follow(consumer))

    async def stop(self) -> None:
        """Ends it and closes its connections; no error if it never started."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._consumer is not None:
            await client.close(self._consumer, self._settings.turn_timeout)

    async def seen(self) -> None:
        """Returns once all that is written by now has been handed on: so long does the broker answer and is followed.

        Waits for as long as it is not.

        Raises:
            BrokerError: the broker cannot be reached or refuses.
        """
        consumer = self._started()
        ends = await self.ends()
        with told_errors(self._settings):
            for partition, end in ends.items():
                while await consumer.position(partition) < end:  # noqa: ASYNC110  # Kafka tells nobody
                    await asyncio.sleep(_LOOK_S)

    async def ends(self) -> Mapping[TopicPartition, int]:
        """Where the broker says that each partition ends.

        Raises:
            BrokerError: the broker cannot be reached or refuses.
        """
        consumer = self._started()
        with told_errors(self._settings):
            return await consumer.end_offsets(list(consumer.assignment()))

    def _started(self) -> Consumer:
        if self._consumer is None:
            raise RuntimeError("start() first")
        return self._consumer

    async def _follow(self, consumer: Consumer) -> None:
        try:
            with told_errors(self._settings):
                while True:
                    await self._look_how_far(consumer)
                    for records in (await consumer.getmany(timeout_ms=_WAIT_MS)).values():
                        for record in records:
                            self._take(record)
        except StreamsError as error:
            self._failed(error)

    async def _look_how_far(self, consumer: Consumer) -> None:
        """Whether all that was there at the start has been handed on."""
        if self.caught_up.is_set():
            return
        for partition, end in list(self._behind.items()):
            if await consumer.position(partition) >= end:
                del self._behind[partition]
        if not self._behind:
            self.caught_up.set()
