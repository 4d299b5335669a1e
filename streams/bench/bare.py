"""The ceiling: two hops of bare aiokafka with transactions and no handler, in as many processes as the pipeline has."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from streams.engine import client
from streams.engine.admin import Admin, NewTopic
from streams.engine.client import Consumer, Delivered, EngineSettings, Producer, TopicPartition

_RECORDS = 1_000
_POLL_MS = 100
_CLOSING = timedelta(seconds=10)
_ALL, _LIVE = "all", "live"
_READY = "ready\n"


async def two_hops(settings: EngineSettings, source: str, messages: int) -> float:
    """Messages a second from the first read of the first hop to the last commit of the second."""
    name, partitions = await _install(settings, source)
    processes = [await _start(settings, _ALL, source, name, partition) for partition in range(partitions)]
    spans = [(await process.communicate())[0].decode().split() for process in processes]
    began, ended = min(float(span[0]) for span in spans), max(float(span[1]) for span in spans)
    if sum(int(span[2]) for span in spans) != messages:
        raise RuntimeError(f"the bare hops moved {spans}, not {messages} messages")
    return messages / (ended - began)


@asynccontextmanager
async def live(settings: EngineSettings, source: str) -> AsyncGenerator[str, None]:
    """Runs the two hops on what is written to the source from now on; gives the topic where it comes out."""
    name, partitions = await _install(settings, source)
    processes = [await _start(settings, _LIVE, source, name, partition) for partition in range(partitions)]
    try:
        for process in processes:
            if process.stdout is None or await process.stdout.readline() != _READY.encode():
                raise RuntimeError("a process of the bare hops did not start")
        yield f"{name}-out"
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _install(settings: EngineSettings, source: str) -> tuple[str, int]:
    name = f"{settings.prefix}bare-{uuid4().hex[:6]}"
    async with Admin(settings) as admin:
        partitions = (await admin.topics())[source]
        names = [f"{name}-middle", f"{name}-out"]
        await admin.create([NewTopic(topic, partitions, 1, {}) for topic in names])
        await admin.wait_for(names)
    return name, partitions


async def _start(
    settings: EngineSettings, how: str, source: str, name: str, partition: int
) -> asyncio.subprocess.Process:
    arguments = (how, settings.bootstrap_servers, source, name, str(partition))
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streams.bench.bare", *arguments, stdout=asyncio.subprocess.PIPE
    )


async def _process(how: str, bootstrap: str, source: str, name: str, partition: int) -> None:
    settings = EngineSettings(bootstrap_servers=bootstrap, prefix=name, client_id=name)
    first = _Hop(settings, source, f"{name}-middle", partition)
    second = _Hop(settings, f"{name}-middle", f"{name}-out", partition)
    began, end = await first.start(), await second.start()
    if how == _LIVE:
        sys.stdout.write(_READY)
        sys.stdout.flush()
        await asyncio.gather(first.run(began, None), second.run(end, None))
    else:
        at = time.time()
        moved = await asyncio.gather(first.run(0, began), second.run(0, began))
        sys.stdout.write(f"{at} {time.time()} {moved[1]}\n")


class _Hop:
    """Reads one partition and writes it to the same partition of another topic, a transaction for what has arrived."""

    def __init__(self, settings: EngineSettings, source: str, sink: str, partition: int) -> None:
        self._from, self._sink, self._partition = client.topic_partition(source, partition), sink, partition
        self._consumer = client.reader(settings)
        self._producer = client.transactional_producer(settings, f"{sink}-{partition}")

    async def start(self) -> int:
        """Returns the source's end."""
        await self._consumer.start()
        await self._producer.start()
        self._consumer.assign([self._from])
        return (await self._consumer.end_offsets([self._from]))[self._from]

    async def run(self, since: int, messages: int | None) -> int:
        """Moves so many messages, or until the process ends (None)."""
        self._consumer.seek(self._from, since)
        moved = 0
        while messages is None or moved < messages:
            fetched = await self._consumer.getmany(self._from, timeout_ms=_POLL_MS, max_records=_RECORDS)
            records = fetched.get(self._from, [])
            if records:
                await self._producer.begin_transaction()
                await _send(
                    self._producer, [(record.key, record.value) for record in records], self._sink, self._partition
                )
                await self._producer.commit_transaction()
                moved += len(records)
        await self._producer.stop()
        await self._consumer.stop()
        return moved


async def round_trips(settings: EngineSettings, topic: str, count: int) -> list[float]:
    """Seconds that each of so many transactions of one record takes until a reader has it, one after the other."""
    place = client.topic_partition(topic, 0)
    consumer = client.reader(settings)
    producer = client.transactional_producer(settings, f"{topic}-bare")
    async with _running(consumer, producer):
        consumer.assign([place])
        consumer.seek(place, (await consumer.end_offsets([place]))[place])
        return [await _round_trip(producer, consumer, place) for _ in range(count)]


@asynccontextmanager
async def _running(*clients: Consumer | Producer) -> AsyncGenerator[None, None]:
    try:
        for one in clients:
            await one.start()
        yield
    finally:
        for one in clients:
            await client.close(one, _CLOSING)


async def _round_trip(producer: Producer, consumer: Consumer, place: TopicPartition) -> float:
    began = time.perf_counter()
    await producer.begin_transaction()
    await _send(producer, [(b"key", b"value")], place.topic, place.partition)
    await producer.commit_transaction()
    while not await consumer.getmany(place, timeout_ms=_POLL_MS):
        continue
    return time.perf_counter() - began


async def _send(
    producer: Producer, records: list[tuple[bytes | None, bytes | None]], sink: str, partition: int
) -> None:
    batch = producer.create_batch()
    sent: list[Awaitable[Delivered]] = []
    for key, value in records:
        if batch.append(timestamp=None, key=key, value=value, headers=[]) is None:
            sent.append(await producer.send_batch(batch, sink, partition=partition))
            batch = producer.create_batch()
            batch.append(timestamp=None, key=key, value=value, headers=[])
    sent.append(await producer.send_batch(batch, sink, partition=partition))
    for delivery in sent:
        await delivery


if __name__ == "__main__":
    _, how, bootstrap, source, name, partition = sys.argv
    asyncio.run(_process(how, bootstrap, source, name, int(partition)))
