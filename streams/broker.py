"""What commands do with a broker: readers and transactions whose failures say what to do next."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    ProducerFenced,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)

from streams.engine import client
from streams.engine.admin import Admin
from streams.engine.client import Batch, Consumer, EngineSettings, Producer, TopicPartition
from streams.engine.records import Headers, Record
from streams.engine.restore import read
from streams.errors import BrokerError, InstallationError

_POLL_MS = 250
SILENT_S = 30.0
"""How long a broker may say nothing that it should say, in seconds."""

_LOOK_FIRST = "Look at what is there before you run it again"


class Outgoing(NamedTuple):
    """A record to write to one partition."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@contextmanager
def told_errors(settings: EngineSettings) -> Generator[None, None, None]:
    """Turns a client's errors into BrokerError, with what to do next.

    Raises:
        BrokerError: the broker cannot be reached, refuses, or does not answer in time.
    """
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerError(_in_words(error, settings)) from error


def _in_words(error: BaseException, settings: EngineSettings) -> str:
    servers = settings.bootstrap_servers
    match error:
        case AuthenticationFailedError() | SaslAuthenticationFailed() | UnsupportedSaslMechanismError():
            return (
                f"the broker at {servers} does not accept these credentials. Set ACGS_SECURITY_PROTOCOL, "
                "ACGS_SASL_MECHANISM, ACGS_SASL_USERNAME and ACGS_SASL_PASSWORD as its operator gave them to you"
            )
        case (
            TopicAuthorizationFailedError()
            | GroupAuthorizationFailedError()
            | ClusterAuthorizationFailedError()
            | TransactionalIdAuthorizationFailed()
        ):
            return (
                f"the broker at {servers} does not allow this ({type(error).__name__}). Ask its operator for the "
                "rights that 'acgs topics acls' lists"
            )
        case KafkaConnectionError() | OSError():
            return (
                f"no Kafka answers at {servers}. Check ACGS_KAFKA_BOOTSTRAP_SERVERS and that the broker runs; if it is "
                "secured, ACGS_SECURITY_PROTOCOL and what belongs to it ('acgs doctor' knows these cases apart). "
                "'acgs kafka start' starts one on this machine"
            )
        case _:
            words = " ".join(str(error).split())
            what = f"{type(error).__name__}: {words}" if words else type(error).__name__
            return f"the broker at {servers} refuses: {what}. 'acgs doctor' looks for the cause"


async def require_topics(settings: EngineSettings, names: Collection[str]) -> dict[str, int]:
    """Every topic's partition count, if these topics are there. Asks in a way that never creates one.

    Raises:
        InstallationError: topics are missing.
        BrokerError: the broker cannot be asked.
    """
    with told_errors(settings):
        async with asyncio.timeout(settings.turn_timeout.total_seconds()), Admin(settings) as admin:
            existing = await admin.topics()
    missing = sorted(set(names) - existing.keys())
    if missing:
        raise InstallationError(
            f"there is no topic {', '.join(missing)}. 'acgs topics create' makes the topics of prefix "
            f"'{settings.prefix}', 'acgs topics list' shows what is there"
        )
    return existing


@asynccontextmanager
async def reading(settings: EngineSettings, *, follows: bool = False) -> AsyncGenerator[Consumer, None]:
    """A started reader of committed records, in no group; `follows` as for client.reader().

    Raises:
        BrokerError: the broker cannot be reached or refuses, then or within the block.
    """
    with told_errors(settings):
        consumer = client.reader(settings, follows=follows)
        try:
            async with asyncio.timeout(settings.turn_timeout.total_seconds()):
                await consumer.start()
            yield consumer
        finally:
            await client.close(consumer, settings.turn_timeout)


async def records_of(
    settings: EngineSettings, topic: str, partitions: Collection[int], since: int | None = None
) -> AsyncIterator[Record]:
    """The committed records of some partitions of a topic, one partition after the other, up to their present end.

    Raises:
        BrokerError: the broker cannot be reached or refuses.
    """
    async with reading(settings) as consumer:
        for partition in partitions:
            async for record in read_to_end(consumer, client.topic_partition(topic, partition), since):
                yield record


async def read_to_end(consumer: Consumer, partition: TopicPartition, since: int | None) -> AsyncIterator[Record]:
    """The committed records of a partition from an offset (None: its start) to its present end.

    Raises:
        TimeoutError: nothing has come for 30 s, although there is more.
    """
    heard = time.monotonic()
    async for records in read(consumer, partition, since):
        for record in records:
            yield record
        now = time.monotonic()
        if records:
            heard = now
        elif now - heard > SILENT_S:
            raise TimeoutError(f"nothing more of {partition.topic}/{partition.partition} for {SILENT_S:.0f} s")


