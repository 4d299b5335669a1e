"""`acgs audit index` and `acgs audit search`: decisions found by what they are about."""

import asyncio
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from schemas.score import display
from streams.cli.index_session import as_is_option, brought_up_to_date, file_option, how_old, index_file
from streams.cli.output import clean, clock, count, iso, say, screen, show_table, size, tell, text, write_line
from streams.cli.session import engine, wait_for
from streams.cli.times import require_span, time_option
from streams.cli.usage import some_id

if TYPE_CHECKING:
    from rich.text import Text

    from streams.engine.client import EngineSettings
    from streams.search.building import Installed
    from streams.search.file import IndexFile
    from streams.search.query import Filter, Row

_LIMIT = 50
_TONES = {
    "delivered": "green",
    "released": "green",
    "completed": "green",
    "held": "yellow",
    "rejected": "red",
    "dead-lettered": "red",
    "denied": "red",
    "expired": "red",
    "veto": "red",
    "compensation_failed": "bold red",
    "parked_forward": "bold red",
}
_UUID_CHARACTERS, _SHORT = 36, 13
"""On a terminal the beginning of an id stands for it: other commands take it so."""
_ON_A_TERMINAL = ("time", "verdict", "score", "agent", "tool", "of", "reason")
_COLUMNS = ("time", "verdict", "score", "agent", "tenant", "tool", "of", "where", "reason")


@click.command()
@file_option
@click.option("--follow", is_flag=True, help="Go on adding what is decided, until Ctrl-C.")
def index(*, path: Path | None, follow: bool) -> None:
    r"""Build the index that search and explain use, or bring it up to date.

    It is made from the topics and from nothing else: delete it whenever you like. It goes on where it was, also after
    it was killed. Committed records only.

    \b
    Exit codes:
      0    everything that was committed at the start is in it (with --follow: never; Ctrl-C ends with 130)
      1    the file is no index, another installation's, or of a log that is not there any more; or the broker
           cannot be read
      2    wrong usage or settings

    \b
    Example:
      acgs audit index
      acgs audit index --file /var/lib/acgs/index.sqlite --follow
    """
    wait_for(_index(engine("audit-index"), path, follow=follow))


async def _index(settings: "EngineSettings", path: Path | None, *, follow: bool) -> None:
    from streams.search.building import look  # noqa: PLC0415  # not for --help

    installed = await look(settings)
    with installed.open(index_file(installed, path)) as file:
        await brought_up_to_date(settings, installed, file, aloud=True)
        records = count(await asyncio.to_thread(file.count), "record")
        say(f"{file.path} has {records}, {size(file.size())}.")
        if follow:
            tell("Following; Ctrl-C ends.", "dim")
            await _follow(settings, file)


async def _follow(settings: "EngineSettings", file: "IndexFile") -> None:
    from streams.search.building import Builder, look  # noqa: PLC0415  # not for --help

    def on_added(records: int) -> None:
        if records:
            tell(f"{count(records, 'record')} added", "dim")

    while True:
        installed = await look(settings)
        async with Builder(settings, installed, file) as builder:
            await builder.catch_up()
            await builder.follow(on_added)


def _score(context: click.Context, parameter: click.Parameter, given: float | None) -> int | None:
    """A score from 0 to 1 as 0 to 10,000."""
    if given is not None and math.isnan(given):
        raise click.BadParameter("it is no number", context, parameter)
    return None if given is None else round(given * 10_000)


