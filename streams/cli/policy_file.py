"""Policies from files, as commands read them."""

import sys
from pathlib import Path

import click

from schemas.errors import PolicyError
from schemas.policy import Policy, from_toml
from streams.errors import StreamsError
from streams.lines import STANDARD_INPUT
from streams.policies import default_policy

document_argument = click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)


def read_policy(file: Path | None) -> Policy:
    """The policy in a file, or the default one.

    Raises:
        PolicyError: it is none; every place that is wrong on a line of its own.
        StreamsError: the file cannot be read.
    """
    if file is None:
        return default_policy()
    try:
        return from_toml(_text(file))
    except PolicyError as error:
        places = str(error).replace("Value error, ", "").split("; ")
        raise PolicyError("\n  ".join((f"{name_of(file)} is no policy:", *places))) from error


def _text(file: Path) -> str:
    try:
        return sys.stdin.read() if file == STANDARD_INPUT else file.read_text(encoding="utf-8")
    except OSError as error:
        raise StreamsError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(
            f"{name_of(file)} is no policy: it is not UTF-8 text ({error.reason} at {error.start})"
        ) from error


def name_of(file: Path | None) -> str:
    """What a policy is called in messages."""
    return "the default policy" if file is None else "standard input" if file == STANDARD_INPUT else str(file)
