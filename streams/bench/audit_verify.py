"""`acgs bench audit-verify`: everything that gateway and triage decided, verified by one process from the broker."""

import asyncio
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from schemas import topics
from streams.audit.running import Selection
from streams.audit.running import run as verify
from streams.bench import product, traffic
from streams.bench.product import PARTITIONS
from streams.bench.result import Result
from streams.engine.client import EngineSettings
from streams.engine.worker import settle_garbage
from streams.settings import Settings

_POLL_S = 0.2
_FIRST_PORT = 19_474
_FEWER = 4
_KIB = 1024
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else _KIB


@dataclass(frozen=True, slots=True)
class _Verified:
    """What one audit in a process of its own has done, and what it took."""

    decisions: int
    seconds: float
    cpu_seconds: float
    resident_bytes: int


def run(settings: EngineSettings, here: Settings, *, messages: int, say: Callable[[str], None]) -> list[Result]:
    """Decisions a second of one process, and its memory over a quarter of the messages and over all of them.

    Raises:
        RuntimeError: the audit found a difference.
    """
    asyncio.run(product.install(settings))
    there = here.model_copy(update={"kafka_bootstrap_servers": settings.bootstrap_servers, "prefix": settings.prefix})
    few = messages // _FEWER
    say(f"{few} messages through gateway and triage")
    asyncio.run(_decide(settings, few))
    say("verifying them")
    before = _apart(there)
    say(f"{messages - few} more")
    asyncio.run(_decide(settings, messages - few))
    say("verifying all")
    after = _apart(there)
    mib = _KIB * _KIB
    grown = after.resident_bytes / before.resident_bytes
    return [
        Result(
            "audit-verify",
            after.decisions / after.seconds,
            "decisions/s",
            f"of one process ({after.decisions / after.cpu_seconds:.0f} a second of its CPU)",
        ),
        Result(
            "audit-verify-memory",
            after.resident_bytes / mib,
            "MiB",
            f"RSS at most ({grown:.2f} of that over a quarter of the log)",
        ),
    ]


async def _decide(settings: EngineSettings, more: int) -> None:
    await traffic.load(settings, f"{settings.prefix}{topics.IN_MESSAGES}", PARTITIONS, more)
    async with product.running(settings, metrics_port=_FIRST_PORT):
        async with asyncio.timeout(60 + more / 1_000):
            count = 0
            while count < more:
                await asyncio.sleep(_POLL_S)
                count = await asyncio.to_thread(product.decided, _FIRST_PORT)


def _apart(settings: Settings) -> _Verified:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_verify, settings).result()


def _verify(settings: Settings) -> _Verified:
    settle_garbage()
    began, cpu = time.perf_counter(), time.process_time()
    verdict = verify(settings, Selection(), workers=1)
    took = time.perf_counter() - began, time.process_time() - cpu
    if verdict.exit_code:
        raise RuntimeError(verdict.words)
    return _Verified(verdict.decisions, *took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES)
