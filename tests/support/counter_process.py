"""A worker process of the example agent: `python -m tests.support.counter_process SERVERS PREFIX NAME WINDOW_MS`.

Ends on SIGTERM, and when its standard input does.
"""

import asyncio
import os
import signal
import sys

from prometheus_client import CollectorRegistry

from streams import logs
from streams.engine.client import EngineSettings
from streams.engine.metrics import EngineMetrics
from streams.engine.worker import Worker
from tests.support.windowed_counter import windowed_counter


async def main(servers: str, prefix: str, name: str, window_ms: str) -> None:
    settings = EngineSettings(bootstrap_servers=servers, prefix=prefix, client_id=name)
    agent = windowed_counter(prefix, int(window_ms))
    worker = Worker([agent], settings, EngineMetrics(CollectorRegistry()), lanes_topic=f"{prefix}lanes")
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.stop)

    def read_or_stop() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            loop.remove_reader(sys.stdin)
            worker.stop()

    loop.add_reader(sys.stdin, read_or_stop)
    await worker.run()


if __name__ == "__main__":
    logs.configure()
    asyncio.run(main(*sys.argv[1:]))
