"""`acgs bench`: the product measured on stated work."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from streams.bench import audit_verify as audit_verify_bench
from streams.bench import dag as dag_bench
from streams.bench import deadlines as deadlines_bench
from streams.bench import deliberation as deliberation_bench
from streams.bench import explain as explain_bench
from streams.bench import forward as forward_bench
from streams.bench import health as health_bench
from streams.bench import impact as impact_bench
from streams.bench import latency as latency_bench
from streams.bench import pending as pending_bench
from streams.bench import pipeline as pipeline_bench
from streams.bench import recovery as recovery_bench
from streams.bench import sagas as sagas_bench
from streams.bench import trail as trail_bench
from streams.bench.place import Say, place
from streams.bench.result import Result
from streams.embedded import EmbeddedKafka, EmbeddedSettings
from streams.engine.client import EngineSettings
from streams.loop import run
from streams.settings import load

_MESSAGES = 400_000
_FORWARDED = 390_000
_VERIFIED = 200_000
_TRAILED = 150_000
_ROUNDS = 5
_SECONDS = 30.0
_SAGAS = 1_000
_ITEMS = 20_000
_MANY_ITEMS = 100_000
_RECOVERIES = 10_000
_SEARCHED = 1_000_000
_IN_FLIGHT = 100


@click.group()
def bench() -> None:
    r"""Measure the product on this machine, and say so in RESULT lines.

    Runs on the configured broker, else on an embedded Kafka for the time of the bench. Machines are noisy: quote
    medians of several runs, and ratios within one run.

    \b
    Example:
      acgs bench pipeline
    """


@bench.command()
@click.option("--source", default="peers-in", show_default=True, help="Full name of the topic to read.")
@click.option("--sink", default="peers-out", show_default=True, help="Full name of the topic to write.")
@click.option("--messages", type=click.IntRange(1), default=_FORWARDED, show_default=True)
@click.option("--timeout", "timeout_s", type=click.FloatRange(1), default=120.0, show_default=True, help="Seconds.")
def forward(*, source: str, sink: str, messages: int, timeout_s: float) -> None:
    r"""Read, validate and write unchanged, exactly once, from one topic to another of a configured broker.

    \b
    Example:
      acgs bench forward --source peers-in --sink peers-out --messages 390000
    """
    settings = load().engine(client_id="bench")
    result = run(forward_bench.run(settings, source=source, sink=sink, messages=messages, timeout_s=timeout_s))
    click.echo(result.line())


@bench.command()
@click.option("--messages", type=click.IntRange(1_000), default=_MESSAGES, show_default=True)
def pipeline(*, messages: int) -> None:
    r"""Gateway and triage at full speed: rate, the bare two-hop figure beside it, and a worker's memory.

    \b
    Example:
      acgs bench pipeline --messages 200000 | grep RESULT
    """
    _in_place(lambda settings, say: run(pipeline_bench.run(settings, messages=messages, say=say)))


@bench.command()
@click.option("--messages", type=click.IntRange(1_000), default=_TRAILED, show_default=True, help="In each pass.")
@click.option("--rounds", type=click.IntRange(1), default=_ROUNDS, show_default=True, help="Passes with and without.")
def trail(*, messages: int, rounds: int) -> None:
    r"""What the trail costs: gateway and triage with it, and without it in a build that only this bench has.

    \b
    Example:
      acgs bench trail --rounds 3 | grep RESULT
    """
    _in_place(lambda settings, say: run(trail_bench.run(settings, messages=messages, rounds=rounds, say=say)))


@bench.command(name="audit-verify")
@click.option("--messages", type=click.IntRange(4_000), default=_VERIFIED, show_default=True)
def audit_verify(*, messages: int) -> None:
    r"""What gateway and triage decided, verified by one process: decisions/s, and memory by the length of the log.

    \b
    Example:
      acgs bench audit-verify --messages 100000 | grep RESULT
    """
    here = load()
    _in_place(lambda settings, say: audit_verify_bench.run(settings, here, messages=messages, say=say))


@bench.command()
@click.option("--seconds", type=click.FloatRange(1), default=_SECONDS, show_default=True)
def latency(*, seconds: float) -> None:
    r"""From append on in.messages to visible on deliveries, at an even 2,000 messages/s: p50 and p99.

    \b
    Example:
      acgs bench latency --seconds 15
    """
    _in_place(lambda settings, say: run(latency_bench.run(settings, seconds=seconds, say=say)))


@bench.command()
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="StepShield trajectories, .jsonl or .jsonl.gz.",
)
@click.option("--json", "as_json", is_flag=True, help="Print figures as JSON.")
def impact(*, data: Path, as_json: bool) -> None:
    r"""Impact scores against labelled agent traffic: AUC, recall and false positives at several thresholds.

    \b
    Example:
      acgs bench impact --data trajectories.jsonl.gz
    """
    raise SystemExit(impact_bench.run(data, Console(), as_json=as_json))


@bench.command()
def dag() -> None:
    r"""DAGExecutor on 1,000 and 4,000 nodes that do nothing, and on a long chain. Needs no broker.

    \b
    Example:
      acgs bench dag
    """
    for result in run(dag_bench.run(_tell)):
        click.echo(result.line())


@bench.command()
@click.option("--sagas", "count", type=click.IntRange(1), default=_SAGAS, show_default=True)
@click.option("--in-flight", type=click.IntRange(1), default=_IN_FLIGHT, show_default=True, help="Sagas at a time.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes of lanes.")
def sagas(*, count: int, in_flight: int, workers: int) -> None:
    r"""Durable workflows: the failing saga of ten steps, alone and many at a time, and 1,000 parallel nodes.

    Activities run in a process of their own. An embedded broker flushes to disk when the kernel does, as Kafka does by
    default: what is committed is safe from any process that dies, not from the machine's loss of power.

    \b
    Example:
      acgs bench sagas --sagas 1000
    """
    _in_place(
        lambda settings, say: run(sagas_bench.run(settings, sagas=count, in_flight=in_flight, workers=workers, say=say))
    )


@bench.command()
@click.option("--items", "count", type=click.IntRange(1_000), default=_ITEMS, show_default=True)
def deliberation(*, count: int) -> None:
    r"""Held items, two signed decisions each, released: the rate, and the delay at half of it.

    \b
    Example:
      acgs bench deliberation --items 20000
    """
    _in_place(lambda settings, say: run(deliberation_bench.run(settings, count=count, say=say)))


@bench.command()
@click.option("--items", "count", type=click.IntRange(2_000), default=_MANY_ITEMS, show_default=True)
def pending(*, count: int) -> None:
    r"""Many items that wait: memory an item, and the time lanes take to come back after SIGKILL.

    \b
    Example:
      acgs bench pending --items 20000
    """
    _in_place(lambda settings, say: run(pending_bench.run(settings, count=count, say=say)))


@bench.command()
@click.option("--items", "count", type=click.IntRange(1_000), default=_MANY_ITEMS, show_default=True)
def deadlines(*, count: int) -> None:
    r"""Items that expire within a minute, and as many at one instant: how late, and how long others wait.

    \b
    Example:
      acgs bench deadlines --items 20000
    """
    _in_place(lambda settings, say: run(deadlines_bench.run(settings, count=count, say=say)))


@bench.command(name="health-callback")
def health_callback() -> None:
    r"""What telling a breaker's change costs its caller, with Kafka up, slow and down. On an embedded Kafka.

    \b
    Example:
      acgs bench health-callback
    """
    with tempfile.TemporaryDirectory(prefix="acgs-bench-") as folder:
        kafka = EmbeddedKafka(EmbeddedSettings(data=Path(folder) / "kafka"))
        kafka.start(Say(_tell))
        try:
            here = load().model_copy(update={"kafka_bootstrap_servers": kafka.bootstrap_servers})
            settings = replace(here.engine(client_id="bench"), prefix="bench.")
            for result in run(health_bench.callback(settings, kafka, _tell)):
                click.echo(result.line())
        finally:
            kafka.kill()


@bench.command(name="health-report")
def health_report() -> None:
    r"""What a report of a process's own breakers costs, with 1,000 and 10,000 of them. Needs no broker.

    \b
    Example:
      acgs bench health-report
    """
    for result in health_bench.report(_tell):
        click.echo(result.line())


@bench.command(name="health-visible")
@click.option("--seconds", type=click.FloatRange(1), default=_SECONDS, show_default=True)
def health_visible(*, seconds: float) -> None:
    r"""From a breaker event's sending until its row can be read, on the topic and over HTTP, at 500 events/s.

    \b
    Example:
      acgs bench health-visible --seconds 15
    """
    _in_place(lambda settings, say: run(health_bench.visible(settings, seconds=seconds, say=say)))


@bench.command()
@click.option("--recoveries", "count", type=click.IntRange(2_000), default=_RECOVERIES, show_default=True)
def recovery(*, count: int) -> None:
    r"""Scheduled recoveries, on lanes and in one process: how late, none early, and what scheduling costs.

    \b
    Example:
      acgs bench recovery --recoveries 10000
    """
    _in_place(lambda settings, say: run(recovery_bench.run(settings, count=count, say=say)))


@bench.command(name="audit-explain")
@click.option("--messages", type=click.IntRange(1_000), default=_SEARCHED, show_default=True)
def audit_explain(*, messages: int) -> None:
    r"""One message among many: how fast the index is built, and how long its story and the command take.

    \b
    Example:
      acgs bench audit-explain --messages 100000
    """
    _in_place(lambda settings, say: run(explain_bench.run(settings, messages=messages, say=say)))


@bench.command(name="all")
def everything() -> None:
    r"""Pipeline, then latency.

    \b
    Example:
      acgs bench all | grep RESULT > figures.txt
    """

    def both(settings: EngineSettings, say: Callable[[str], None]) -> list[Result]:
        rates = run(pipeline_bench.run(settings, messages=_MESSAGES, say=say))
        apart = replace(settings, prefix=f"{settings.prefix}latency.")
        return rates + run(latency_bench.run(apart, seconds=_SECONDS, say=say))

    _in_place(both)


def _in_place(measure: Callable[[EngineSettings, Callable[[str], None]], list[Result]]) -> None:
    with place(load(), Say(_tell)) as settings:
        for result in measure(settings, _tell):
            click.echo(result.line())


def _tell(words: str) -> None:
    click.echo(f"· {words}", err=True)
