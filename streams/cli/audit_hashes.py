"""`acgs audit hashes`: what a record leaves when it is erased."""

import click

from streams.audit.erasing import PLACE, hashes_of
from streams.cli.output import write_line
from streams.cli.session import settings
from streams.loop import run


def _places(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    for place in given:
        if not PLACE.fullmatch(place):
            words = f"{place!a} is no place of a record: TOPIC/PARTITION/OFFSET"
            raise click.BadParameter(words, context, parameter)
    return given


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="TOPIC/PARTITION/OFFSET...", callback=_places)
def hashes(*, places: tuple[str, ...]) -> None:
    r"""Print the hashes of records that are to be erased, for `acgs audit verify --erased`.

    Run it before the records are erased, and keep what it prints: one JSON object a record. Afterwards nobody can make
    it, and the turns that read or wrote the records could not be proven. A hash does not tell what was in its record,
    but lets whoever guesses it know that they were right.

    \b
    Exit codes:
      0    the hashes were printed
      1    at one of the places is no record, or the broker cannot be read
      2    wrong usage or settings

    \b
    Example:
      acgs audit hashes acgs.in.messages/0/41 acgs.deliveries/1/17 >> erased.jsonl
      acgs audit verify --erased erased.jsonl
    """
    engine = settings().engine(client_id="acgs-audit")
    for one in run(hashes_of(engine, places)):
        write_line(one.model_dump_json(exclude_none=True))
