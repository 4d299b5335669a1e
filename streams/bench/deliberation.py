"""`acgs bench deliberation`: items held, two signed decisions each, released; and the delay at half that load."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

from schemas import topics
from streams.bench import held, product
from streams.bench.product import PARTITIONS
from streams.bench.result import Result
from streams.engine import client
from streams.engine.client import Delivered, EngineSettings

_ALONE_S = 20.0
_WARM_UP_S = 5.0
_WITHIN_S = 300.0
_TICK_S = 0.005
_DEADLINE_S = 86_400


async def run(settings: EngineSettings, *, count: int, say: Callable[[str], None]) -> list[Result]:
    """Items a second from the first one taken in to the last delivery; then, at half that load, the delay.

    The items are on `deliberation` and the decisions on `in.decisions` when the agents start: what is measured is the
    gateway of decisions and the deliberation agent. The clock is the broker's: the append times of the first status
    and of the last delivery.
    """
    panel = held.panel(count, _DEADLINE_S)
    await held.install(settings, panel.policy)
    say(f"{count} messages through gateway and triage, which hold them; {2 * count} decisions signed")
    await held.hold(settings, count)
    waiting = await held.items(settings, count)
    await held.write(settings, topics.IN_DECISIONS, held.decisions(waiting, panel))
    say("both agents, in two processes")
    async with product.running(settings, metrics_port=0, agents=held.AGENTS):
        began, ended = await _spans(settings, count)
        rate = count / (ended - began)
        load = int(rate / 2)
        more = int(load * (_ALONE_S + _WARM_UP_S))
        say(f"at {load} items/s for {_ALONE_S + _WARM_UP_S:.0f} s, of which the first {_WARM_UP_S:.0f} do not count")
        late = await _delays(settings, panel, more, load, since=count)
    p50, p99 = (sorted(late)[math.ceil(len(late) * share) - 1] for share in (0.5, 0.99))
    words = f"{2 * rate:.0f} signatures/s, each verified; {count} items"
    delays = f"from the last decision's append to its delivery's arrival, at {load} items/s"
    return [
        Result("deliberation", rate, "items/s", words),
        Result("deliberation-p50", p50, "ms", delays),
        Result("deliberation-p99", p99, "ms", delays),
    ]


async def _spans(settings: EngineSettings, count: int) -> tuple[float, float]:
    """Append times, in seconds, of the first status and of the last delivery."""
    first, last, delivered = math.inf, 0.0, 0
    status, deliveries = (f"{settings.prefix}{name}" for name in (topics.DELIBERATION_STATUS, topics.DELIVERIES))
    async with asyncio.timeout(_WITHIN_S):
        async for record in held.following(settings, status, deliveries):
            at = record.timestamp / 1_000
            if record.topic == status:
                first = min(first, at)
            else:
                last, delivered = max(last, at), delivered + 1
            if delivered == count:
                return first, last
    raise RuntimeError("the deliveries have ended")


async def _delays(settings: EngineSettings, panel: held.Panel, count: int, load: int, *, since: int) -> list[float]:
    """Milliseconds from the append of an item's second decision until a reader has its delivery."""
    async with product.running(settings, metrics_port=0, agents=held.HOLDING):
        await held.send(settings, [held.message(number, seed=2) for number in range(count)])
        waiting = (await held.items(settings, since + count))[since:]
    signed = held.decisions(waiting, panel)
    arrived: dict[bytes, float] = {}
    reading = asyncio.create_task(_arrivals(settings, arrived))
    appended = await _send(settings, signed, load)
    try:
        async with asyncio.timeout(_WITHIN_S):
            while not appended.keys() <= arrived.keys():  # noqa: ASYNC110  # the reader fills it
                await asyncio.sleep(0.01)
    finally:
        reading.cancel()
        await asyncio.wait([reading])
    counting = list(appended.items())[int(_WARM_UP_S * load) :]
    return [arrived[item_id] - at for item_id, at in counting]


async def _arrivals(settings: EngineSettings, arrived: dict[bytes, float]) -> None:
    """When the delivery of each item has arrived here, by its id, in milliseconds."""
    async for record in held.following(settings, f"{settings.prefix}{topics.DELIVERIES}"):
        item = held.item_of(record)
        arrived[item.item_id.encode()] = time.time() * 1_000


async def _send(settings: EngineSettings, signed: list[tuple[bytes, bytes]], load: int) -> dict[bytes, float]:
    """Sends both decisions on each item at an even rate; when the second one was appended, by item, in milliseconds.

    A tick's decisions go out together, so that the load costs little of the machine that it is put on.
    """
    topic = f"{settings.prefix}{topics.IN_DECISIONS}"
    producer = client.plain_producer(settings, "load")
    await producer.start()
    waiting: list[tuple[list[bytes], Awaitable[Delivered]]] = []
    began, sent = time.monotonic(), 0
    while sent < len(signed):
        await asyncio.sleep(_TICK_S)
        due = min(len(signed), 2 * int((time.monotonic() - began) * load))
        for partition in range(PARTITIONS):
            ours = [one for one in signed[sent:due] if hash(one[0]) % PARTITIONS == partition]
            if ours:
                batch = producer.create_batch()
                for key, value in ours:
                    batch.append(timestamp=None, key=key, value=value, headers=[])
                waiting.append(([key for key, _ in ours], await producer.send_batch(batch, topic, partition=partition)))
        sent = due
    appended = {key: float((await delivery).timestamp) for sent_keys, delivery in waiting for key in sent_keys}
    await producer.stop()
    return appended
