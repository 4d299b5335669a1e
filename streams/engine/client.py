"""The Kafka client as the engine uses it: aiokafka behind types, with the settings that exactly-once needs.

aiokafka carries few types; this module is the only one that touches its classes.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple, Protocol, cast

import aiokafka
import aiokafka.errors
import aiokafka.producer.sender
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from streams.engine import closing, unreadable
from streams.engine.records import Record

_log = logging.getLogger(__name__)

_Consumer: Any = aiokafka.AIOKafkaConsumer
_Producer: Any = aiokafka.AIOKafkaProducer

_RETRY_BACKOFF_MS = 5
_CONCURRENT_TRANSACTIONS_PAUSE_S = 0.001
_BATCH_BYTES = 1024 * 1024
_FETCH_BYTES = 1024 * 1024
_READER_WAIT_MS = 20
"""A fetch at a log's end holds up its connection for so long: with the default, 500 ms, a restore took 2 s."""
_FOLLOWER_WAIT_MS = 500
"""The client's default. A fetch returns as soon as there is something; at 20 ms, one that finds nothing would cost 50
requests a second."""
_NEVER_MS = 3_600_000
_ABANDON_S = 2.0


class TopicPartition(NamedTuple):
    """A topic and a partition of it; equal to aiokafka's."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How lanes reach the broker and how long they wait.

    `prefix` begins the name of every group and transactional id. `security` goes to every client as it is
    (security_protocol, ssl_context, sasl_...). `min_turn` is a lane's budget: in any second it takes about
    1 s / min_turn turns, and a lone record never waits for it. `turn_timeout` bounds every start, commit and stop.
    `stall_after` is how long a lane may have records without a commit before its worker counts as dead.
    """

    bootstrap_servers: str
    prefix: str
    client_id: str
    security: Mapping[str, object] = field(default_factory=dict[str, object])
    min_turn: timedelta = timedelta(milliseconds=10)
    max_turn_records: int = 2_000
    max_turn_bytes: int = 4 * 1024 * 1024
    turn_timeout: timedelta = timedelta(seconds=10)
    transaction_timeout: timedelta = timedelta(seconds=10)
    session_timeout: timedelta = timedelta(seconds=10)
    heartbeat: timedelta = timedelta(seconds=1)
    stall_after: timedelta = timedelta(seconds=60)

    def group(self, agent: str) -> str:
        """The consumer group of an agent."""
        return f"{self.prefix}{agent}"

    def transactional_id(self, agent: str, partition: int) -> str:
        """The one transactional id of a lane: whoever starts a producer with it fences the one before."""
        return f"{self.prefix}{agent}-{partition}"


class Delivered(Protocol):
    """Where a record or a batch was written, and the broker's time of it in milliseconds."""

    partition: int
    offset: int
    timestamp: int


class OffsetAt(Protocol):
    """The first offset from some time on, and the record's own time in milliseconds."""

    offset: int
    timestamp: int


class Batch(Protocol):
    """A batch of records for one partition."""

    def append(
        self, *, timestamp: int | None, key: bytes | None, value: bytes | None, headers: Sequence[object]
    ) -> object | None: ...
    def close(self) -> None: ...
    def size(self) -> int: ...
    def record_count(self) -> int: ...


class Producer(Protocol):
    """A producer, transactional if it was made so."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def begin_transaction(self) -> None: ...
    async def commit_transaction(self) -> None: ...
    def create_batch(self) -> Batch: ...
    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Awaitable[Delivered]: ...
    async def send_and_wait(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> Delivered: ...
    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> Awaitable[Delivered]: ...
    async def partitions_for(self, topic: str) -> set[int]: ...
    async def flush(self) -> None: ...


class Consumer(Protocol):
    """A consumer that reads committed records only."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def subscribe(self, topics: Sequence[str], listener: ConsumerRebalanceListener | None = None) -> None: ...
    def assign(self, partitions: Sequence[TopicPartition]) -> None: ...
    def assignment(self) -> Collection[TopicPartition]: ...
    def seek(self, partition: TopicPartition, offset: int) -> None: ...
    async def position(self, partition: TopicPartition) -> int: ...
    def pause(self, *partitions: TopicPartition) -> None: ...
    def resume(self, *partitions: TopicPartition) -> None: ...
    def partitions_for_topic(self, topic: str) -> set[int] | None: ...
    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Record]]: ...
    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]: ...
    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]: ...
    async def offsets_for_times(
        self, timestamps: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, "OffsetAt | None"]: ...
    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None: ...


def tune() -> None:
    """Changes aiokafka where its settings do not reach; may be called again.

    Lowers its pause on CONCURRENT_TRANSACTIONS from 20 ms to 1 ms (p90 of a commit falls from 24 to 4 ms), lets
    consumers read records with header names that are not UTF-8, and lets clients on uvloop survive a request on a
    connection that has just closed.
    """
    unreadable.install()
    closing.install()
    aiokafka.producer.sender.BACKOFF_OVERRIDE = _CONCURRENT_TRANSACTIONS_PAUSE_S


def topic_partition(topic: str, partition: int) -> TopicPartition:
    """The client's own class of a topic and partition: it insists on it."""
    return cast("TopicPartition", aiokafka.TopicPartition(topic, partition))


