"""Moments as commands are given them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click


def moment(context: click.Context, parameter: click.Parameter, given: str | None) -> int | None:
    """RFC 3339 as milliseconds since 1970; without a zone it is UTC."""
    if given is None:
        return None
    try:
        read = datetime.fromisoformat(given)
    except ValueError as error:
        raise click.BadParameter(f"{given!r} is no time such as 2026-05-03T14:00:00Z", context, parameter) from error
    aware = read if read.tzinfo else read.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)


def time_option(name: str, parameter: str, says: str) -> Callable[[Any], Any]:
    """An option that takes a moment."""
    return click.option(name, parameter, callback=moment, metavar="TIME", help=says)
