"""The outbox: results and heartbeats on their way to the broker, as many at a time as there are."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from aiokafka.errors import KafkaError

from streams.engine import client
from streams.engine.client import Batch, Delivered, EngineSettings, Producer

_log = logging.getLogger(__name__)

_MAX_WAITING = 2_000
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.1, 2.0
_FAILURES = (KafkaError, OSError, TimeoutError, AssertionError)


class Outgoing(NamedTuple):
    """A record, and whom to tell once the broker has acknowledged it."""

    topic: str
    key: bytes
    value: bytes
    acknowledged: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class _Sent:
    topic: str
    partition: int
    batch: Batch
    records: list[Outgoing]


class Outbox:
    """Publishes what is put into it: at once when nothing is under way, else together with all that has come since.

    A record without an acknowledgement is lost only with this process. Those of one key keep their order. A producer
    that failed is not used again, and what it may or may not have written is written again: more than once is allowed.
    """

    def __init__(self, settings: EngineSettings, topics: Sequence[str]) -> None:
        self._settings, self._topics = settings, topics
        self._producer: Producer | None = None
        self._counts: dict[str, int] = {}
        self._waiting: list[Outgoing] = []
        self._fleeting: dict[str, Outgoing] = {}
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._room_waiters: list[asyncio.Event] = []
        self.trouble: str | None = None
        """Why nothing can be published at present, in words."""

    @property
    def has_room(self) -> bool:
        """Whether more results may be taken on."""
        return len(self._waiting) < _MAX_WAITING

    def tell_of_room(self, event: asyncio.Event) -> None:
        """Sets the event whenever something has been published."""
        self._room_waiters.append(event)

    def put(self, outgoing: Outgoing) -> None:
        """Takes a record that must not be lost."""
        self._waiting.append(outgoing)
        self._empty.clear()
        self._wake.set()

    def put_fleeting(self, of: str, outgoing: Outgoing) -> None:
        """Takes a record of which only the newest of its kind matters, and which may be lost."""
        self._fleeting[of] = outgoing
        self._wake.set()

    async def flush(self, within_s: float) -> int:
        """Returns when everything is acknowledged, or the time is over; how many results are still waiting."""
        try:
            async with asyncio.timeout(within_s):
                await self._empty.wait()
        except TimeoutError:
            return len(self._waiting)
        return 0

    async def run(self) -> None:
        """Publishes, for ever; cancel it once nothing waits. Leaves no connection behind."""
        pause = _FIRST_PAUSE_S
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting or self._fleeting:
                    if await self._publish():
                        pause = _FIRST_PAUSE_S
                    else:
                        await asyncio.sleep(pause)
                        pause = min(_LAST_PAUSE_S, 2 * pause)
        finally:
            await self._abandon()

    async def start(self) -> None:
        """Connects.

        Raises:
            KafkaError, OSError, TimeoutError: the broker cannot be reached.
        """
        await self._connected()

    async def _publish(self) -> bool:
        """Publishes what waits; False if not all of it was acknowledged, which waits again then, in its order."""
        taken, self._waiting = self._waiting, []
        fleeting, self._fleeting = list(self._fleeting.values()), {}
        left: list[Outgoing] = taken
        try:
            producer = await self._connected()
            left = await self._send(producer, [*fleeting, *taken])
        except _FAILURES as error:
            await self._failed(error)
        self._waiting[:0] = left
        if not left:
            self.trouble = None
        if not self._waiting:
            self._empty.set()
        for event in self._room_waiters:
            event.set()
        return not left

    async def _send(self, producer: Producer, records: Sequence[Outgoing]) -> list[Outgoing]:
        """Writes; returns those without an acknowledgement that must not be lost."""
        limit_s = self._settings.turn_timeout.total_seconds()
        sent = self._batches(producer, records)
        async with asyncio.timeout(limit_s):
            deliveries = [
                asyncio.ensure_future(await producer.send_batch(one.batch, one.topic, partition=one.partition))
                for one in sent
            ]
        await asyncio.wait(deliveries, timeout=limit_s)
        left: list[Outgoing] = []
        failure: BaseException | None = None
        for one, delivery in zip(sent, deliveries, strict=True):
            error = _error_of(delivery)
            if error is None:
                _acknowledge(one.records)
            else:
                left += [record for record in one.records if record.acknowledged is not None]
                failure = error
        if failure is not None:
            await self._failed(failure)
        return left

    def _batches(self, producer: Producer, records: Sequence[Outgoing]) -> list[_Sent]:
        at: dict[tuple[str, int], list[Outgoing]] = {}
        for record in records:
            place = record.topic, crc32(record.key) % self._counts[record.topic]
            at.setdefault(place, []).append(record)
        now_ms = int(time.time() * 1000)
        return [
            _Sent(topic, partition, batch, held)
            for (topic, partition), group in at.items()
            for batch, held in _filled(producer, group, now_ms)
        ]

    async def _connected(self) -> Producer:
        if self._producer is None:
            self._producer = producer = client.plain_producer(self._settings, "results")
            async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
                await producer.start()
                self._counts = {topic: len(await producer.partitions_for(topic)) for topic in self._topics}
        return self._producer

    async def _failed(self, error: BaseException) -> None:
        if self.trouble is None:
            _log.warning("results cannot be published, trying again until they are: %r", error)
        self.trouble = f"results cannot be published: {error!r}"
        await self._abandon()

    async def _abandon(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await client.abandon(producer)


def _filled(producer: Producer, records: Sequence[Outgoing], now_ms: int) -> list[tuple[Batch, list[Outgoing]]]:
    """Batches that are full, and one that need not be, with what each holds."""
    filled: list[tuple[Batch, list[Outgoing]]] = []
    batch, held = producer.create_batch(), list[Outgoing]()
    for record in records:
        if batch.append(timestamp=now_ms, key=record.key, value=record.value, headers=[]) is None:
            batch.close()
            filled.append((batch, held))
            batch, held = producer.create_batch(), []
            batch.append(timestamp=now_ms, key=record.key, value=record.value, headers=[])
        held.append(record)
    batch.close()
    filled.append((batch, held))
    return filled


def _error_of(delivery: asyncio.Future[Delivered]) -> BaseException | None:
    """Why a batch is not known to be written; what comes of it later is not asked for any more."""
    if not delivery.done():
        delivery.add_done_callback(lambda late: late.cancelled() or late.exception())
        return TimeoutError("the broker has not acknowledged in time")
    return asyncio.CancelledError() if delivery.cancelled() else delivery.exception()


def _acknowledge(records: Sequence[Outgoing]) -> None:
    for record in records:
        if record.acknowledged is not None:
            record.acknowledged()
