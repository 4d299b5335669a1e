"""The pump: one consumer of an agent's group, always reading, filling the queues of its lanes."""

import asyncio
import logging
from collections.abc import Collection
from typing import Any, Generic

from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from streams.engine import client
from streams.engine.agent import Agent, Control
from streams.engine.client import Consumer, EngineSettings, TopicPartition
from streams.engine.disturbance import UNDISTURBED, Disturbance
from streams.engine.errors import ConfigurationError, EngineError
from streams.engine.lane import Chunk, Lane
from streams.engine.metrics import EngineMetrics
from streams.engine.records import Record, Row

_log = logging.getLogger(__name__)

_POLL_MS = 200
_FULL_PAUSE_S = 0.005
_RELEASE_S = 3.0
_RETRY_S = 1.0
_COMMIT_EVERY_S = 5.0


class Pump(Generic[Row, Control]):
    """Runs every lane of one agent that the group assigns to this process.

    The consumer's own position of an input is compared with where the lane's last chunk ended: what does not continue
    there is dropped and read again. Group offsets are committed now and then, for tools that show lag; no lane ever
    starts from them.
    """

    def __init__(
        self,
        agent: Agent[Row, Control],
        settings: EngineSettings,
        metrics: EngineMetrics,
        disturbance: Disturbance = UNDISTURBED,
    ) -> None:
        self._agent, self._settings, self._metrics, self._disturbance = agent, settings, metrics, disturbance
        self._lanes: dict[int, Lane[Row, Control]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._consumer: Consumer | None = None
        self._expected: dict[TopicPartition, int] = {}
        self._rejoin = asyncio.Event()
        self._stopping = asyncio.Event()
        self._joined = False

    @property
    def agent_name(self) -> str:
        """The agent whose lanes run here."""
        return self._agent.name

    @property
    def lanes(self) -> Collection[Lane[Row, Control]]:
        """The lanes that run here, owned or kept for the next assignment."""
        return self._lanes.values()

    @property
    def has_joined(self) -> bool:
        """Whether the group has assigned something, even if nothing, since the start."""
        return self._consumer is not None and self._joined

    async def run(self) -> None:
        """Joins the group and pumps until stop(); joins anew whenever the consumer fails."""
        while not self._stopping.is_set():
            self._rejoin.clear()
            try:
                await self._session()
            except (KafkaError, OSError, TimeoutError, AssertionError) as error:
                _log.warning("consumer failed, joining again: %r", error, extra={"agent": self._agent.name})
                await self._pause(_RETRY_S)
        self._close_lanes(list(self._lanes))
        if self._ending:
            await asyncio.wait(self._ending, timeout=2 * self._settings.turn_timeout.total_seconds())

    def stop(self) -> None:
        """Lets every lane finish its turn, then leaves the group and ends run()."""
        self._stopping.set()

    # One membership of the group

    async def _session(self) -> None:
        consumer = client.group_consumer(self._settings, self._agent.name)
        consumer.subscribe(self._agent.inputs, listener=_Listener(self))
        self._consumer = consumer
        try:
            async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
                await consumer.start()
            await self._check_partitions(consumer)
            await self._pump(consumer)
        finally:
            await self._leave(consumer)

    async def _check_partitions(self, consumer: Consumer) -> None:
        counts = {topic: len(consumer.partitions_for_topic(topic) or ()) for topic in self._agent.inputs}
        if len(set(counts.values())) != 1:
            raise ConfigurationError(f"inputs of {self._agent.name} must have one partition count, but have {counts}")

    async def _pump(self, consumer: Consumer) -> None:
        clock = asyncio.get_running_loop().time
        committed_at = clock()
        while not self._stopping.is_set() and not self._rejoin.is_set():
            await self._fill(consumer)
            client.raise_if_ended(consumer)
            self._raise_if_a_lane_died()
            if clock() - committed_at > _COMMIT_EVERY_S:
                committed_at = clock()
                await self._commit(consumer)

    async def _fill(self, consumer: Consumer) -> None:
        with_room = [tp for tp in self._expected if self._lanes[tp.partition].has_room_for(tp.topic)]
        if self._expected and not with_room:
            await asyncio.sleep(_FULL_PAUSE_S)
            return
        try:
            fetched = await consumer.getmany(
                *with_room, timeout_ms=_POLL_MS, max_records=self._settings.max_turn_records
            )
        except OffsetOutOfRangeError as error:
            self._out_of_range(error)
        except (KafkaError, UnicodeDecodeError) as error:
            _log.warning("fetch failed, reading again: %r", error, extra={"agent": self._agent.name})
            self._read_again(list(self._expected))
            await self._pause(_RETRY_S)
        else:
            for tp, records in fetched.items():
                await self._deliver(consumer, tp, records)

    def _raise_if_a_lane_died(self) -> None:
        for task in self._tasks.values():
            if task.done():
                task.result()
                raise EngineError(f"{task.get_name()} ended by itself")

    async def _deliver(self, consumer: Consumer, tp: TopicPartition, records: list[Record]) -> None:
        expected = self._expected.get(tp)
        if expected is None or not records:
            return
        if records[0].offset < expected:
            self._read_again([tp])
            return
        next_offset = await consumer.position(tp)
        if self._expected.get(tp) != expected:
            return  # the group, or the lane, has asked for something else meanwhile
        self._expected[tp] = next_offset
        self._lanes[tp.partition].offer(Chunk.of(tp.topic, records, next_offset))

    def _read_again(self, partitions: list[TopicPartition]) -> None:
        consumer = self._consumer
        for tp in partitions:
            if consumer is not None and tp in consumer.assignment():
                consumer.seek(tp, self._expected[tp])

    def _out_of_range(self, error: OffsetOutOfRangeError) -> None:
        for tp in list(error.args[0]) if error.args else list(self._expected):
            lane = self._lanes.get(tp.partition)
            if lane is not None:
                self._forget(tp.partition)
                lane.reopen()

    async def _commit(self, consumer: Consumer) -> None:
        offsets = {
            client.topic_partition(topic, lane.partition): offset
            for lane in self._lanes.values()
            for topic, offset in lane.offsets.items()
        }
        owned = {tp: offset for tp, offset in offsets.items() if tp in self._expected}
        if owned:
            try:
                async with asyncio.timeout(_RETRY_S):
                    await consumer.commit(owned)
            except (KafkaError, TimeoutError) as error:
                _log.debug("group offsets not committed: %r", error)

    async def _leave(self, consumer: Consumer) -> None:
        await asyncio.gather(*(lane.release(_RELEASE_S) for lane in self._lanes.values()))
        self._expected.clear()
        self._consumer = None
        await client.close(consumer, self._settings.turn_timeout)

    # What lanes ask

    def begin(self, partition: int, offsets: dict[str, int]) -> None:
        """Offers the lane its inputs from these offsets on."""
        consumer = self._consumer
        if consumer is None:
            return
        assigned = consumer.assignment()
        partitions = {topic: client.topic_partition(topic, partition) for topic in offsets}
        if all(tp in assigned for tp in partitions.values()):
            for topic, tp in partitions.items():
                self._expected[tp] = offsets[topic]
                consumer.seek(tp, offsets[topic])
                consumer.resume(tp)

    # What the group says

    async def revoked(self) -> None:
        """Every partition may go elsewhere: no lane begins another turn."""
        self._expected.clear()
        await asyncio.gather(*(lane.release(_RELEASE_S) for lane in self._lanes.values()))
        self._expected.clear()  # a lane may have begun before it heard

    async def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Starts the lanes that are new here, goes on with those that came back and ends the others."""
        self._joined = True
        consumer = self._consumer
        if consumer is None:
            return
        consumer.pause(*partitions)
        for tp in partitions:
            consumer.seek(tp, 0)  # any position: without one the client asks the group's, and fails if there is none
        owned = {p for _, p in partitions if all((topic, p) in partitions for topic in self._agent.inputs)}
        self._close_lanes([p for p in self._lanes if p not in owned])
        for partition in sorted(owned):
            lane = self._lanes.get(partition)
            (self._start_lane(partition) if lane is None else lane).own()

    def _start_lane(self, partition: int) -> Lane[Row, Control]:
        lane = Lane(
            self._agent,
            partition,
            settings=self._settings,
            source=self,
            metrics=self._metrics.lane(self._agent.name, partition),
            on_stuck=self._rejoin.set,
            disturbance=self._disturbance,
        )
        self._lanes[partition] = lane
        self._tasks[partition] = asyncio.create_task(lane.run(), name=f"lane {self._agent.name}/{partition}")
        return lane

    def _close_lanes(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._lanes.pop(partition).close()
            task = self._tasks.pop(partition)
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def _forget(self, partition: int) -> None:
        for tp in [tp for tp in self._expected if tp.partition == partition]:
            del self._expected[tp]
            if self._consumer is not None:
                self._consumer.pause(tp)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


class _Listener(ConsumerRebalanceListener):
    """Tells the pump what the group decides. Heartbeats wait for it, so it starts and stops lanes and nothing more."""

    def __init__(self, pump: Pump[Any, Any]) -> None:
        self._pump = pump

    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride]  # either may be a coroutine
        self, revoked: Collection[TopicPartition]
    ) -> None:
        del revoked
        await self._pump.revoked()

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, assigned: Collection[TopicPartition]
    ) -> None:
        await self._pump.assigned(assigned)
