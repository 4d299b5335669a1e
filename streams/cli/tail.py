"""`acgs tail`: follow a topic."""

import re
from contextlib import aclosing
from typing import Final

import click
import orjson

from streams.cli.output import clean, clock, flush, screen, show_below, tell, text, write_line
from streams.cli.session import engine, wait_for
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.readable import Words, document, words
from streams.tailing import BEGINNING, END, Start, full_name
from streams.tailing import tail as records_of

STYLES: Final = {"good": "green", "held": "yellow", "bad": "red", "plain": ""}
SHOWN_KEY: Final = 12
KEY_END: Final = 8
CLOCK_WIDTH: Final = 14
UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _start(_ctx: click.Context, _option: click.Parameter, given: str | None) -> Start | None:
    if given is None or given in {BEGINNING, END}:
        return None if given is None else Start(given)
    if given.isdecimal():
        return Start(int(given))
    raise click.BadParameter(f"{given} is none of beginning, end and an offset")


@click.command()
@click.argument("topic")
@click.option(
    "--from",
    "start",
    callback=_start,
    metavar="beginning|end|OFFSET",
    help="Where to begin on each partition; default end, and beginning with --no-follow.",
)
@click.option("-n", "--count", type=click.IntRange(min=1), metavar="N", help="Stop after N records.")
@click.option("--follow/--no-follow", default=True, show_default=True, help="Wait for more, or stop at the end.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for scripts.")
def tail(topic: str, start: Start | None, count: int | None, *, follow: bool, as_json: bool) -> None:
    r"""Show the records of TOPIC as they come: who sends what to whom, how it scored, and why.

    TOPIC is the catalogue's name, such as deliveries, deliberation or rejected, or a full one. Only what is committed
    is shown. With --json a record is an object of topic, partition, offset, timestamp (milliseconds), key, headers
    (a list of name and value) and value; bytes that are not UTF-8 stand under value_base64 and the like.

    \b
    Example:
      acgs tail deliveries
      acgs tail rejected --from beginning --no-follow
      acgs tail deliberation --json | jq -r '.headers[] | select(.name == "acgs-card").value | fromjson.score'
    """
    begin = start or Start(END if follow else BEGINNING)
    wait_for(_tail(engine("tail"), topic, begin, count, follow=follow, as_json=as_json))


async def _tail(
    settings: EngineSettings, topic: str, start: Start, count: int | None, *, follow: bool, as_json: bool
) -> None:
    name = await full_name(settings, topic)
    if follow and screen(stderr=True).is_terminal and screen().is_terminal:
        tell(f"Following {name}; Ctrl-C ends.", "dim")
    shown = 0
    async with aclosing(records_of(settings, name, start, follow=follow)) as arriving:
        async for records in arriving:
            for record in records:
                _show(record, as_json=as_json)
                shown += 1
                if shown == count:
                    return
            flush()


def _show(record: Record, *, as_json: bool) -> None:
    if as_json:
        write_line(orjson.dumps(document(record)).decode())
    elif screen().is_terminal:
        _show_on_terminal(record, words(record))
    else:
        write_line(_plain(record, words(record)))


def _plain(record: Record, said: Words) -> str:
    parts = (clock(record.timestamp), _place(record), _key(record), said.about, said.mark, said.why)
    return "  ".join(clean(part) for part in parts if part)


def _show_on_terminal(record: Record, said: Words) -> None:
    line = text(f"{clock(record.timestamp)}  {_place(record):<9} ", "dim")
    line.append(f"{clean(_key(record)):<{SHOWN_KEY}}  ", "cyan")
    line.append(clean(said.about))
    if said.mark:
        line.append(f"  {clean(said.mark)}", f"bold {STYLES[said.tone]}")
    screen().print(line)
    if said.why:
        show_below(clean(said.why), CLOCK_WIDTH)


def _place(record: Record) -> str:
    return f"{record.partition}/{record.offset}"


def _key(record: Record) -> str:
    """The key; of a UUID its first characters, which tell conversations apart."""
    key = "-" if record.key is None else record.key.decode(errors="backslashreplace")
    return f"{key[:KEY_END]}..." if UUID.fullmatch(key) else key
