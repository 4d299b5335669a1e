"""`acgs bench pipeline`: in.messages through gateway and triage, both hops transactional, all checks, the trail on."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import psutil

from schemas import topics
from streams.bench import bare, product, traffic
from streams.bench.product import PARTITIONS, WORKERS
from streams.bench.result import Result
from streams.engine.client import EngineSettings
from streams.supervisor import Supervisor

_POLL_S = 0.2
_FIRST_PORT = 19_464


@dataclass(frozen=True, slots=True)
class Sample:
    """What the workers say at one moment: records decided for good, and the largest worker's memory."""

    at: float
    decided: int
    resident_bytes: int


async def run(settings: EngineSettings, *, messages: int, say: Callable[[str], None]) -> list[Result]:
    """The pipeline's rate, its ratio to the bare two-hop figure of the same run, and a worker's memory."""
    await product.install(settings)
    source = f"{settings.prefix}{topics.IN_MESSAGES}"
    say(f"writing {messages} messages")
    await traffic.load(settings, source, PARTITIONS, messages)
    say("bare two hops: aiokafka, transactions, no handler")
    ceiling = await bare.two_hops(settings, source, messages)
    say(f"the pipeline: {WORKERS} workers, {PARTITIONS} partitions")
    samples = await decided(settings, messages)
    reached = rate(samples)
    resident = max(sample.resident_bytes for sample in samples) / 1024 / 1024
    return [
        Result("bare-two-hops", ceiling, "messages/s"),
        Result("pipeline", reached, "messages/s", f"({reached / ceiling:.2f} of bare two hops)"),
        Result("memory", resident, "MiB", "RSS of a worker during pipeline"),
    ]


async def decided(
    settings: EngineSettings, messages: int, program: Callable[[int], Sequence[str]] | None = None
) -> list[Sample]:
    """Runs gateway and triage until so many messages are delivered, held or rejected; how far they were, and when."""
    samples: list[Sample] = []
    async with product.running(settings, metrics_port=_FIRST_PORT, program=program) as supervisor:
        async with asyncio.timeout(60 + messages / 1_000):
            while not samples or samples[-1].decided < messages:
                await asyncio.sleep(_POLL_S)
                samples.append(await asyncio.to_thread(_sample, supervisor))
    return samples


def _sample(supervisor: Supervisor) -> Sample:
    decided = product.decided(_FIRST_PORT)
    resident = max((psutil.Process(pid).memory_info().rss for pid in supervisor.pids.values()), default=0)
    return Sample(time.perf_counter(), decided, resident)


def rate(samples: list[Sample]) -> float:
    """Messages a second between the first and the last moment at which more had been decided than before."""
    moving = [late for early, late in pairwise(samples) if late.decided > early.decided]
    first, last = moving[0], moving[-1]
    return (last.decided - first.decided) / (last.at - first.at)
