"""`acgs bench health-callback`, `health-report`, `health-visible`: what health costs, and how soon it is seen."""

import asyncio
import os
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path
from statistics import quantiles
from typing import Any, Final
from zlib import crc32

import aiohttp
import orjson

from schemas import topics
from streams.bench import product
from streams.bench.product import PARTITIONS
from streams.bench.result import Result
from streams.broker import require_topics
from streams.control import accepted_hash
from streams.embedded import EmbeddedKafka
from streams.engine import client
from streams.engine.client import Consumer, EngineSettings
from streams.health import BreakerPublisher, HealthAggregator
from streams.supervisor import Supervisor, health_worker

_BREAKERS: Final = 1_000
_CALLS: Final = 20_000
_PAUSE_S: Final = 0.0002
_STALL_S: Final = 0.25
_SERVICES: Final = 100
_RATE: Final = 500
_WARM_UP_S: Final = 10.0
_TICK_S: Final = 0.01
_ASKED_EVERY: Final = 250
_ARRIVES_WITHIN_S: Final = 60.0
_STARTS_WITHIN_S: Final = 60.0
_POLL_MS: Final = 100

Say = Callable[[str], None]


async def callback(settings: EngineSettings, kafka: EmbeddedKafka, say: Say) -> list[Result]:
    """What a change of state costs its caller, in microseconds, with a publisher behind: Kafka up, slow and down.

    Slow: the broker's process is stopped for a quarter of a second, and goes on for one, in turn.
    """
    await product.install(settings)
    hash_ = await accepted_hash(settings)
    results: list[Result] = []
    with BreakerPublisher(settings, service="bench", constitutional_hash=hash_) as publisher:
        health = HealthAggregator(hash_, publisher=publisher)
        say(f"{_CALLS} changes of {_BREAKERS} breakers, Kafka up")
        results += _percentiles("health-callback-up", await asyncio.to_thread(_calls, health))
        say("the same, the broker stopped for a while again and again")
        with _stalling(kafka):
            results += _percentiles("health-callback-slow", await asyncio.to_thread(_calls, health))
        say("the same, the broker killed")
        await asyncio.to_thread(kafka.kill)
        results += _percentiles("health-callback-down", await asyncio.to_thread(_calls, health))
        counts = publisher.counts
        say(f"{counts.published} published, {counts.merged} told together with a later one")
        publisher.close()
    return results


def report(say: Say) -> list[Result]:
    """What get_health_report() costs, in microseconds, with 1,000 and 10,000 breakers that go on changing."""
    results: list[Result] = []
    for count in (_BREAKERS, 10 * _BREAKERS):
        say(f"{_CALLS} reports of {count} breakers")
        health, took = HealthAggregator("cdd01ef066bc6cf2"), list[float]()
        for number in range(count):
            health.on_circuit_state_change(f"breaker-{number}", ("closed", "open", "half_open")[number % 3])
        for number in range(_CALLS):
            health.on_circuit_state_change(f"breaker-{number % count}", ("closed", "open")[number % 2])
            began = time.perf_counter()
            health.get_health_report()
            took.append((time.perf_counter() - began) * 1e6)
        results += _percentiles(f"health-report-{count}", took)
    return results


async def visible(settings: EngineSettings, *, seconds: float, say: Say) -> list[Result]:
    """From an event's sending until its row can be read: on `health`, and over HTTP. Milliseconds, at 500 events/s."""
    await product.install(settings)
    hash_ = await accepted_hash(settings)
    with tempfile.TemporaryDirectory(prefix="acgs-bench-") as folder:
        log = Path(folder) / "health.log"
        async with (
            product.running(settings, metrics_port=0, agents=(topics.GATEWAY_BREAKERS,), workers=1),
            _health_table(settings, log) as port,
        ):
            say(f"{_RATE} events/s of {_SERVICES} services for {seconds + _WARM_UP_S:.0f} s")
            on_topic, over_http = await _seen(settings, hash_, port, seconds)
    words = f"at {_RATE} events/s, {len(on_topic)} events"
    results = _percentiles("health-visible", on_topic, "ms", words)
    return results + _percentiles("health-visible-http", over_http, "ms", f"{len(over_http)} of them asked for")


def _percentiles(name: str, took: Sequence[float], unit: str = "us", words: str = "") -> list[Result]:
    cuts = quantiles(took, n=100)
    return [Result(f"{name}-p50", cuts[49], unit, words), Result(f"{name}-p99", cuts[98], unit, words)]


