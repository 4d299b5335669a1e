"""Moments as commands are given them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


def moment(context: click.Context, parameter: click.Parameter, given: str | None) -> int | None:
    """RFC 3339 as milliseconds since 1970; without a zone it is UTC."""
    if given is None:
        return None
    try:
        read = datetime.fromisoformat(given)
    except ValueError as error:
        raise click.BadParameter(f"{given!r} is no time such as 2026-05-03T14:00:00Z", context, parameter) from error
    aware = read if read.tzinfo else read.replace(tzinfo=UTC)
    if aware < _FIRST:
        raise click.BadParameter(f"{given!r} is before 1970, when no broker had a record", context, parameter)
    return (aware - _FIRST) // timedelta(milliseconds=1)


def require_span(since: int | None, until: int | None) -> None:
    """Something can be between --from and --to.

    Raises:
        click.UsageError: nothing can.
    """
    if since is not None and until is not None and since >= until:
        raise click.UsageError(
            "--to is not after --from: nothing is between them. Give --from an earlier time than --to"
        )


def time_option(name: str, parameter: str, says: str) -> Callable[[Any], Any]:
    """An option that takes a moment."""
    return click.option(name, parameter, callback=moment, metavar="TIME", help=says)
