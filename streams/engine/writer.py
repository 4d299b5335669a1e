"""The transactional side of a lane: one producer, one turn at a time, and what became of a turn that failed."""

import asyncio
import logging
import time
from collections.abc import Sequence
from enum import Enum, auto

from streams.engine import client, restore
from streams.engine.agent import Agent, Control
from streams.engine.client import Batch, Delivered, EngineSettings, Producer
from streams.engine.disturbance import UNDISTURBED, Disturbance
from streams.engine.records import Row
from streams.engine.turn import Bounds, Output, Turn

_log = logging.getLogger(__name__)

_YIELD_AFTER_S = 0.008
_RECORD_OVERHEAD = 64


class Outcome(Enum):
    """What became of a turn."""

    COMMITTED = auto()
    NEVER_HAPPENED = auto()
    SUPERSEDED = auto()
    """The changelog's last turn is neither this one nor the one before: another owner's, or a commit was not kept."""


class TurnWriter:
    """Writes turns under one transactional id.

    A producer is never used again after a failure, and a transaction never aborted: another producer of the same id
    ends what was open, and the changelog then says what had committed. See renew().
    """

    def __init__(
        self,
        agent: Agent[Row, Control],
        partition: int,
        settings: EngineSettings,
        disturbance: Disturbance = UNDISTURBED,
    ) -> None:
        self._agent, self._partition, self._settings, self._disturbance = agent, partition, settings, disturbance
        self._transactional_id = settings.transactional_id(agent.name, partition)
        self._producer: Producer | None = None
        self._changelog_next = 0
        self._last_is_there = False

    async def start(self) -> None:
        """Starts a producer, which fences every earlier owner of the lane and ends its open transaction.

        Raises:
            KafkaError, TimeoutError, OSError: not within `turn_timeout`.
        """
        await self._start_producer()
        if await restore.has_open_transaction(self._agent, self._partition, self._settings):
            await self._end_what_hangs()

    async def _start_producer(self) -> None:
        await self.abandon()
        await self._disturbance.reach_broker(self._agent.name, self._partition)
        producer = client.transactional_producer(self._settings, self._transactional_id)
        self._producer = producer
        async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
            await producer.start()
            for topic in self._agent.written:
                await producer.partitions_for(topic)

    async def _end_what_hangs(self) -> None:
        """Ends a transaction that the coordinator takes for ended, but whose markers never reached its partitions.

        A broker that was fenced while it wrote the markers (a pause beyond its session, with no other replica) passes
        over partitions without a leader as if they were deleted. What hangs there would be committed by the marker of
        this producer's next transaction, although the lane has handled its records anew. So a transaction is begun
        in every partition that the lane may have written and left to the next producer's start, which aborts it, and
        with it what hangs.
        """
        producer = self._producer
        if producer is None:
            raise RuntimeError("nothing has been started")
        _log.warning("a transaction of lane %s/%d hangs: aborting it", self._agent.name, self._partition)
        async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
            await producer.begin_transaction()
            sent = [
                await producer.send(topic, b"aborted", partition=partition)
                for topic in self._agent.written
                for partition in await producer.partitions_for(topic)
            ]
            await asyncio.gather(*sent)
        await self._start_producer()

    def stands_at(self, changelog_next: int) -> None:
        """Notes the changelog offset after which nothing has been read."""
        self._changelog_next, self._last_is_there = changelog_next, False

    async def write(self, turn: Turn[Row, Control], bounds: Bounds) -> None:
        """Writes the turn's batches in one transaction; on return it is committed.

        Raises:
            Exception: anything; the turn may or may not have committed, and only renew() can tell.
        """
        producer = self._producer
        if producer is None:
            raise RuntimeError("write() before start()")
        disturbance, agent, lane = self._disturbance, self._agent.name, self._partition
        async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
            await disturbance.reach_broker(agent, lane)
            built = await _build(producer, turn, bounds)
            await producer.begin_transaction()
            # No await between the sends gives way to the client's sender: all partitions join in one request.
            deliveries = [await producer.send_batch(batch, topic, partition=p) for topic, p, batch in built]
            results = await asyncio.gather(*deliveries, return_exceptions=True)
            self._raise_first(results)
            await disturbance.before_commit(agent, lane)
            await producer.commit_transaction()
            await disturbance.after_commit(agent, lane)
        self._changelog_next = max(
            result.offset + batch.record_count() - 1
            for (topic, _, batch), result in zip(built, results, strict=True)
            if topic == self._agent.topics.changelog and not isinstance(result, BaseException)
        )
        self._last_is_there = True

    async def renew(self, turn: Turn[Row, Control], before: int) -> Outcome:
        """Starts another producer and says what became of a turn that failed; `before` is the seq it began from.

        Raises:
            KafkaError, TimeoutError, OSError: the broker cannot be asked; try again.
        """
        await self.start()
        found, self._changelog_next = await restore.last_position(
            self._agent, self._partition, self._settings, self._changelog_next
        )
        vanished, self._last_is_there = found is None and self._last_is_there, False
        if vanished:
            return Outcome.SUPERSEDED
        if found is None or found.seq == before:
            return Outcome.NEVER_HAPPENED
        return Outcome.COMMITTED if found == turn.position else Outcome.SUPERSEDED

    async def stop(self) -> None:
        """Closes the producer in good order if it can within `turn_timeout`."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await client.close(producer, self._settings.turn_timeout)

    async def abandon(self) -> None:
        """Closes the producer without a word to the broker."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await client.abandon(producer)

    @staticmethod
    def _raise_first(results: Sequence[Delivered | BaseException]) -> None:
        for result in results:
            if isinstance(result, BaseException):
                raise result


async def _build(producer: Producer, turn: Turn[Row, Control], bounds: Bounds) -> list[tuple[str, int, Batch]]:
    """The turn as batches, none larger than its topic allows; gives way to other tasks every 8 ms of work."""
    built: list[tuple[str, int, Batch]] = []
    now_ms = int(time.time() * 1000)
    worked_since = time.perf_counter()
    for (topic, partition), outputs in turn.batches.items():
        for batch in _batches(producer, outputs, now_ms, bounds.max_bytes[topic]):
            built.append((topic, partition, batch))
            if time.perf_counter() - worked_since > _YIELD_AFTER_S:
                await asyncio.sleep(0)
                worked_since = time.perf_counter()
    return built


def _batches(producer: Producer, outputs: Sequence[Output], now_ms: int, limit: int) -> list[Batch]:
    batch = producer.create_batch()
    batches = [batch]
    at_most = 0
    for key, value, headers, size in outputs:
        at_most += size + _RECORD_OVERHEAD
        if at_most > limit:  # a bound, kept here because asking the batch costs two calls a record
            at_most = batch.size() + size + _RECORD_OVERHEAD
        fits = at_most <= limit or not batch.record_count()
        if not fits or batch.append(timestamp=now_ms, key=key, value=value, headers=list(headers)) is None:
            batch.close()
            batch = producer.create_batch()
            batches.append(batch)
            batch.append(timestamp=now_ms, key=key, value=value, headers=list(headers))
            at_most = batch.size()
    batch.close()
    return batches
