"""`acgs health`: how services stand by their circuit breakers."""

import asyncio
import json
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from schemas.health import SystemHealthStatus
from streams.agents.naming import Naming
from streams.cli.health_view import COLUMNS, document, heading, page, rows, whole
from streams.cli.output import clean, say, screen, show_table, table, write_line
from streams.cli.session import engine, wait_for
from streams.engine.client import EngineSettings
from streams.errors import StreamsError
from streams.health.board import HealthBoard, following, now_ms

if TYPE_CHECKING:
    from rich.console import RenderableType

_REFRESH_S: Final = 0.5
_LINES_BESIDE: Final = 6
"""Of the terminal's lines, those that the table leaves for what is around it."""
_FAILING: Final = frozenset({SystemHealthStatus.CRITICAL, SystemHealthStatus.UNKNOWN})


@click.command()
@click.argument("service", required=False)
@click.option("--watch", is_flag=True, help="Go on showing it until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
@click.option("--check", is_flag=True, help="Exit with 1 where it is critical or unknown.")
def health(*, service: str | None, watch: bool, as_json: bool, check: bool) -> None:
    r"""Show how services stand by their circuit breakers: all of them, or one with each breaker.

    Services publish what their breakers do; the health table folds it. A status is as of now, whether the table runs or
    not: what has not been heard of in time is unknown, and is never called healthy. The gravest come first.

    \b
    Status:
      healthy   every breaker is closed
      degraded  some are not
      critical  less than half of them work, or a service that the policy calls critical has an open one
      unknown   a breaker is silent, or nothing was ever heard

    \b
    Example:
      acgs health
      acgs health payments
      acgs health --watch
      acgs health payments --check && deploy
    """
    if watch and (as_json or check):
        raise click.UsageError("--watch shows it to people, and --json and --check tell scripts once: choose")
    settings = engine("health")
    if watch:
        wait_for(_watch(settings, service))
        return
    board = wait_for(_look(settings))
    now = now_ms()
    if as_json:
        write_line(json.dumps(document(board, service, now), indent=2))
    else:
        _show(board, service, now)
    if check and _status(board, service, now) in _FAILING:
        raise click.exceptions.Exit(1)


def _show(board: HealthBoard, service: str | None, now: int) -> None:
    if service is not None:
        for line in page(service, board.service(service, now), now):
            say(line)
        return
    for line in heading(board.system_at(now), now):
        say(line)
    found = list(rows(board, now))
    if found:
        show_table(COLUMNS, found, last_wraps=True)


def _status(board: HealthBoard, service: str | None, now: int) -> SystemHealthStatus:
    found = board.system_at(now) if service is None else (one.row if (one := board.service(service, now)) else None)
    return SystemHealthStatus.UNKNOWN if found is None else found.status


async def _look(settings: EngineSettings) -> HealthBoard:
    """The board with all that is there.

    Raises:
        InstallationError: a topic is missing.
        BrokerError: the broker cannot be reached or refuses.
    """
    board, failed = HealthBoard(Naming(settings.prefix)), _Failure()
    async with following(settings, board, failed.tell) as follower:
        await failed.first(follower.caught_up.wait())
    return board


async def _watch(settings: EngineSettings, service: str | None) -> None:
    board, failed = HealthBoard(Naming(settings.prefix)), _Failure()
    async with following(settings, board, failed.tell) as follower:
        await failed.first(follower.caught_up.wait())
        if screen().is_terminal:
            await failed.first(_live(board, service))
        else:
            await failed.first(_lines(board, service))


async def _live(board: HealthBoard, service: str | None) -> None:
    from rich.console import Group  # noqa: PLC0415  # only on a terminal
    from rich.live import Live  # noqa: PLC0415

    def now_shown() -> "RenderableType":
        now = now_ms()
        if service is not None:
            return Group(*page(service, board.service(service, now), now))
        most = max(1, screen().height - _LINES_BESIDE)
        shown = list(rows(board, now))
        more = [f"... and {len(shown) - most} more"] * (len(shown) > most)
        return Group(
            *heading(board.system_at(now), now), table(COLUMNS, shown[:most], last_wraps=True), *more, "Ctrl-C ends it."
        )

    with Live(now_shown(), console=screen(), auto_refresh=False) as live:
        while True:
            live.update(now_shown(), refresh=True)
            await asyncio.sleep(_REFRESH_S)


async def _lines(board: HealthBoard, service: str | None) -> None:
    """In a pipe: a line whenever a status changes."""
    said: dict[str, str] = {}
    while True:
        now = now_ms()
        for name, line in _statuses(board, service, now):
            if said.get(name) != line:
                said[name] = line
                say(line)
        await asyncio.sleep(_REFRESH_S)


def _statuses(board: HealthBoard, service: str | None, now: int) -> Iterator[tuple[str, str]]:
    system = board.system_at(now)
    if service is None and system is not None:
        yield "", whole("system", system.status, system.since, "")
    for one in board.services(now):
        if service in {None, one.row.service}:
            yield one.row.service, whole(clean(one.row.service), one.row.status, one.row.since, clean(one.row.why))


class _Failure:
    """What ends the following of topics."""

    def __init__(self) -> None:
        self._error: StreamsError | None = None
        self._is_there = asyncio.Event()

    def tell(self, error: StreamsError) -> None:
        """Takes it."""
        self._error = self._error or error
        self._is_there.set()

    async def first(self, doing: Coroutine[Any, Any, object]) -> None:
        """Waits for something to be done, or raises what keeps it from being done.

        Raises:
            StreamsError: it cannot be followed any further.
        """
        tasks = [asyncio.ensure_future(doing), asyncio.ensure_future(self._is_there.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._error is not None:
                raise self._error
            await tasks[0]
        finally:
            for task in tasks:
                task.cancel()
