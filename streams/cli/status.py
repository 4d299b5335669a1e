"""`acgs status`: every lane, and what to do next."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from streams.cli.output import age, clean, count, iso, say, screen, show_table, table, text, write_line
from streams.cli.session import engine, wait_for
from streams.engine.client import EngineSettings
from streams.lane_board import LaneBoard, LaneView, current_error

if TYPE_CHECKING:
    from rich.text import Text

COLUMNS: Final = ("lane", "state", "lag", "oldest", "last commit", "worker", "what to do next")
EVERY_S: Final = 1.0
STYLES: Final = {"running": "green", "held": "bold red", "silent": "red", "never ran": "red", "closed": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a lane and line, for scripts.")
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
def status(*, as_json: bool, watch: bool) -> None:
    r"""Show every lane: its state, how far behind it is, its last error, and what to do next.

    A lane is one agent on one partition. `lag` counts the offsets it has not read, `oldest` is the age of the oldest
    record that has arrived and is not handled. A worker that has said nothing for 30 s counts as silent. Exit code 1
    when a lane needs a person.

    \b
    Example:
      acgs status
      acgs status --watch
      acgs status --json | jq -r 'select(.needs_person) | .agent, .what_next'
    """
    settings = engine("status")
    if watch:
        wait_for(_watch(LaneBoard(settings), as_json=as_json))
    views = wait_for(_look(settings))
    _show(views, as_json=as_json)
    if any(view.needs_person for view in views):
        raise click.exceptions.Exit(1)


async def _look(settings: EngineSettings) -> list[LaneView]:
    return await LaneBoard(settings).look(_now_ms())


async def _watch(board: LaneBoard, *, as_json: bool) -> None:
    if as_json or not screen().is_terminal:
        while True:
            _show(await board.look(_now_ms()), as_json=as_json)
            await asyncio.sleep(EVERY_S)
    from rich.console import Group  # noqa: PLC0415  # only on a terminal
    from rich.live import Live  # noqa: PLC0415

    with Live(console=screen(), auto_refresh=False) as live:
        while True:
            views = await board.look(_now_ms())
            shown = Group(table(COLUMNS, map(_row, views)), text("", ""), *_errors(views), _summary(views))
            live.update(shown, refresh=True)
            await asyncio.sleep(EVERY_S)


def _show(views: Sequence[LaneView], *, as_json: bool) -> None:
    if as_json:
        for view in views:
            write_line(json.dumps(_document(view)))
        return
    show_table(COLUMNS, [_row(view) for view in views])
    say("")
    for line in (*_errors(views), _summary(views)):
        say(line)


def _row(view: LaneView) -> tuple["str | Text", ...]:
    now = _now_ms()
    state = text(view.state, STYLES.get(view.state, "yellow"))
    said = view.said.status if view.said else None
    advice = text(view.advice or "nothing", "bold" if view.needs_person else "dim")
    return (
        f"{view.agent}/{view.lane}",
        state,
        "-" if view.lag is None else f"{view.lag:,}",
        "-" if said is None or said.oldest_ms is None else age(now - said.oldest_ms),
        "-" if said is None or said.last_commit_ms is None else f"{age(now - said.last_commit_ms)} ago",
        "-" if said is None else clean(said.worker),
        advice,
    )


def _errors(views: Sequence[LaneView]) -> list["Text"]:
    """The last error of each lane that has not got over it."""
    said = [(view, view.said.status) for view in views if view.said is not None]
    return [
        text(f"{view.agent}/{view.lane}: {clean(error)}", "red")
        for view, status in said
        if (error := current_error(status)) is not None
    ]


def _summary(views: Sequence[LaneView]) -> "Text":
    needing = sum(view.needs_person for view in views)
    if needing:
        return text(f"{needing} of {count(len(views), 'lane')} need a person.", "bold red")
    return text(f"{count(len(views), 'lane')}, none needs a person.", "bold green")


def _document(view: LaneView) -> dict[str, object]:
    said = view.said.status if view.said else None
    return {
        "agent": view.agent,
        "lane": view.lane,
        "state": view.state,
        "needs_person": view.needs_person,
        "what_next": view.advice or None,
        "lag": view.lag,
        "worker": said and said.worker,
        "said_at": view.said and iso(view.said.at_ms),
        "silent_for_ms": view.silent_for_ms(_now_ms()),
        "offsets": said and said.offsets,
        "turns": said and said.seq,
        "oldest_at": said and _iso(said.oldest_ms),
        "turn_open_since": said and _iso(said.turn_since_ms),
        "last_commit_at": said and _iso(said.last_commit_ms),
        "last_error": said and said.last_error,
        "last_error_at": said and _iso(said.last_error_ms),
        "rows": said and said.rows,
        "timers": said and said.timers,
    }


def _iso(ms: int | None) -> str | None:
    return None if ms is None else iso(ms)


def _now_ms() -> int:
    return int(time.time() * 1000)
