"""Asking before something that cannot be undone."""

import sys

import click

from streams.cli.output import tell


def confirmed(question: str) -> bool:
    """Whether a person at a terminal says yes.

    Raises:
        click.UsageError: nobody can be asked.
        click.exceptions.Exit: the answer is no; exit code 1.
    """
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here, as standard input is no terminal: add --yes to go on")
    if click.confirm(question, err=True):
        return True
    tell("Nothing was changed.")
    raise click.exceptions.Exit(1)
