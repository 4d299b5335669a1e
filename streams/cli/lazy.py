"""Groups of commands that are imported when they are used, so that each starts as fast as it can."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Entry:
    """A command that is imported when it is used: where it is, and its line in the overview."""

    module: str
    attribute: str
    says: str


class LazyGroup(click.Group):
    """A group of `entries`, in their order. Its overview imports none of them."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry], **kwargs: Any) -> None:  # noqa: ANN401  # click's own
        super().__init__(*args, **kwargs)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the overview."""
        del ctx
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        del ctx
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.module}.{entry.attribute} is no command")
        _mark_paragraphs(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.says) for name, entry in self.entries.items()])


def _mark_paragraphs(command: click.Command) -> None:
    r"""Makes the `\b` of raw docstrings click's own mark for a paragraph that is not to be wrapped again."""
    command.help = (command.help or "").replace("\\b\n", "\b\n")
    for child in getattr(command, "commands", {}).values():
        _mark_paragraphs(child)
