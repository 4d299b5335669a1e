"""Wrong usage that shows only when a value is looked at: exit code 2, since 1 may mean that something differs."""

from collections.abc import Generator
from contextlib import contextmanager

import click

from streams.cli.output import clean
from streams.errors import StreamsError


@contextmanager
def refusing(option: str, *kinds: type[StreamsError]) -> Generator[None, None, None]:
    """Says of errors of these kinds that it was the option's value.

    Raises:
        click.BadParameter: it was.
    """
    try:
        yield
    except kinds as error:
        raise click.BadParameter(clean(str(error)), param_hint=option) from error


def some_id(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    """An id or the beginning of one; with nothing every id begins."""
    if given is not None and not given.strip():
        raise click.BadParameter(
            "it is empty: give an id, or as much of one as no other begins with", context, parameter
        )
    return given