@click.command()
@time_option("--from", "since", "Only decisions at or after it (RFC 3339).")
@time_option("--to", "until", "Only decisions before it.")
@click.option("--agent", metavar="NAME", help="Who sent, voted or asked.")
@click.option("--tenant", metavar="NAME")
@click.option("--tool", metavar="NAME", help="The tool, the activity, or the workflow's name.")
@click.option("--verdict", "verdicts", multiple=True, metavar="VERDICT", help="One of those below; may be repeated.")
@click.option("--reason", metavar="CODE", help="A reason's code, or some of its words.")
@click.option("--min-score", type=click.FloatRange(0, 1), callback=_score, help="As people see scores: 0 to 1.")
@click.option("--max-score", type=click.FloatRange(0, 1), callback=_score)
@click.option(
    "--message", metavar="ID", callback=some_id, help="Only of this message; the beginning of its id is enough."
)
@click.option("--item", metavar="ID", callback=some_id, help="Only of this item of deliberation.")
@click.option("--workflow", metavar="ID", callback=some_id, help="Only of this workflow.")
@click.option("--limit", type=click.IntRange(min=1), default=_LIMIT, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@file_option
@as_is_option
def search(  # its options
    *,
    since: int | None,
    until: int | None,
    agent: str | None,
    tenant: str | None,
    tool: str | None,
    verdicts: tuple[str, ...],
    reason: str | None,
    min_score: int | None,
    max_score: int | None,
    message: str | None,
    item: str | None,
    workflow: str | None,
    limit: int,
    as_json: bool,
    path: Path | None,
    as_is: bool,
) -> None:
    r"""Find decisions, the newest first: what became of messages, items and workflows.

    Brings the index up to date first, and builds it if there is none. `acgs audit explain ID` then tells the story.

    \b
    Verdicts:
      delivered held rejected dead-lettered resolved      messages, and whatever was refused
      approve veto abstain reopen                         votes
      released denied expired withdrawn                   how items ended
      started called undo completed compensated compensated_with_exceptions
      compensation_failed parked_forward                  workflows

    \b
    Exit codes:
      0    also if nothing was found
      1    no such id, or several; no index that can be used; or the broker cannot be read
      2    wrong usage or settings

    \b
    Example:
      acgs audit search --verdict rejected --from 2026-05-03T14:00:00Z
      acgs audit search --tenant acme --min-score 0.8 --json | jq .message
    """
    from streams.search.entries import VERDICTS  # noqa: PLC0415  # not for --help
    from streams.search.query import Filter  # noqa: PLC0415

    for verdict in verdicts:
        if verdict not in VERDICTS:
            raise click.UsageError(f"--verdict {verdict!r} is none of {', '.join(VERDICTS)}")
    named = [(kind, one) for kind, one in (("message", message), ("item", item), ("workflow", workflow)) if one]
    if len(named) > 1:
        raise click.UsageError("of --message, --item and --workflow only one may be given")
    require_span(since, until)
    if min_score is not None and max_score is not None and min_score > max_score:
        raise click.UsageError("--min-score is above --max-score: no score is between them")
    wanted = Filter(
        since_ms=since,
        until_ms=until,
        agent=agent,
        tenant=tenant,
        reason=reason,
        tool=tool,
        verdicts=verdicts,
        min_score=min_score,
        max_score=max_score,
    )
    wait_for(_search(path, wanted, named, limit, as_json=as_json, as_is=as_is))


async def _search(
    path: Path | None, wanted: "Filter", named: list[tuple[str, str]], limit: int, *, as_json: bool, as_is: bool
) -> None:
    from streams.search import query  # noqa: PLC0415  # not for --help
    from streams.search.building import look  # noqa: PLC0415
    from streams.search.file import IndexFile  # noqa: PLC0415

    if as_is and path is not None:
        opened = IndexFile.existing(path)
    else:
        settings = engine("audit-search")
        installed = await look(settings)
        chosen = index_file(installed, path)
        if as_is:
            IndexFile.existing(chosen).close()
        opened = installed.open(chosen)
        if not as_is:
            await _fresh(settings, installed, opened)
    with opened as file:
        if named:
            kind, given = named[0]
            wanted = wanted._replace(of=query.find(file, given, [kind])[0])
        found = query.search(file, wanted, limit)
        if as_json:
            for row in found:
                write_line(orjson.dumps(document(row)).decode())
        else:
            _show(found, limit, file)


async def _fresh(settings: "EngineSettings", installed: "Installed", file: "IndexFile") -> None:
    try:
        await brought_up_to_date(settings, installed, file)
    except BaseException:
        file.close()
        raise


def document(row: "Row") -> dict[str, object]:
    """One decision for machines."""
    from streams.search import ids  # noqa: PLC0415  # not for --help

    entry = row.entry
    return {
        "at": iso(entry.at),
        "verdict": entry.verdict,
        "score": entry.score,
        "agent": entry.agent,
        "tenant": entry.tenant,
        "tool": entry.tool,
        "reason": entry.reason,
        "message": ids.shown(entry.message),
        "item": ids.shown(entry.item),
        "workflow": ids.shown(entry.workflow),
        "source": entry.source,
        "unreadable": entry.defect,
        "topic": row.topic,
        "partition": row.partition,
        "offset": row.offset,
    }


def _show(found: "list[Row]", limit: int, file: "IndexFile") -> None:
    columns = _ON_A_TERMINAL if screen().is_terminal else _COLUMNS
    rows = [tuple(cells[name] for name in columns) for cells in map(_cells, found)]
    if rows:
        show_table(columns, rows, whole="of")
    more = f"; there may be more: --limit {limit} is reached" if len(found) == limit else ""
    tell(f"{count(len(found), 'decision')}, from {how_old(file)}{more}.", "dim")


def _cells(row: "Row") -> "dict[str, str | Text]":
    from streams.search import ids  # noqa: PLC0415  # not for --help

    entry = row.entry
    of = ids.shown(entry.message or entry.workflow or entry.item) or entry.source or ""
    return {
        "time": clock(entry.at),
        "verdict": text(entry.verdict or "", _TONES.get(entry.verdict or "", "")),
        "score": "" if entry.score is None else display(entry.score),
        "agent": clean(entry.agent or ""),
        "tenant": clean(entry.tenant or ""),
        "tool": clean(entry.tool or ""),
        "of": clean(of if len(of) != _UUID_CHARACTERS or not screen().is_terminal else of[:_SHORT]),
        "where": row.at,
        "reason": clean(entry.reason or entry.defect or ""),
    }
