"""Scenarios of chaos for people: a line in a table, and what to say of one."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from schemas.chaos import ChaosParameters, ChaosState, ChaosStatus
from streams.chaos.statuses import is_in_force
from streams.cli.output import age, clean, text

if TYPE_CHECKING:
    from rich.text import Text

COLUMNS: Final = ("scenario", "name", "state", "left", "type", "target", "how", "by", "why")
_STATES: Final = {ChaosState.IN_FORCE: "red", ChaosState.OVER: "green", ChaosState.STOPPED: "green"}


def rows(statuses: Sequence[ChaosStatus], now_ms: int) -> Iterator[tuple["str | Text", ...]]:
    """A line a scenario."""
    for status in statuses:
        yield (
            status.scenario_id,
            clean(status.name),
            _state(status, now_ms),
            age(status.until_ms - now_ms) if is_in_force(status, now_ms) else "",
            status.chaos_type.value,
            clean(status.target),
            how(status.parameters),
            clean(_by(status)),
            clean(status.why or status.reason),
        )


def how(parameters: ChaosParameters) -> str:
    """How bad it is."""
    said = (
        (parameters.latency_ms, "{} ms"),
        (parameters.memory_mib, "{} MiB"),
        (parameters.cpu_percent, "{} % CPU"),
        (parameters.probability_percent, "of {} %"),
    )
    return ", ".join(words.format(value) for value, words in said if value is not None)


def ended(status: ChaosStatus) -> str:
    """How it ended, in words."""
    by = f" by {clean(status.ended_by)}" if status.ended_by else ""
    return f"{clean(status.name)} is {status.state.value}{by}: {clean(status.why or '')}"


def _state(status: ChaosStatus, now_ms: int) -> "str | Text":
    if status.state is ChaosState.IN_FORCE and not is_in_force(status, now_ms):
        return text("over, not yet recorded", "yellow")
    return text(status.state.value.replace("_", " "), _STATES[status.state])


def _by(status: ChaosStatus) -> str:
    if status.ended_by is None or status.ended_by == status.requested_by:
        return status.requested_by
    return f"{status.requested_by}, stopped by {status.ended_by}"
