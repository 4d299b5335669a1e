"""What commands that need the index begin with: its file, brought up to date, and how that is told."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from streams.cli.output import age, count, screen, tell

if TYPE_CHECKING:
    from streams.engine.client import EngineSettings
    from streams.search.building import Built, Installed, Progress
    from streams.search.file import IndexFile

_MOST_CHARACTERS = 100

file_option = click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The index. Without it, $ACGS_DATA_DIR/audit, else ~/.local/share/acgs-streams/audit, has one for each "
    "installation.",
)
as_is_option = click.option("--as-is", is_flag=True, help="Do not bring the index up to date first.")


def default_file(installed: "Installed") -> Path:
    """Where the index of an installation is, if nobody says otherwise."""
    from streams.cli.kafka import default_data  # noqa: PLC0415  # with all that starts a broker

    cluster = quote(installed.cluster, safe="")[:_MOST_CHARACTERS]  # whatever a broker calls itself, a file's name
    return default_data().parent / "audit" / f"index-{installed.prefix}{cluster}.sqlite"


def index_file(installed: "Installed", named: Path | None) -> Path:
    """The file that is named, else the installation's own, whose folder is made: of another it may be mistyped.

    Raises:
        IndexFileError: the folder cannot be made.
    """
    from streams.search.errors import IndexFileError  # noqa: PLC0415  # not for --help

    if named is not None:
        return named
    path = default_file(installed)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IndexFileError(
            f"{path.parent} cannot be made: {error.strerror}. Name another file with --file"
        ) from error
    return path


async def brought_up_to_date(
    settings: "EngineSettings", installed: "Installed", file: "IndexFile", *, aloud: bool = False
) -> "Built":
    """Adds everything that is committed by now, with a bar on a terminal; says what was done, if it was much.

    Raises:
        IndexFileError: the log is not the one that the index was built from, or the file cannot be written.
        BrokerError: the broker cannot be reached or refuses.
    """
    from streams.search.building import bring_up_to_date  # noqa: PLC0415  # not for --help

    is_new = file.as_of_ms is None
    if is_new and not aloud:
        tell(f"There is no index yet: building {file.path}.", "dim")
    with progress() as on_progress:
        built = await bring_up_to_date(settings, installed, file, on_progress)
    if aloud or is_new:
        tell(said(built), "dim")
    for (topic, partition), lost in built.lost.items():
        words = count(lost, "offset")
        tell(f"{topic}/{partition}: retention has deleted {words} since the index was last brought up to date.", "dim")
    return built


def said(built: "Built") -> str:
    """What was added and how fast."""
    read = built.records + built.turns
    rate = f", {read / built.took_s:,.0f}/s" if read and built.took_s else ""
    return f"Added {count(built.records, 'record')} and {count(built.turns, 'turn')} in {built.took_s:.1f} s{rate}."


def how_old(file: "IndexFile") -> str:
    """Up to when the index has everything."""
    as_of = file.as_of_ms
    if as_of is None:
        return "an index that was never finished: 'acgs audit index' goes on with it"
    return f"an index of {age(time.time() * 1000 - as_of)} ago"


@contextmanager
def progress() -> Generator[Callable[["Progress"], None], None, None]:
    """A bar on a terminal, nothing in a pipe."""
    console = screen(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich import progress as shown  # noqa: PLC0415  # only with a bar

    rate_column = shown.TextColumn("{task.fields[rate]}")
    columns = shown.TextColumn("indexing"), shown.BarColumn(), shown.TaskProgressColumn(), rate_column
    with shown.Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("indexing", total=None, rate="")

        def on_progress(now: "Progress") -> None:
            rate = f"{count(now.records, 'record')}, {now.records / max(0.001, time.monotonic() - now.began_s):,.0f}/s"
            bars.update(task, total=now.total, completed=now.done, rate=rate)

        yield on_progress
