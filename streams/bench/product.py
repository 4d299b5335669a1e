"""The product as the benches run it: installed, with the default policy, its workers supervised."""

import asyncio
import os
import urllib.request
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from schemas import topics
from streams import control
from streams.engine.client import EngineSettings
from streams.installation import Installation
from streams.policies import default_policy
from streams.supervisor import Supervisor, lane_worker

PARTITIONS = 2
WORKERS = 2
MESSAGE_AGENTS = (topics.GATEWAY_MESSAGES, topics.TRIAGE)


async def install(settings: EngineSettings) -> None:
    """Makes the topics and publishes the default policy."""
    await Installation(settings, partitions=PARTITIONS, replication=1).create()
    await control.publish(settings, default_policy())


def environment(settings: EngineSettings, *, metrics_port: int) -> dict[str, str]:
    """How processes of a bench reach its installation."""
    return {
        "ACGS_KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "ACGS_PREFIX": settings.prefix,
        "ACGS_METRICS_PORT": str(metrics_port),
        "ACGS_WORKER_ID": "bench",
    }


@asynccontextmanager
async def running(
    settings: EngineSettings,
    *,
    metrics_port: int,
    agents: Sequence[str] = MESSAGE_AGENTS,
    workers: int = WORKERS,
    log: Path = Path(os.devnull),
    program: Callable[[int], Sequence[str]] | None = None,
) -> AsyncGenerator[Supervisor, None]:
    """The workers, from their start to their end; their ports count up from `metrics_port`, 0 takes any.

    They run `program`, else the agents' lanes.
    """
    with log.open("ab") as opened:
        supervisor = Supervisor(
            program or lane_worker(*agents),
            workers=workers,
            environment=environment(settings, metrics_port=metrics_port),
            log=opened,
        )
        supervising = asyncio.create_task(supervisor.run())
        try:
            yield supervisor
        finally:
            supervisor.stop()
            await supervising


def decided(first_port: int) -> int:
    """Messages that the workers of running() have delivered, held or rejected so far, by their metrics. Blocks."""
    return sum(_decided(first_port + number) for number in range(WORKERS))


def _decided(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return 0
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    triaged = [s.value for s in samples if s.name == "lane_records_total" and s.labels["agent"] == topics.TRIAGE]
    return int(sum(triaged) + sum(s.value for s in samples if s.name == "acgs_rejected_total"))
