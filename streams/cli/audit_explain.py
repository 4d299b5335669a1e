"""`acgs audit explain`: the story of one message, item or workflow."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.cli.index_session import as_is_option, brought_up_to_date, file_option, how_old, index_file
from streams.cli.output import clean, clock, say, tell, text, write_line
from streams.cli.session import engine, wait_for
from streams.cli.usage import some_id

if TYPE_CHECKING:
    from rich.text import Text

    from streams.engine.client import EngineSettings
    from streams.search.explaining import Story
    from streams.search.story import Line

_TONES = {"good": "green", "held": "yellow", "bad": "red", "plain": "", "dim": "dim"}


@click.command()
@click.argument("id_", metavar="ID", callback=some_id)
@click.option("--json", "as_json", is_flag=True, help="The story as one JSON object.")
@file_option
@as_is_option
def explain(*, id_: str, as_json: bool, path: Path | None, as_is: bool) -> None:
    r"""Tell what happened to one message, item of deliberation or workflow, in order.

    ID is its id, or as much of it as no other begins with, or the place of a record, TOPIC/PARTITION/OFFSET. Every line
    is read from the log; the index, which is built or brought up to date first, only says where. Beside each line
    stands where its record is, and the turn of the lane that decided on it, as the audit record in the log says.
    What retention has deleted is said in its place. `acgs audit verify` says whether the log is as it was.

    \b
    Exit codes:
      0    the story was told
      1    nothing has this id, or several things begin so (they are named); no index that can be used; or the broker
           cannot be read
      2    wrong usage or settings

    \b
    Example:
      acgs audit explain 7d0c1f6e-6f4b-5c1b-9c7e-0a8f0f4f3c55
      acgs audit explain acgs.in.messages/0/17
      acgs audit explain 7d0c --json | jq '.lines[] | {step, says}'
    """
    wait_for(_explain(engine("audit-explain"), id_, path, as_json=as_json, as_is=as_is))


async def _explain(settings: "EngineSettings", id_: str, path: Path | None, *, as_json: bool, as_is: bool) -> None:
    from streams.search import explaining  # noqa: PLC0415  # not for --help
    from streams.search.building import look  # noqa: PLC0415
    from streams.search.file import IndexFile  # noqa: PLC0415

    installed = await look(settings)
    chosen = index_file(installed, path)
    if as_is:
        IndexFile.existing(chosen).close()
    with installed.open(chosen) as file:
        if not as_is:
            await brought_up_to_date(settings, installed, file)
        story = await explaining.explain(settings, installed, file, id_)
        if as_json:
            write_line(explaining.encoded(story))
            return
        for line in page(story):
            say(line)
        if as_is:
            tell(f"The places are from {how_old(file)}.", "dim")


def page(story: "Story") -> Iterator["str | Text"]:
    """The story on a terminal, or in a pipe."""
    yield text(f"{story.kind} {clean(story.id)}", "bold")
    width = max((len(line.step) for line in story.lines), default=0)
    last: tuple[str, str] | None = None
    for line in story.lines:
        where = line.place, line.turn.words if line.turn else ""
        yield from _line(line, width, is_same=where == last)
        last = where
    if story.is_cut:
        yield text("There is more of it than is told here.", "yellow")


def _line(line: "Line", width: int, *, is_same: bool) -> Iterator["str | Text"]:
    at = "(time unknown)" if line.at_ms is None else clock(line.at_ms)
    told = text(f"{at}  ", "dim").append(f"{line.step:<{width}}  ", _TONES.get(line.tone, ""))
    yield told.append(clean(line.says))
    indent = " " * (len(at) + width + 4)
    for detail in line.details:
        yield text(f"{indent}{clean(detail)}", "dim")
    if not is_same:
        turn = f", {line.turn.words}" if line.turn else ""
        yield text(f"{indent}{clean(line.place)}{turn}", "cyan")