async def record_at(settings: EngineSettings, partition: TopicPartition, offset: int) -> Record | None:
    """The committed record at an offset, None if there is none.

    Raises:
        BrokerError: the broker cannot be reached or refuses.
    """
    async with reading(settings) as consumer:
        consumer.assign([partition])
        begin = (await consumer.beginning_offsets([partition]))[partition]
        end = (await consumer.end_offsets([partition]))[partition]
        if not begin <= offset < end:
            return None
        consumer.seek(partition, offset)
        until = time.monotonic() + SILENT_S
        while await consumer.position(partition) <= offset and time.monotonic() < until:
            for record in (await consumer.getmany(partition, timeout_ms=_POLL_MS, max_records=1)).get(partition, []):
                return record if record.offset == offset else None
        if await consumer.position(partition) <= offset:
            raise TimeoutError(f"{partition.topic}/{partition.partition}/{offset} does not come")
        return None


@asynccontextmanager
async def producing(settings: EngineSettings, name: str) -> AsyncGenerator[Producer, None]:
    """A started idempotent producer without transactions. Await every delivery within the block, under a deadline.

    Such a producer tries for ever to deliver, and is not waited for at the end.

    Raises:
        BrokerError: the broker cannot be reached or refuses.
    """
    producer = client.plain_producer(settings, name)
    try:
        with told_errors(settings):
            async with asyncio.timeout(settings.turn_timeout.total_seconds()):
                await producer.start()
            yield producer
    finally:
        await client.abandon(producer)


async def write_once(
    settings: EngineSettings, transactional_id: str, decide: Callable[[], Awaitable[Sequence[Outgoing]]]
) -> None:
    """Writes what `decide` returns in one transaction; on return it is committed.

    `decide` is called once every earlier writer with this id is fenced and its open transaction ended: it reads what is
    there and raises to refuse. Of two writers at once at most one commits what it decided upon; the other fails. When
    it fails or is cancelled nothing stays open, and what it wrote is there in full or not at all.

    Raises:
        BrokerError: the broker cannot be reached or refuses, or another writer came between.
    """
    producer = client.transactional_producer(settings, transactional_id)
    try:
        with told_errors(settings):
            async with asyncio.timeout(settings.turn_timeout.total_seconds()):
                await producer.start()
        outgoing = await decide()
        await _commit(settings, transactional_id, producer, outgoing)
    finally:
        await client.abandon(producer)


async def _commit(
    settings: EngineSettings, transactional_id: str, producer: Producer, outgoing: Sequence[Outgoing]
) -> None:
    try:
        async with asyncio.timeout(settings.turn_timeout.total_seconds()):
            await producer.begin_transaction()
            sent = [
                await producer.send_batch(_batch(producer, one), one.topic, partition=one.partition) for one in outgoing
            ]
            await asyncio.gather(*sent)
            await producer.commit_transaction()
    except ProducerFenced as error:
        raise BrokerError(
            f"someone else did the same at the same time (as {transactional_id}); nothing of this was written. "
            f"{_LOOK_FIRST}"
        ) from error
    except (KafkaError, OSError, TimeoutError, AssertionError) as error:
        await client.abandon(producer)
        await _end_what_is_open(settings, transactional_id)
        words = _in_words(error, settings)
        raise BrokerError(f"{words}. It is not known whether anything was written. {_LOOK_FIRST}") from error
    except asyncio.CancelledError:
        await client.abandon(producer)
        await _end_what_is_open(settings, transactional_id)
        raise


def _batch(producer: Producer, outgoing: Outgoing) -> Batch:
    """A batch of one record, which may be as large as its topic allows (send() stops at 1 MiB)."""
    batch = producer.create_batch()
    batch.append(timestamp=None, key=outgoing.key, value=outgoing.value, headers=list(outgoing.headers))
    batch.close()
    return batch


async def _end_what_is_open(settings: EngineSettings, transactional_id: str) -> None:
    """Starts another producer with the id, which ends the transaction; else the broker does after its timeout."""
    producer = client.transactional_producer(settings, transactional_id)
    with contextlib.suppress(KafkaError, OSError, TimeoutError, AssertionError):
        async with asyncio.timeout(settings.heartbeat.total_seconds() * 3):
            await producer.start()
    await client.abandon(producer)
