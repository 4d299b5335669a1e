"""The ceiling: two hops of bare aiokafka with transactions and no handler, in as many processes as the pipeline has."""

import asyncio
import sys
import time
from collections.abc import Awaitable
from uuid import uuid4

from streams.engine import client
from streams.engine.admin import Admin, NewTopic
from streams.engine.client import Delivered, EngineSettings, Producer

_RECORDS = 1_000
_POLL_MS = 100


async def two_hops(settings: EngineSettings, source: str, messages: int) -> float:
    """Messages a second from the first read of the first hop to the last commit of the second."""
    name = f"{settings.prefix}bare-{uuid4().hex[:6]}"
    async with Admin(settings) as admin:
        partitions = (await admin.topics())[source]
        names = [f"{name}-middle", f"{name}-out"]
        await admin.create([NewTopic(topic, partitions, 1, {}) for topic in names])
        await admin.wait_for(names)
    processes = [await _start(settings, source, name, partition) for partition in range(partitions)]
    spans = [(await process.communicate())[0].decode().split() for process in processes]
    began, ended = min(float(span[0]) for span in spans), max(float(span[1]) for span in spans)
    if sum(int(span[2]) for span in spans) != messages:
        raise RuntimeError(f"the bare hops moved {spans}, not {messages} messages")
    return messages / (ended - began)


async def _start(settings: EngineSettings, source: str, name: str, partition: int) -> asyncio.subprocess.Process:
    arguments = (settings.bootstrap_servers, source, name, str(partition))
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streams.bench.bare", *arguments, stdout=asyncio.subprocess.PIPE
    )


async def _process(bootstrap: str, source: str, name: str, partition: int) -> None:
    client.tune()
    settings = EngineSettings(bootstrap_servers=bootstrap, prefix=name, client_id=name)
    reader = client.reader(settings)
    await reader.start()
    end = (await reader.end_offsets([client.topic_partition(source, partition)]))[
        client.topic_partition(source, partition)
    ]
    await reader.stop()
    began = time.time()
    hops = (
        _hop(settings, source, f"{name}-middle", partition, end),
        _hop(settings, f"{name}-middle", f"{name}-out", partition, end),
    )
    moved = await asyncio.gather(*hops)
    sys.stdout.write(f"{began} {time.time()} {moved[1]}\n")


async def _hop(settings: EngineSettings, source: str, sink: str, partition: int, messages: int) -> int:
    tp = client.topic_partition(source, partition)
    consumer = client.reader(settings)
    await consumer.start()
    consumer.assign([tp])
    consumer.seek(tp, 0)
    producer = client.transactional_producer(settings, f"{sink}-{partition}")
    await producer.start()
    moved = 0
    while moved < messages:
        records = (await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=_RECORDS)).get(tp, [])
        if records:
            await producer.begin_transaction()
            await _send(producer, [(record.key, record.value) for record in records], sink, partition)
            await producer.commit_transaction()
            moved += len(records)
    await producer.stop()
    await consumer.stop()
    return moved


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
    asyncio.run(_process(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