def _calls(health: HealthAggregator) -> list[float]:
    """Microseconds of each call. The caller does something else in between, as callers do."""
    took: list[float] = []
    for number in range(_CALLS):
        began = time.perf_counter()
        health.on_circuit_state_change(f"breaker-{number % _BREAKERS}", ("closed", "open")[number // _BREAKERS % 2])
        took.append((time.perf_counter() - began) * 1e6)
        time.sleep(_PAUSE_S)
    return took


@contextmanager
def _stalling(kafka: EmbeddedKafka) -> Generator[None, None, None]:
    ended, pid = threading.Event(), kafka.pid()

    def stall() -> None:
        while not ended.is_set():
            os.kill(pid, signal.SIGSTOP)
            ended.wait(_STALL_S)
            os.kill(pid, signal.SIGCONT)
            ended.wait(4 * _STALL_S)

    stalling = threading.Thread(target=stall)
    stalling.start()
    try:
        yield
    finally:
        ended.set()
        stalling.join()


@asynccontextmanager
async def _health_table(settings: EngineSettings, log: Path) -> AsyncGenerator[int, None]:
    """A process of the health table, once it is ready; gives the port of /health."""
    with log.open("ab") as opened:
        environment = {**product.environment(settings, metrics_port=0), "ACGS_HEALTH_PORT": "0"}
        supervisor = Supervisor(health_worker(0), workers=1, environment=environment, log=opened)
        supervising = asyncio.create_task(supervisor.run())
        try:
            async with asyncio.timeout(_STARTS_WITHIN_S), aiohttp.ClientSession() as session:
                port, probes = await _port(log, b"serving /health"), await _port(log, b"/readyz")
                while not await _answers(session, f"http://127.0.0.1:{probes}/readyz"):  # noqa: ASYNC110
                    await asyncio.sleep(_TICK_S)
            yield port
        finally:
            supervisor.stop()
            await supervising


async def _port(log: Path, what: bytes) -> int:
    """The port that a line of the log says something is served on, once there is such a line."""
    while True:
        for line in (await asyncio.to_thread(log.read_bytes)).splitlines():
            if what in line and b" on port " in line:
                return int(str(orjson.loads(line)["message"]).rsplit(" ", 1)[1])
        await asyncio.sleep(_TICK_S)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    async with session.get(url) as answer:
        return answer.status == HTTPStatus.OK


async def _seen(settings: EngineSettings, hash_: str, port: int, seconds: float) -> tuple[list[float], list[float]]:
    health, inbox = f"{settings.prefix}{topics.HEALTH}", f"{settings.prefix}{topics.IN_BREAKERS}"
    counts = await require_topics(settings, [health])
    reader = client.reader(settings, follows=True)
    await reader.start()
    partitions = [client.topic_partition(health, number) for number in range(counts[health])]
    reader.assign(partitions)
    for partition in partitions:
        reader.seek(partition, 0)
    sent: dict[int, float] = {}
    on_topic: dict[int, float] = {}
    reading = asyncio.create_task(_read(reader, sent, on_topic))
    asking: list[asyncio.Task[float]] = []
    producer = client.plain_producer(settings, "load")
    await producer.start()
    total, first = int((seconds + _WARM_UP_S) * _RATE), int(_WARM_UP_S * _RATE)
    try:
        async with aiohttp.ClientSession() as session:
            began = time.monotonic()
            for number in range(total):
                if (left := began + number / _RATE - time.monotonic()) > 0:
                    await asyncio.sleep(left)
                service = f"service-{number % _SERVICES}"
                sent[number] = time.time() * 1_000
                key = service.encode()
                await producer.send(inbox, _event(service, number, hash_), key, crc32(key) % PARTITIONS)
                if number >= first and number % _ASKED_EVERY == 0:
                    url = f"http://127.0.0.1:{port}/health/{service}"
                    asking.append(asyncio.create_task(_asked(session, url, number, sent[number])))
            async with asyncio.timeout(_ARRIVES_WITHIN_S):
                over_http = await asyncio.gather(*asking)
                while max(on_topic, default=0) < total - 1:  # noqa: ASYNC110  # the reader fills it
                    await asyncio.sleep(_TICK_S)
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        await producer.stop()
        await reader.stop()
    return [took for number, took in on_topic.items() if number >= first], list(over_http)


def _event(service: str, number: int, hash_: str) -> bytes:
    return orjson.dumps(
        {
            "event_id": str(uuid.uuid4()),
            "kind": "state_change",
            "service": service,
            "breaker": "bench",
            "instance": "bench",
            "sequence": number,
            "state": ("closed", "open")[number // _SERVICES % 2],
            "at": "2026-01-31T09:30:00Z",
            "constitutional_hash": hash_,
        }
    )


async def _read(reader: Consumer, sent: dict[int, float], seen: dict[int, float]) -> None:
    """The delay of each event: the reader's clock when its row arrives, less the clock when it was sent."""
    while True:
        for records in (await reader.getmany(timeout_ms=_POLL_MS)).values():
            now_ms = time.time() * 1_000
            for record in records:
                number = int(orjson.loads(record.value or b"")["breakers"][0]["sequence"])
                seen.setdefault(number, now_ms - sent[number])


async def _asked(session: aiohttp.ClientSession, url: str, number: int, sent_ms: float) -> float:
    """The delay until an answer has the event."""
    while True:
        async with session.get(url) as answer:
            document: dict[str, Any] = await answer.json()
        if document.get("breakers") and document["breakers"][0]["sequence"] >= number:
            return time.time() * 1_000 - sent_ms
        await asyncio.sleep(_TICK_S)
