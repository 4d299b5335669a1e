"""One worker as a process: `python -m streams.worker_process`. A Supervisor starts it; it ends when its parent does."""

import argparse
import logging
import socket
import sys
from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from handlers.chaos.targets import PROTECTED
from schemas import topics
from streams import control, logs, loop
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.chaos.process import Chaos
from streams.engine.client import EngineSettings
from streams.engine.disturbance import UNDISTURBED
from streams.engine.metrics import EngineMetrics
from streams.engine.worker import Worker
from streams.errors import StreamsError
from streams.metrics import Measures
from streams.serving import serve
from streams.settings import Settings, load

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the worker until SIGTERM, SIGINT or the end of its parent; 0 if every turn was finished."""
    options = _options(arguments)
    logs.configure()
    try:
        settings = load()
        engine = settings.engine(client_id=f"{settings.worker_id or socket.gethostname()}-{options.number}")
        loop.run(_run(options, settings, engine))
    except StreamsError as error:
        _log.error("%s", error)
        return 1
    return 0


async def _run(options: argparse.Namespace, settings: Settings, engine: EngineSettings) -> None:
    registry = CollectorRegistry()
    naming = Naming(settings.prefix)
    in_force = await control.in_force(engine)
    built = build_agents(options.agents, naming, Measures(registry), in_force.policy if in_force else None)
    chaos = Chaos(engine, registry) if options.chaos else None
    worker = Worker(
        built,
        engine,
        EngineMetrics(registry),
        lanes_topic=naming.topic(topics.LANES),
        disturbance=chaos.lanes if chaos else UNDISTURBED,
    )
    port = settings.metrics_port and settings.metrics_port + options.number
    await serve(
        chaos.around(worker, [f"agent:{agent.name}" for agent in built]) if chaos else worker,
        registry,
        name=f"worker {engine.client_id}",
        metrics=(settings.metrics_host, port),
        with_parent=options.with_parent,
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m streams.worker_process", description=__doc__)
    parser.add_argument("--number", type=int, default=0, help="this worker's number among those of one supervisor")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input does")
    parser.add_argument("--chaos", action="store_true", help="let chaos be done here that operators order")
    parser.add_argument("agents", nargs="*", help="agents to run; all without any")
    options = parser.parse_args(arguments)
    protected = [agent for agent in options.agents or topics.LANE_AGENTS if agent in PROTECTED]
    if options.chaos and protected:
        parser.error(f"chaos is never done to {', '.join(protected)}: run them in a process without --chaos")
    return options


if __name__ == "__main__":
    sys.exit(main())
