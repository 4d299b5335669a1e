"""`acgs bench deadlines`: items that expire, spread over a minute and all at one instant: how late, and who waits."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise

from schemas import topics
from schemas.deliberation import DeliberationVerdict
from streams.bench import held, product, traffic
from streams.bench.product import PARTITIONS
from streams.bench.result import Result
from streams.engine import client
from streams.engine.client import EngineSettings

_DEADLINE_S = 86_400
_SPREAD_S = 60
_WITHIN_S = 600.0
_OTHERS_A_SECOND = 100
_TICK_S = 0.01


async def run(settings: EngineSettings, *, count: int, say: Callable[[str], None]) -> list[Result]:
    """How late verdicts come after their deadlines, in seconds by the log's time, and the longest silence elsewhere.

    Other messages go through gateway and triage on the same workers at an even 100 a second all the while; what they
    wait for at most is the longest time without a delivery.
    """
    panel = held.panel(2 * count, _DEADLINE_S)
    await held.install(settings, panel.policy)
    results: list[Result] = []
    agents = (*held.HOLDING, topics.DELIBERATOR)
    async with product.running(settings, metrics_port=0, agents=agents):
        for seed, (name, spread_s) in enumerate((("minute", _SPREAD_S), ("instant", 0)), start=1):
            first = time.time() + 20 + count / 700
            when = "within a minute" if spread_s else "at one instant"
            say(f"{count} items that expire {when}, in {first - time.time():.0f} s")
            await held.send(settings, _messages(count, seed, first, spread_s))
            late, silence = await _expired(settings, count, seed)
            results += _results(name, late, silence)
    return results


def _messages(count: int, seed: int, first: float, spread_s: int) -> list[tuple[bytes, bytes]]:
    return [held.message(number, seed, _instant(first + spread_s * number / count)) for number in range(count)]


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _expired(settings: EngineSettings, count: int, round_: int) -> tuple[list[float], float]:
    """Seconds that each verdict of this round came after its deadline, and the longest silence of other deliveries."""
    arrivals: list[float] = []
    others = [
        asyncio.create_task(_send_others(settings, round_)),
        asyncio.create_task(_read_others(settings, arrivals)),
    ]
    late: list[float] = []
    try:
        skipped = count * (round_ - 1)
        async with asyncio.timeout(_WITHIN_S):
            async for record in held.following(settings, f"{settings.prefix}{topics.VERDICTS}"):
                if skipped:
                    skipped -= 1
                    continue
                said = DeliberationVerdict.model_validate_json(record.value or b"")
                late.append((record.timestamp - (said.deadline or 0)) / 1_000)
                if len(late) == count:
                    break
    finally:
        for task in others:
            task.cancel()
        for task in others:
            with suppress(asyncio.CancelledError):
                await task
    return late, max((later - earlier for earlier, later in pairwise(sorted(arrivals))), default=0.0)


async def _send_others(settings: EngineSettings, seed: int) -> None:
    producer = client.plain_producer(settings, "others")
    await producer.start()
    topic = f"{settings.prefix}{topics.IN_MESSAGES}"
    try:
        for number, (key, value) in enumerate(traffic.messages(1_000_000, seed=seed)):
            if traffic.is_delivered(number):
                await producer.send(topic, value, key, hash(key) % PARTITIONS)
                await asyncio.sleep(1 / _OTHERS_A_SECOND)
    finally:
        await client.abandon(producer)


async def _read_others(settings: EngineSettings, arrivals: list[float]) -> None:
    """When each of the others was delivered, by the log's time, in seconds."""
    began_ms = time.time() * 1_000
    async for record in held.following(settings, f"{settings.prefix}{topics.DELIVERIES}"):
        if record.timestamp >= began_ms:
            arrivals.append(record.timestamp / 1_000)  # noqa: PERF401  # it never ends by itself


def _results(name: str, late: Sequence[float], silence: float) -> list[Result]:
    ordered = sorted(late)
    p99 = ordered[math.ceil(len(ordered) * 0.99) - 1]
    words = f"{len(late)} items; the earliest {ordered[0] * 1_000:+.0f} ms, the latest {ordered[-1]:.1f} s"
    return [
        Result(f"deadlines-{name}-p99", p99, "s", f"late; {words}"),
        Result(f"deadlines-{name}-silence", silence, "s", "longest time without another delivery"),
    ]
