"""The intake: takes commands from one queue as a member of its group, while there are places free, and commits."""

import asyncio
import logging
from collections.abc import Collection
from typing import Protocol

from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import IllegalStateError, KafkaError, OffsetOutOfRangeError

from streams.activities import consumer as consumers
from streams.activities.commits import Commit, Ledger
from streams.engine import client
from streams.engine.client import Consumer, EngineSettings, TopicPartition
from streams.engine.records import Record

_log = logging.getLogger(__name__)

_POLL_MS = 1_000
_RETRY_S = 1.0
_COMMIT_EVERY_S = 1.0
_COMMIT_WITHIN_S = 3.0
_SETTLE_WITHIN_S = 1.0
_FAILURES = (KafkaError, OSError, TimeoutError, AssertionError)


class Desk(Protocol):
    """What an intake brings commands to. `room` is set whenever there may be places free again."""

    room: asyncio.Event

    def free(self) -> int:
        """How many commands may be brought now."""
        ...

    def take(self, ledger: Ledger, record: Record) -> None:
        """Takes a command; the ledger counts it as running."""
        ...

    def withdraw(self) -> None:
        """Lets go of what has not begun, and says so to its ledger."""
        ...

    async def settle(self, within_s: float) -> None:
        """Waits until all that was answered is acknowledged by the broker."""
        ...


