"""What every command prints with: colour and tables on a terminal, plain aligned lines in a pipe."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


class OutputClosed(Exception):  # noqa: N818  # no error of the command: its reader has seen enough
    """Nobody reads standard output any more."""


@cache
def screen(*, stderr: bool = False) -> "Console":
    """The console of standard output, or of standard error. Colours only on a terminal, and not with NO_COLOR."""
    from rich.console import Console  # noqa: PLC0415  # 40 ms that --help does not need

    class Screen(Console):
        def on_broken_pipe(self) -> NoReturn:
            raise OutputClosed

    return Screen(stderr=stderr, highlight=False, soft_wrap=True)


def write_line(line: str) -> None:
    """One line on standard output, as it is.

    Raises:
        OutputClosed: nobody reads it.
    """
    try:
        sys.stdout.write(f"{line}\n")
    except BrokenPipeError:
        raise OutputClosed from None


def flush() -> None:
    """Sends what was written on its way.

    Raises:
        OutputClosed: nobody reads it.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputClosed from None


def tell(words: str, style: str = "") -> None:
    """A line for a person, on standard error, so that it does not mix with what a pipe takes."""
    screen(stderr=True).print(words, style=style, markup=False)


def say(words: "str | Text", style: str = "") -> None:
    """A line on standard output."""
    screen().print(words, style=style, markup=False)
    flush()


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence["str | Text"]],
    *,
    last_wraps: bool = False,
    whole: str | None = None,
) -> None:
    """A table on standard output; in a pipe, aligned columns without lines, colours or cut cells."""
    if screen().is_terminal:
        screen().print(table(columns, rows, last_wraps=last_wraps, whole=whole), soft_wrap=False)
    else:
        for line in aligned([columns, *rows]):
            write_line(line)
    flush()


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence["str | Text"]],
    *,
    last_wraps: bool = False,
    whole: str | None = None,
) -> "Table":
    """A table for a terminal. Cells fold rather than lose characters; with `last_wraps` only the last one does.

    The column `whole` never folds, so that it can be copied.
    """
    from rich.table import Table  # noqa: PLC0415  # as above
    from rich.text import Text  # noqa: PLC0415

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns, start=1):
        made.add_column(column, overflow="fold", no_wrap=column == whole or (last_wraps and number < len(columns)))
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return made


def aligned(rows: Iterable[Sequence["str | Text"]]) -> list[str]:
    """Columns two spaces apart, the last one as long as it is."""
    plain = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in plain]


def text(words: str, style: str) -> "Text":
    """Words with a style, for a cell or a line that others are appended to in their own."""
    from rich.text import Text  # noqa: PLC0415  # as above

    return Text().append(words, style)


def show_below(words: str, indent: int) -> None:
    """What belongs to the line above, on a terminal: dim, indented, and so in each line it takes."""
    from rich.padding import Padding  # noqa: PLC0415  # as above

    screen().print(Padding(text(words, "dim"), (0, 0, 0, indent)), soft_wrap=False)


def clean(words: str) -> str:
    """Words from outside, safe on a terminal: what is not printable is shown as an escape."""
    return words if words.isprintable() else "".join(map(_shown, words))


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def instant(ms: int) -> datetime:
    """Milliseconds since 1970 as a time."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def iso(ms: int) -> str:
    """A time for machines: RFC 3339 in UTC, with milliseconds."""
    return instant(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(ms: int) -> str:
    """A time for people, in this machine's zone: the clock alone if it is today."""
    local = instant(ms).astimezone()
    today = local.date() == datetime.now(UTC).astimezone().date()
    return local.strftime("%H:%M:%S.%f" if today else "%Y-%m-%d %H:%M:%S.%f")[:-3]


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_IN_HOURS = 48 * 3_600


def age(ms: float) -> str:
    """How long something is ago, in its two largest units: `3 min 12 s`."""
    seconds = max(0, int(ms / 1000))
    if seconds == 0:
        return f"{max(0, int(ms))} ms"
    parts: list[str] = []
    for size, unit in _UNITS[seconds <= _IN_HOURS - 1 :]:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def length(duration: timedelta) -> str:
    """A duration in its two largest units."""
    return age(duration.total_seconds() * 1000)


def count(number: int, thing: str, things: str | None = None) -> str:
    """A number with its noun: `1 lane`, `1,200 lanes`."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


_KIB = 1024


def size(number: float) -> str:
    """Bytes for people: `4 MiB`."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    step = 0
    while number >= _KIB and step < len(units) - 1:
        number, step = number / _KIB, step + 1
    return f"{number:,.0f} {units[step]}" if number == int(number) else f"{number:,.1f} {units[step]}"