def group_consumer(settings: EngineSettings, agent: str) -> Consumer:
    """A member of the agent's group that never commits or resets by itself. Subscribe it before its start."""
    tune()
    made = _Consumer(
        bootstrap_servers=settings.bootstrap_servers,
        client_id=f"{settings.client_id}-{agent}",
        group_id=settings.group(agent),
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        partition_assignment_strategy=(RangePartitionAssignor,),
        session_timeout_ms=_ms(settings.session_timeout),
        heartbeat_interval_ms=_ms(settings.heartbeat),
        max_poll_interval_ms=_NEVER_MS,
        rebalance_timeout_ms=_ms(settings.session_timeout),
        max_partition_fetch_bytes=_FETCH_BYTES,
        retry_backoff_ms=100,
        **_security(settings),
    )
    return cast("Consumer", made)


def reader(settings: EngineSettings, *, uncommitted: bool = False, follows: bool = False) -> Consumer:
    """A consumer in no group, for assign(). Reads committed records only, unless told otherwise.

    One that `follows` stays at the ends of its topics: it costs the broker little there, and a later seek takes longer.
    """
    tune()
    made = _Consumer(
        bootstrap_servers=settings.bootstrap_servers,
        client_id=f"{settings.client_id}-reader",
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_uncommitted" if uncommitted else "read_committed",
        max_partition_fetch_bytes=_FETCH_BYTES,
        fetch_max_wait_ms=_FOLLOWER_WAIT_MS if follows else _READER_WAIT_MS,
        **_security(settings),
    )
    return cast("Consumer", made)


def transactional_producer(settings: EngineSettings, transactional_id: str) -> Producer:
    """A producer whose start fences every earlier one with the same id and ends what that one left open."""
    tune()
    made = _Producer(
        bootstrap_servers=settings.bootstrap_servers,
        client_id=f"{settings.client_id}-{transactional_id}",
        transactional_id=transactional_id,
        transaction_timeout_ms=_ms(settings.transaction_timeout),
        max_batch_size=_BATCH_BYTES,
        request_timeout_ms=_ms(settings.turn_timeout),
        retry_backoff_ms=_RETRY_BACKOFF_MS,
        **_security(settings),
    )
    return cast("Producer", made)


def plain_producer(settings: EngineSettings, name: str) -> Producer:
    """An idempotent producer without transactions, for what is no decision: lane status, the tools' own records."""
    tune()
    made = _Producer(
        bootstrap_servers=settings.bootstrap_servers,
        client_id=f"{settings.client_id}-{name}",
        enable_idempotence=True,
        max_batch_size=_BATCH_BYTES,
        max_request_size=16 * _BATCH_BYTES,
        request_timeout_ms=_ms(settings.turn_timeout),
        **_security(settings),
    )
    return cast("Producer", made)


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)


def _security(settings: EngineSettings) -> dict[str, object]:
    return dict(settings.security)


def raise_if_ended(made: Consumer) -> None:
    """Notices a consumer that can no longer learn where its group's coordinator is; it would go on as if it were alone.

    Raises:
        KafkaError: the task that asks for metadata has ended by itself.
    """
    asking: asyncio.Task[None] | None = cast("Any", made)._client._sync_task  # noqa: SLF001  # no public way to know
    if asking is not None and asking.done():
        raise aiokafka.errors.KafkaError(f"the consumer's metadata task has ended: {asking.exception()!r}")


async def close(made: Consumer | Producer, within: timedelta) -> None:
    """Stops a consumer or producer in good order, or without it if that fails or takes longer than `within`.

    Guarantees that no connection of it stays open: the client's own stop() keeps them when its coordinator or its
    sender ends in an error. Raises CancelledError only to who is cancelled: the client's own stop() raises it, too,
    while a fetch waits to be tried again.
    """
    closing = asyncio.current_task()
    try:
        async with asyncio.timeout(within.total_seconds()):
            await made.stop()
    except asyncio.CancelledError as error:
        if closing is None or closing.cancelling():
            raise
        _log.warning("a client did not stop in good order: %r", error)
    except Exception as error:  # noqa: BLE001  # the client raises assertions and bare errors for a broker's faults
        _log.warning("a client did not stop in good order: %r", error)
    finally:
        await _cut(made)


async def abandon(producer: Producer) -> None:
    """Closes a producer that failed, without flushing or aborting anything, whatever state its sender is in.

    AIOKafkaProducer.stop() flushes first, which waits for a broker that may be gone; this ends the connection and the
    sender instead. What was open on the broker is ended by the next producer of the same transactional id.
    """
    made = cast("Any", producer)
    sender: asyncio.Task[None] | None = made._sender.sender_task  # noqa: SLF001  # no public way to close without a flush
    made._closed = True  # noqa: SLF001  # else it warns that it was never stopped
    if sender is not None:
        sender.cancel()
    await _cut(producer)
    if sender is not None:
        await asyncio.wait([sender], timeout=_ABANDON_S)
    await _cut(producer)  # what the sender was about to open when it was told to end


async def _cut(made: Consumer | Producer) -> None:
    """Closes every connection."""
    untyped = cast("Any", made)
    its_client = untyped.client if hasattr(untyped, "client") else untyped._client  # noqa: SLF001  # a consumer hides it
    with contextlib.suppress(TimeoutError, aiokafka.errors.KafkaError, OSError):
        async with asyncio.timeout(_ABANDON_S):
            await its_client.close()
