"""`acgs worker`: runs a user's activities."""

import logging
import os
import socket
import sys
from datetime import timedelta
from typing import Final

import click
from prometheus_client import CollectorRegistry

from compensation.activity_set import ActivitySet
from schemas.topics import DEFAULT_QUEUE
from streams import loop
from streams.activities.disturbance import UNDISTURBED
from streams.activities.loading import load
from streams.activities.worker import ActivityWorker, WorkerSettings
from streams.chaos.process import Chaos
from streams.claims import ClaimStore, open_claims
from streams.cli.output import clean, count, say, text
from streams.cli.session import settings as read_settings
from streams.metrics import ActivityMeasures
from streams.serving import serve
from streams.settings import Settings

_MAX_CONCURRENCY: Final = 100_000


@click.command()
@click.argument("activities", metavar="MODULE[:NAME]")
@click.option(
    "--queue",
    "queues",
    multiple=True,
    default=(DEFAULT_QUEUE,),
    show_default=True,
    help="Where commands come from; may be repeated.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, _MAX_CONCURRENCY),
    default=100,
    show_default=True,
    help="Activities at once, for each queue.",
)
@click.option(
    "--drain-timeout",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds that running activities may take to end when the worker is told to.",
)
@click.option("--claims", metavar="FOLDER|s3://...", help="Where results and inputs above 16 KiB are kept.")
@click.option("--chaos", is_flag=True, help="Let chaos be done here that operators order ('acgs chaos').")
@click.option("--with-parent", is_flag=True, hidden=True, help="End when standard input does.")
def worker(
    activities: str,
    queues: tuple[str, ...],
    *,
    concurrency: int,
    drain_timeout: float,
    claims: str | None,
    chaos: bool,
    with_parent: bool,
) -> None:
    r"""Run the activities of a Python module for the workflows that ask for them, until Ctrl-C or SIGTERM.

    MODULE is imported as Python does, from the working folder too; all async functions in it that carry @activity are
    served, and the methods of its BaseActivities that do. NAME takes one class, instance, function or list of it
    instead. All workers of a queue share its commands, and must know the same activities.

    An activity runs at least once for each command: use its idempotency_key, or an EffectStore with its effect_key.
    Told to stop, a worker lets what runs end; a second Ctrl-C cancels it. Logs are JSON lines on standard error;
    /metrics, /livez and /readyz are on ACGS_METRICS_PORT.

    \b
    Example:
      acgs worker shop.payments --queue payments --concurrency 20
      acgs worker activities:PaymentActivities --claims s3://acme-claims/results
    """
    served = load(activities)
    own = WorkerSettings(
        queues=tuple(dict.fromkeys(queues)), concurrency=concurrency, drain_timeout=timedelta(seconds=drain_timeout)
    )
    store = None if claims is None else open_claims(claims)
    loop.run(_serve(served, read_settings(), own, store, has_chaos=chaos, with_parent=with_parent))


async def _serve(
    activities: ActivitySet,
    settings: Settings,
    own: WorkerSettings,
    claims: ClaimStore | None,
    *,
    has_chaos: bool,
    with_parent: bool,
) -> None:
    """Serves until a signal. Ends the process itself where cancelled activities may go on: else it would wait."""
    registry = CollectorRegistry()
    engine = settings.engine(client_id=settings.worker_id or f"{socket.gethostname()}-{os.getpid()}")
    chaos = Chaos(engine, registry) if has_chaos else None
    disturbance = chaos.calls if chaos else UNDISTURBED
    made = ActivityWorker(activities, engine, own, ActivityMeasures(registry), claims, disturbance=disturbance)
    try:
        await serve(
            chaos.around(made, [f"queue:{queue}" for queue in own.queues]) if chaos else made,
            registry,
            name=f"worker {engine.client_id}",
            metrics=(settings.metrics_host, settings.metrics_port),
            with_parent=with_parent,
            introduce=lambda: None if with_parent else _introduce(activities, own),
        )
    finally:
        if claims is not None:
            await claims.aclose()
    if made.may_linger:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


def _introduce(activities: ActivitySet, own: WorkerSettings) -> None:
    names = ", ".join(sorted(map(clean, activities)))
    for queue in own.queues:
        say(text(f"{clean(queue)}: ", "bold").append(names, "cyan"))
    say(f"{count(len(activities), 'activity', 'activities')}, at most {own.concurrency:,} at once", "dim")
