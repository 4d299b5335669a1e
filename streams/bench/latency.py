"""`acgs bench latency`: from append on in.messages to visible for a read_committed reader of deliveries."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import quantiles

from schemas import envelope, topics
from streams.bench import product, traffic
from streams.bench.product import PARTITIONS
from streams.bench.result import Result
from streams.engine import client
from streams.engine.client import Consumer, Delivered, EngineSettings
from streams.engine.records import Record

RATE = 2_000

_TICK_S = 0.005
_WARM_UP_S = 5.0
_POLL_MS = 100


async def run(settings: EngineSettings, *, seconds: float, say: Callable[[str], None]) -> list[Result]:
    """p50 and p99 in milliseconds over `seconds` of an even 2,000 messages/s, after 5 s that do not count."""
    await product.install(settings)
    async with product.running(settings, metrics_port=0):
        say(f"{RATE} messages/s for {seconds + _WARM_UP_S:.0f} s")
        late = await _measure(settings, seconds)
    cuts = quantiles(late, n=100)
    return [
        Result("latency-p50", cuts[49], "ms", f"at {RATE} messages/s, {len(late)} deliveries"),
        Result("latency-p99", cuts[98], "ms", f"at {RATE} messages/s, {len(late)} deliveries"),
    ]


async def _measure(settings: EngineSettings, seconds: float) -> list[float]:
    """The delay of each delivery in milliseconds: the reader's clock at arrival less the append time of the source."""
    reader = client.reader(settings)
    await reader.start()
    deliveries = [client.topic_partition(f"{settings.prefix}{topics.DELIVERIES}", p) for p in range(PARTITIONS)]
    reader.assign(deliveries)
    for tp in deliveries:
        reader.seek(tp, 0)
    seen: dict[bytes, float] = {}
    reading = asyncio.create_task(_read(reader, seen))
    try:
        appended = await _send(settings, seconds)
        async with asyncio.timeout(60):
            while not _delivered(appended) <= seen.keys():  # noqa: ASYNC110  # the reader fills it
                await asyncio.sleep(_TICK_S)
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        await reader.stop()
    return [seen[source] - at for source, (at, counts) in appended.items() if counts and source in seen]


def _delivered(appended: dict[bytes, tuple[float, bool]]) -> set[bytes]:
    return {source for source, (_, counts) in appended.items() if counts}


async def _send(settings: EngineSettings, seconds: float) -> dict[bytes, tuple[float, bool]]:
    """Sends at an even rate; returns for each source position its append time and whether its delivery counts."""
    topic = f"{settings.prefix}{topics.IN_MESSAGES}"
    producer = client.plain_producer(settings, "load")
    await producer.start()
    waiting: list[tuple[Awaitable[Delivered], bool]] = []
    began = time.monotonic()
    total = int((seconds + _WARM_UP_S) * RATE)
    traffic_ = traffic.messages(total)
    for number, (key, value) in enumerate(traffic_):
        due = began + number / RATE
        if (left := due - time.monotonic()) > 0:
            await asyncio.sleep(left)
        counts = number > _WARM_UP_S * RATE and b"lookup_order" in value and b"0123456789abcdef" not in value
        waiting.append((await producer.send(topic, value, key, hash(key) % PARTITIONS), counts))
    appended: dict[bytes, tuple[float, bool]] = {}
    for delivery, counts in waiting:
        done = await delivery
        source = envelope.encode_source(topic, done.partition, done.offset)
        appended[source] = (float(done.timestamp), counts)
    await producer.stop()
    return appended


async def _read(reader: Consumer, seen: dict[bytes, float]) -> None:
    while True:
        for records in (await reader.getmany(timeout_ms=_POLL_MS)).values():
            now_ms = time.time() * 1000
            for record in records:
                seen[_source(record)] = now_ms


def _source(record: Record) -> bytes:
    return next(content for name, content in record.headers if name == envelope.SOURCE and content is not None)
