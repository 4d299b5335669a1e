"""`acgs workflow`: start workflows, see how they stand, tell them what to do."""

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import click

from schemas.workflow import WorkflowState, WorkflowStatus
from streams.cli.output import say, screen, show_table, table, text, write_line
from streams.cli.session import engine, wait_for
from streams.cli.workflow_bulk import retry
from streams.cli.workflow_orders import cancel, mark_done, pause, resume, signal, skip
from streams.cli.workflow_show import show
from streams.cli.workflow_start import start
from streams.cli.workflow_table import COLUMNS, duration, row, summary
from streams.cli.workflow_view import status_document
from streams.workflows.board import Selection, WorkflowBoard, needs_somebody

EVERY_S: Final = 1.0
AROUND_ROWS: Final = 6
"""Lines of a terminal that a table which is shown again and again leaves to the rest."""


@click.group()
def workflow() -> None:
    r"""Start workflows, see how they stand, and tell them what to do.

    A workflow is a graph of activities; where one fails for good, what was done is undone in reverse order. What needs
    somebody is listed with the reason, and 'acgs workflow show' says which command helps.

    \b
    Example:
      acgs workflow start order.json --input '{"order_id": "A-1"}' --wait
      acgs workflow list --needs-attention
      acgs workflow show ID --watch
      acgs workflow retry ID NODE --reason "the bank answers again"
    """


@workflow.command("list")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in WorkflowState]),
    metavar="STATE",
    help=f"Only these: {', '.join(state.value for state in WorkflowState)}. May be repeated.",
)
@click.option("--name", metavar="NAME", help="Only of this definition.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only with this tag; repeated, with all of them.")
@click.option(
    "--older-than", callback=duration, metavar="TIME", help="Only those begun so long ago: 90s, 15min, 2h, 3d."
)
@click.option("--needs-attention", is_flag=True, help="Only those that need somebody. Exit code 1 if there are any.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a workflow and line, for scripts.")
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
def show_list(
    states: tuple[str, ...],
    name: str | None,
    tags: tuple[str, ...],
    older_than: timedelta | None,
    *,
    needs_attention: bool,
    as_json: bool,
    watch: bool,
) -> None:
    r"""List workflows, the newest first: how each stands, since when, and what it waits for.

    A workflow needs somebody if it is parked or paused, or if one of its nodes waits for an approval or a signal, or is
    blocked. Closed ones are listed until they are forgotten, 30 days after their end by default.

    \b
    Example:
      acgs workflow list
      acgs workflow list --state running --older-than 2h
      acgs workflow list --needs-attention --json | jq -r '.workflow_id, .attention[0].why'
    """
    selection = Selection(
        states=frozenset(map(WorkflowState, states)),
        tags=frozenset(tags),
        name=name,
        older_than=older_than,
        needs_attention=needs_attention,
    )
    board = WorkflowBoard(engine("workflow"))
    if watch:
        wait_for(_watch(board, selection, as_json=as_json))
    chosen = selection.of(wait_for(board.look()), _now_ms())
    _show(chosen, as_json=as_json)
    if needs_attention and any(map(needs_somebody, chosen)):
        raise click.exceptions.Exit(1)


def _show(chosen: Sequence[WorkflowStatus], *, as_json: bool) -> None:
    if as_json:
        for status in chosen:
            write_line(json.dumps(status_document(status)))
        return
    if chosen:
        now = _now_ms()
        show_table(COLUMNS, [row(status, now) for status in chosen])
        say("")
    say(summary(chosen))


async def _watch(board: WorkflowBoard, selection: Selection, *, as_json: bool) -> None:
    if as_json or not screen().is_terminal:
        while True:
            _show(selection.of(await board.look(), _now_ms()), as_json=as_json)
            await asyncio.sleep(EVERY_S)
    from rich.console import Group  # noqa: PLC0415  # only on a terminal
    from rich.live import Live  # noqa: PLC0415

    with Live(console=screen(), auto_refresh=False) as live:
        while True:
            chosen, now = selection.of(await board.look(), _now_ms()), _now_ms()
            fitting = chosen[: max(1, screen().height - AROUND_ROWS)]
            left = len(chosen) - len(fitting)
            more = text(f"... and {left:,} more, older ones" if left else "", "dim")
            rows = table(COLUMNS, [row(status, now) for status in fitting])
            live.update(Group(rows, more, summary(chosen)), refresh=True)
            await asyncio.sleep(EVERY_S)


for _command in (start, show, cancel, pause, resume, signal, retry, skip, mark_done):
    workflow.add_command(_command)


def _now_ms() -> int:
    return int(time.time() * 1000)
