"""Recoveries for people: a line in a table, and everything on a page."""

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from schemas.recovery import RecoveryEvent, RecoveryState, RecoveryStatus
from streams.cli.output import age, clean, clock, count, text

if TYPE_CHECKING:
    from rich.text import Text

STATES: Final = {
    RecoveryState.IDLE: "dim",
    RecoveryState.SCHEDULED: "cyan",
    RecoveryState.IN_PROGRESS: "blue",
    RecoveryState.SUCCEEDED: "green",
    RecoveryState.FAILED: "red",
    RecoveryState.CANCELLED: "dim",
    RecoveryState.AWAITING_MANUAL: "yellow",
}
COLUMNS: Final = ("service", "state", "since", "attempt", "priority", "next", "open", "why")
_WIDTH: Final = 10
_INDENT: Final = "  "
_APPROVED: Final = frozenset({RecoveryState.AWAITING_MANUAL, RecoveryState.FAILED})
_CANCELLED: Final = frozenset({RecoveryState.SCHEDULED, RecoveryState.IN_PROGRESS, RecoveryState.AWAITING_MANUAL})


def rows(statuses: Sequence[RecoveryStatus], now_ms: int) -> Iterator[tuple["str | Text", ...]]:
    """A line a recovery."""
    for status in statuses:
        yield (
            clean(status.service),
            text(status.state.value, STATES[status.state]),
            age(now_ms - status.since),
            _attempt(status),
            str(status.priority),
            _next(status, now_ms),
            str(status.open_breakers) if status.open_breakers else "",
            text(clean(status.why), "dim"),
        )


def summary(found: Sequence[RecoveryStatus]) -> str:
    """What a list amounts to."""
    if not found:
        return "No recovery is under way."
    wait = sum(status.state is RecoveryState.AWAITING_MANUAL for status in found)
    waiting = f", of which {wait:,} {'awaits' if wait == 1 else 'await'} a person" if wait else ""
    return f"{count(len(found), 'recovery', 'recoveries')}{waiting}."


def page(status: RecoveryStatus, events: Sequence[RecoveryEvent], now_ms: int) -> Iterator["str | Text"]:
    """How a recovery stands, what has happened, and what may be done."""
    yield text(f"{'service':<{_WIDTH}} {clean(status.service)}", "bold")
    yield (
        text(f"{'state':<{_WIDTH}} ", "")
        .append(status.state.value, STATES[status.state])
        .append(f" since {clock(status.since)}, version {status.version}: {clean(status.why)}")
    )
    yield f"{'attempt':<{_WIDTH}} {_attempt(status) or 'none yet'}, {status.strategy.value}, priority {status.priority}"
    if coming := _next(status, now_ms):
        yield f"{'next':<{_WIDTH}} {coming}"
    if status.open_breakers:
        yield f"{'breakers':<{_WIDTH}} {count(status.open_breakers, 'breaker')} not closed"
    if status.workflow_id is not None:
        yield f"{'workflow':<{_WIDTH}} {clean(status.workflow_id)}  (acgs workflow show {clean(status.workflow_id)})"
    yield ""
    yield from map(told, events)
    todo = what_next(status)
    if todo:
        yield ""
        yield from (text(_INDENT, "").append(line, "cyan") for line in todo)


def told(event: RecoveryEvent) -> "Text":
    """A change of state, on a line."""
    line = text(f"{clock(event.at)}  ", "dim").append(f"{event.state.value:<15}", STATES[event.state])
    proof = "" if event.verified is not False else " (not verified: the name is a claim)"
    due = f"; due {clock(event.due)}" if event.state is RecoveryState.SCHEDULED and event.due else ""
    return line.append(f" {clean(event.why)}{proof}").append(due, "dim")


def what_next(status: RecoveryStatus) -> list[str]:
    """The commands that apply to it as it stands."""
    named = f"{shlex.quote(clean(status.service))} --version {status.version} --reason WHY"
    lines = [f"acgs recovery approve {named}"] if status.state in _APPROVED else []
    return lines + ([f"acgs recovery cancel {named}"] if status.state in _CANCELLED else [])


def document(status: RecoveryStatus, events: Sequence[RecoveryEvent]) -> str:
    """The same for scripts."""
    said = {
        "status": status.model_dump(mode="json"),
        "events": [event.model_dump(mode="json", exclude_none=True) for event in events],
        "next": what_next(status),
    }
    return json.dumps(said, indent=2)


def _attempt(status: RecoveryStatus) -> str:
    if not status.attempt:
        return ""
    return f"{status.attempt} of {status.max_attempts}" if status.max_attempts else str(status.attempt)


def _next(status: RecoveryStatus, now_ms: int) -> str:
    if status.waits_for_place:
        return "waits for a place"
    if status.waits_for_approval:
        return "waits for approval"
    if status.due is None:
        return ""
    left = status.due - now_ms
    what = "attempt" if status.state is RecoveryState.SCHEDULED else "deadline"
    return f"{what} in {age(left)}" if left > 0 else f"{what} now"
