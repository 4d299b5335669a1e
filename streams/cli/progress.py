"""A bar for long work: on a terminal only, on standard error, gone at the end."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from streams.cli.output import screen


class OnProgress(Protocol):
    """What a bar is told by."""

    def __call__(self, done: int, total: int | None = None, beside: str = "") -> None:
        """So much is done, of so much if that is known; and something to be said beside the bar."""
        ...


def _nothing(done: int, total: int | None = None, beside: str = "") -> None:
    del done, total, beside


@contextmanager
def bar(words: str, *, counts: bool = True, times: bool = False) -> Generator[OnProgress, None, None]:
    """A bar with what is being done; `counts` shows the two numbers, `times` how long it has been."""
    console = screen(stderr=True)
    if not console.is_terminal:
        yield _nothing
        return
    from rich.progress import (  # noqa: PLC0415  # only with a bar
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = [TextColumn(words), BarColumn()]
    columns += [MofNCompleteColumn()] if counts else []
    columns += [TextColumn("{task.fields[beside]}")]
    columns += [TimeElapsedColumn()] if times else []
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(words, total=None, beside="")

        def on_progress(done: int, total: int | None = None, beside: str = "") -> None:
            bars.update(task, completed=done, total=total, beside=beside)

        yield on_progress
