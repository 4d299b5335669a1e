"""Health for people: a line a service, a page for one, and a document for scripts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from handlers.health import MAX_FLAPS
from schemas.breaker import BreakerState
from schemas.health import GRAVEST_FIRST, BreakerRow, ServiceHealth, SystemHealth, SystemHealthStatus
from streams.cli.output import age, aligned, clean, clock, count, iso, text
from streams.health.board import HealthBoard, Read

if TYPE_CHECKING:
    from rich.text import Text

COLUMNS: Final = ("service", "status", "score", "closed", "half", "open", "silent", "flaps", "for", "why")
STATUSES: Final = {
    SystemHealthStatus.HEALTHY: "green",
    SystemHealthStatus.DEGRADED: "yellow",
    SystemHealthStatus.CRITICAL: "bold red",
    SystemHealthStatus.UNKNOWN: "magenta",
}
_STATES: Final = {BreakerState.CLOSED: "green", BreakerState.HALF_OPEN: "yellow", BreakerState.OPEN: "bold red"}


def heading(system: SystemHealth | None, now_ms: int) -> Iterator["Text | str"]:
    """How everything stands together."""
    if system is None:
        yield "Nothing is known yet: no health table has written the system's row ('acgs run health-table' runs one)."
        return
    services = ", ".join(f"{system.services[one]} {one.value}" for one in GRAVEST_FIRST if system.services.get(one))
    line = text("system ", "bold").append(system.status.value, STATUSES[system.status])
    line.append(f" for {age(now_ms - system.since)}, score {system.health_score:.3f}")
    line.append(f"; {services or 'no service'}", "dim")
    yield line
    if now_ms >= system.fresh_until:
        yield text(
            f"The health table has written nothing for {age(now_ms - system.as_of)}: 'acgs run health-table' runs one. "
            "What is shown of each service is as of now all the same.",
            "yellow",
        )
    yield ""


def rows(board: HealthBoard, now_ms: int) -> Iterator[tuple["str | Text", ...]]:
    """A line a service, the gravest first."""
    found = [one.row for one in board.services(now_ms)]
    for row in sorted(found, key=lambda one: (GRAVEST_FIRST.index(one.status), one.service)):
        yield (
            clean(row.service),
            text(row.status.value, STATUSES[row.status]),
            f"{row.health_score:.3f}",
            str(row.closed_breakers),
            str(row.half_open_breakers or ""),
            str(row.open_breakers or ""),
            str(row.silent_breakers or ""),
            _flaps(row),
            age(now_ms - row.since),
            clean(row.why),
        )


def page(service: str, found: Read | None, now_ms: int) -> Iterator["Text | str"]:
    """Everything about one service."""
    if found is None:
        yield (
            text(f"{clean(service)} ", "bold")
            .append("unknown", STATUSES[SystemHealthStatus.UNKNOWN])
            .append(": nothing has been heard of it")
        )
        return
    row = found.row
    yield (
        text(f"{clean(row.service)} ", "bold")
        .append(row.status.value, STATUSES[row.status])
        .append(f" since {clock(row.since)}, for {age(now_ms - row.since)}; score {row.health_score:.3f}")
    )
    yield f"  {clean(row.why)}"
    yield f"  {count(len(row.flaps), 'change')} of state in the last minutes{_more(row)}; " + (
        "one open breaker makes it critical" if row.is_critical else "critical below one half"
    )
    yield text(
        f"  written {age(now_ms - found.written_ms)} ago, health/{found.partition}/{found.offset}, "
        f"from breakers/{row.partition}/{row.offset}",
        "dim",
    )
    yield ""
    lines = aligned([_COLUMNS, *(_breaker(one, now_ms) for one in row.breakers)])
    yield text(lines[0], "bold")
    for line, one in zip(lines[1:], row.breakers, strict=True):
        yield text(line, "magenta" if one.fresh_until <= now_ms else _STATES[one.state])


_COLUMNS: Final = ("breaker", "instance", "state", "for", "heard", "reason")


def _breaker(one: BreakerRow, now_ms: int) -> tuple[str, ...]:
    state = f"silent, was {one.state.value}" if one.fresh_until <= now_ms else one.state.value
    since, heard = age(now_ms - one.since), f"{age(now_ms - one.heard)} ago"
    return clean(one.breaker), clean(one.instance), state, since, heard, clean(one.reason or "")


def whole(name: str, status: SystemHealthStatus, since_ms: int, why: str) -> str:
    """A line for a log."""
    return f"{iso(since_ms)} {name} is {status.value}" + (f": {why}" if why else "")


def document(board: HealthBoard, service: str | None, now_ms: int) -> dict[str, Any]:
    """Everything, or one service, as JSON."""
    if service is not None:
        found = board.service(service, now_ms)
        if found is None:
            return {"service": service, "status": SystemHealthStatus.UNKNOWN, "why": "nothing has been heard of it"}
        return {**found.row.model_dump(mode="json"), "age_ms": now_ms - found.written_ms}
    system = board.system_at(now_ms)
    return {
        "at": now_ms,
        "system": None if system is None else system.model_dump(mode="json"),
        "services": [
            {**one.row.model_dump(mode="json", exclude={"breakers", "flaps"}), "age_ms": now_ms - one.written_ms}
            for one in board.services(now_ms)
        ],
    }


def _flaps(row: ServiceHealth) -> str:
    return f"{len(row.flaps)}{'+' if len(row.flaps) >= MAX_FLAPS else ''}" if row.flaps else ""


def _more(row: ServiceHealth) -> str:
    return " or more" if len(row.flaps) >= MAX_FLAPS else ""
