"""Many workflows: a table, and what stands below it."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from schemas.workflow import WorkflowState, WorkflowStatus
from streams.cli.output import age, clean, count, text
from streams.cli.workflow_view import STATES
from streams.workflows.board import needs_somebody

if TYPE_CHECKING:
    from rich.text import Text

COLUMNS: Final = ("id", "name", "state", "age", "since", "nodes", "waits for, or why")
_UNITS: Final = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
_LENGTH: Final = re.compile(r"(\d{1,6}) ?(s|min|h|d)")


def duration(_ctx: click.Context, _option: click.Parameter, given: str | None) -> timedelta | None:
    """Reads a length of time such as 90s, 15min, 2h or 3d.

    Raises:
        click.BadParameter: it is none.
    """
    if given is None:
        return None
    found = _LENGTH.fullmatch(given)
    if found is None:
        raise click.BadParameter(f"{clean(given)} is no length of time such as 90s, 15min, 2h or 3d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def row(status: WorkflowStatus, now_ms: int) -> tuple["str | Text", ...]:
    """One line of the table."""
    return (
        clean(status.workflow_id),
        clean(status.name),
        text(status.state.value, STATES[status.state]),
        age(now_ms - status.started_ms),
        age(now_ms - (status.closed_ms or status.changed_ms)),
        f"{status.nodes:,}",
        _waits_for(status),
    )


def _waits_for(status: WorkflowStatus) -> "Text":
    if not status.attention:
        return text(clean(status.cause or ""), "dim")
    first = status.attention[0]
    more = status.attention_count - 1
    about = f"{first.node}: {first.why}" if first.node else first.why
    return text(clean(about) + (f" (and {count(more, 'more node')})" if more > 0 else ""), "yellow")


def summary(statuses: Sequence[WorkflowStatus]) -> "Text":
    """How many there are of each state, and how many need somebody."""
    states = Counter(status.state for status in statuses)
    parts = ", ".join(f"{states[state]:,} {state.value}" for state in WorkflowState if states[state])
    needing = sum(map(needs_somebody, statuses))
    line = text(count(len(statuses), "workflow") + (f": {parts}" if parts else "") + ".", "bold")
    if needing:
        return line.append(f" {needing:,} {'needs' if needing == 1 else 'need'} somebody.", "bold yellow")
    return line
