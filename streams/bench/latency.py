"""`acgs bench latency`: from append on in.messages to visible for a read_committed reader of deliveries."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from statistics import quantiles

from schemas import topics
from streams.bench import bare, product, traffic
from streams.bench.product import PARTITIONS
from streams.bench.result import Result
from streams.engine import client
from streams.engine.client import Consumer, Delivered, EngineSettings

RATE = 2_000

_TICK_S = 0.005
_WARM_UP_S = 5.0
_POLL_MS = 100
_FIRST = 20
_ARRIVES_WITHIN_S = 60


async def run(settings: EngineSettings, *, seconds: float, say: Callable[[str], None]) -> list[Result]:
    """p50 and p99 in milliseconds over `seconds` of an even 2,000 messages/s, after 5 s that do not count.

    Of the product, and of two bare hops (aiokafka, transactions, no handler): the floor on this machine.
    """
    await product.install(settings)
    source = f"{settings.prefix}{topics.IN_MESSAGES}"
    async with product.running(settings, metrics_port=0):
        say(f"the product: {RATE} messages/s for {seconds + _WARM_UP_S:.0f} s")
        late = await _measure(settings, f"{settings.prefix}{topics.DELIVERIES}", seconds)
    async with bare.live(settings, source) as sink:
        say(f"bare two hops: {RATE} messages/s for {seconds + _WARM_UP_S:.0f} s")
        floor = _results("bare-latency", await _measure(settings, sink, seconds), None)
    return floor + _results("latency", late, floor)


def _results(name: str, late: Sequence[float], floor: Sequence[Result] | None) -> list[Result]:
    cuts = quantiles(late, n=100)
    words = f"at {RATE} messages/s, {len(late)} deliveries"
    results = [Result(f"{name}-p50", cuts[49], "ms", words), Result(f"{name}-p99", cuts[98], "ms", words)]
    if floor is None:
        return results
    return [
        replace(result, more=f"{words} ({result.figure / least.figure:.1f} of bare two hops)")
        for result, least in zip(results, floor, strict=True)
    ]


async def _measure(settings: EngineSettings, sink: str, seconds: float) -> list[float]:
    """The delay of each delivery in milliseconds: the reader's clock at arrival less the append time of the source."""
    reader = client.reader(settings)
    await reader.start()
    deliveries = [client.topic_partition(sink, partition) for partition in range(PARTITIONS)]
    reader.assign(deliveries)
    for tp in deliveries:
        reader.seek(tp, 0)
    seen: dict[bytes, float] = {}
    total = int((seconds + _WARM_UP_S) * RATE)
    reading = asyncio.create_task(_read(reader, seen))
    try:
        await _arrived(await _send(settings, _FIRST), seen)  # it has started
        appended = await _send(settings, total, since=int(_WARM_UP_S * RATE))
        await _arrived(appended, seen)
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        await reader.stop()
    return [seen[value] - at for value, (at, counts) in appended.items() if counts]


async def _arrived(appended: dict[bytes, tuple[float, bool]], seen: dict[bytes, float]) -> None:
    expected = {value for value, (_, counts) in appended.items() if counts}
    async with asyncio.timeout(_ARRIVES_WITHIN_S):
        while not expected <= seen.keys():  # noqa: ASYNC110  # the reader fills it
            await asyncio.sleep(_TICK_S)


async def _send(settings: EngineSettings, total: int, *, since: int = 0) -> dict[bytes, tuple[float, bool]]:
    """Sends at an even rate; returns for each value its append time and whether its delivery counts."""
    topic = f"{settings.prefix}{topics.IN_MESSAGES}"
    producer = client.plain_producer(settings, "load")
    await producer.start()
    waiting: list[tuple[bytes, Awaitable[Delivered], bool]] = []
    began = time.monotonic()
    for number, (key, value) in enumerate(traffic.messages(total, seed=time.time_ns())):
        due = began + number / RATE
        if (left := due - time.monotonic()) > 0:
            await asyncio.sleep(left)
        counts = number >= since and traffic.is_delivered(number)
        waiting.append((value, await producer.send(topic, value, key, hash(key) % PARTITIONS), counts))
    appended = {value: (float((await delivery).timestamp), counts) for value, delivery, counts in waiting}
    await producer.stop()
    return appended


async def _read(reader: Consumer, seen: dict[bytes, float]) -> None:
    while True:
        for records in (await reader.getmany(timeout_ms=_POLL_MS)).values():
            now_ms = time.time() * 1000
            for record in records:
                seen[record.value or b""] = now_ms