class Intake:
    """Brings the commands of a queue to a desk.

    What was read of a partition stays known while the process lives: a command that runs is not run again because its
    partition went and came back. A new group begins with the oldest command that there is.
    """

    def __init__(self, topic: str, group: str, settings: EngineSettings, desk: Desk) -> None:
        self.topic, self._group, self._settings, self._desk = topic, group, settings, desk
        self._ledgers: dict[int, Ledger] = {}
        self._owned: dict[TopicPartition, Ledger] = {}
        self._assigned: frozenset[TopicPartition] | None = None
        self._committed: dict[TopicPartition, Commit] = {}
        self._consumer: Consumer | None = None
        self._beginning: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether the group has assigned what is to be read here, even if nothing, and it is read."""
        return self._assigned is not None and self._assigned == self._owned.keys()

    async def run(self) -> None:
        """Takes commands, and joins the group anew whenever that fails.

        Cancelled, it commits, leaves the group, and leaves no connection behind.
        """
        while not self._stopping.is_set():
            try:
                await self._session()
            except _FAILURES as error:
                _log.warning("queue %s cannot be read, joining its group again: %r", self.topic, error)
                await self._pause()

    def stop_fetching(self) -> None:
        """Takes no more commands, but stays in the group, so that what runs can be committed."""
        self._stopping.set()

    # One membership of the group

    async def _session(self) -> None:
        self._consumer = consumer = consumers.command_consumer(self._settings, self._group)
        consumer.subscribe([self.topic], listener=_Listener(self))
        working: list[asyncio.Task[object]] = []
        try:
            async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
                await consumer.start()
            stopping = asyncio.create_task(self._stopping.wait())
            pumping = asyncio.create_task(self._pump(consumer))
            committing = asyncio.create_task(self._commit_often(consumer))
            working += [stopping, pumping, committing]
            await asyncio.wait([stopping, pumping], return_when=asyncio.FIRST_COMPLETED)
            if pumping.done():
                pumping.result()
            pumping.cancel()
            await committing
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            await self._end(consumer)

    async def _pump(self, consumer: Consumer) -> None:
        desk = self._desk
        while True:
            desk.room.clear()
            places = desk.free()
            if places <= 0:
                await desk.room.wait()
                continue
            try:
                fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=places)
            except OffsetOutOfRangeError as error:
                await self._overtaken(consumer, error)
                continue
            for partition, records in fetched.items():
                ledger = self._owned.get(partition)
                if ledger is not None:
                    for record in records:
                        if ledger.take(record.offset):
                            desk.take(ledger, record)

    async def _overtaken(self, consumer: Consumer, error: OffsetOutOfRangeError) -> None:
        """Retention has deleted what was to be read next, or the log is another one: goes on where it begins now."""
        lost: Collection[TopicPartition] = error.args[0] if error.args else list(self._owned)
        for partition in [one for one in lost if one in self._owned]:
            begin = (await consumer.beginning_offsets([partition]))[partition]
            _log.warning("%s/%d: going on at offset %d, the oldest that is left", *partition, begin)
            self._ledgers[partition.partition] = self._owned[partition] = ledger = Ledger()
            consumer.seek(partition, ledger.adopt(Commit(begin, "")))

    async def _end(self, consumer: Consumer) -> None:
        await self.revoked()
        self._consumer, self._assigned = None, None
        await client.close(consumer, self._settings.turn_timeout)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_RETRY_S):
                await self._stopping.wait()
        except TimeoutError:
            return

    # Commits

    async def _commit_often(self, consumer: Consumer) -> None:
        while True:
            await asyncio.sleep(_COMMIT_EVERY_S)
            await self._commit(consumer)

    async def _commit(self, consumer: Consumer) -> None:
        """Commits what has changed. Where that fails, the next commit says it again."""
        try:
            async with asyncio.timeout(_COMMIT_WITHIN_S):
                for partition, ledger in list(self._owned.items()):
                    ledger.reach(await consumer.position(partition))
                commits = {partition: ledger.commit() for partition, ledger in self._owned.items()}
                changed = {one: found for one, found in commits.items() if found != self._committed.get(one)}
                if changed:
                    await consumers.commit(consumer, changed)
                    self._committed.update(changed)
        except _FAILURES as error:
            _log.info("offsets of %s are not committed yet: %r", self.topic, error)

    # What the group says

    async def revoked(self) -> None:
        """Every partition may go elsewhere: what has not begun is let go, what has ended is committed."""
        self._begin_nothing()
        self._desk.withdraw()
        if self._consumer is not None and self._owned:
            await self._desk.settle(_SETTLE_WITHIN_S)
            await self._commit(self._consumer)
        self._owned.clear()
        self._committed.clear()

    async def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Begins to read partitions, from where their commits stand."""
        consumer = self._consumer
        if consumer is None:
            return
        self._begin_nothing()
        self._owned.clear()
        self._committed.clear()
        self._assigned = frozenset(partitions)
        consumer.pause(*partitions)
        for partition in partitions:
            consumer.seek(partition, 0)  # any position: without one the client looks for one itself, and fails
        self._beginning = asyncio.create_task(self._begin(consumer, sorted(partitions)))

    def _begin_nothing(self) -> None:
        if self._beginning is not None:
            self._beginning.cancel()
            self._beginning = None

    async def _begin(self, consumer: Consumer, partitions: Collection[TopicPartition]) -> None:
        for partition in partitions:
            while not self._stopping.is_set() and partition not in self._owned:
                try:
                    async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
                        await self._begin_one(consumer, partition)
                except IllegalStateError:
                    return  # the group has decided anew
                except _FAILURES as error:
                    _log.warning("commits of %s/%d cannot be read, trying again: %r", *partition, error)
                    await self._pause()

    async def _begin_one(self, consumer: Consumer, partition: TopicPartition) -> None:
        found = await consumers.committed(consumer, partition)
        if found is None:
            found = Commit((await consumer.beginning_offsets([partition]))[partition], "")
            await consumers.commit(consumer, {partition: found})  # no commit means that nobody has read anything
            read_before = found.offset
        else:
            read_before = (await consumer.end_offsets([partition]))[partition]
        ledger = self._ledgers.setdefault(partition.partition, Ledger())
        consumer.seek(partition, ledger.adopt(found, read_before))
        self._owned[partition] = ledger
        consumer.resume(partition)


class _Listener(ConsumerRebalanceListener):
    """Tells the intake what the group decides. Heartbeats wait for it: it begins to read elsewhere."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride]  # either may be a coroutine
        self, revoked: Collection[TopicPartition]
    ) -> None:
        del revoked
        await self._intake.revoked()

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, assigned: Collection[TopicPartition]
    ) -> None:
        await self._intake.assigned(assigned)
