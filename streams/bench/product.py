"""The product as the benches run it: installed, with the default policy, its workers supervised."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from streams import control
from streams.engine.client import EngineSettings
from streams.installation import Installation
from streams.policies import default_policy
from streams.supervisor import Supervisor

PARTITIONS = 2
WORKERS = 2


async def install(settings: EngineSettings) -> None:
    """Makes the topics and publishes the default policy."""
    await Installation(settings, partitions=PARTITIONS, replication=1).create()
    await control.publish(settings, default_policy())


@asynccontextmanager
async def running(settings: EngineSettings, *, metrics_port: int) -> AsyncGenerator[Supervisor, None]:
    """The workers, from their start to their end; their ports count up from `metrics_port`, 0 takes any."""
    environment = {
        "ACGS_KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "ACGS_PREFIX": settings.prefix,
        "ACGS_METRICS_PORT": str(metrics_port),
        "ACGS_WORKER_ID": "bench",
    }
    with open(os.devnull, "wb") as nowhere:  # noqa: ASYNC230, PTH123  # the null device does not block
        supervisor = Supervisor((), workers=WORKERS, environment=environment, log=nowhere)
        supervising = asyncio.create_task(supervisor.run())
        try:
            yield supervisor
        finally:
            supervisor.stop()
            await supervising
