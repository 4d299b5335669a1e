"""`acgs recovery`: how services are recovered, and operators' orders."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from schemas.recovery import LOWEST_PRIORITY, RecoveryEvent, RecoveryState, RecoveryStatus, RecoveryStrategy
from streams.cli.confirm import confirmed
from streams.cli.output import clean, clock, say, screen, show_table, tell, text, write_line
from streams.cli.recovery_view import COLUMNS, document, page, rows, summary
from streams.cli.session import engine, wait_for
from streams.cli.workflow_session import Asker, identified, reason_option, with_operator
from streams.cli.workflow_table import duration
from streams.engine.client import EngineSettings
from streams.recovery import RecoveryClient
from streams.recovery.board import NEEDED, events_of, status_of, statuses

Order = Callable[[RecoveryClient], Awaitable[RecoveryEvent]]
Versioned = Callable[[RecoveryClient, int], Awaitable[RecoveryEvent]]

_EVERY: Final = frozenset(RecoveryState)
_REFRESH_S: Final = 1.0

service_argument = click.argument("service", metavar="SERVICE")
json_option = click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
version_option = click.option(
    "--version",
    type=click.IntRange(min=0),
    metavar="N",
    help="The recovery's version as you saw it; without it you are shown the recovery, and asked.",
)


@click.group()
def recovery() -> None:
    r"""See how services are recovered whose breakers opened; approve, cancel and schedule it.

    Which service is recovered, by which activity and how often, is in the policy. What no worker takes awaits a person.

    \b
    Example:
      acgs recovery list
      acgs recovery show payments
      acgs recovery approve payments --version 3 --reason "the database is back" --key ann.key
    """


@recovery.command("list")
@click.option("--all", "every", is_flag=True, help="Also what has ended well, is idle or was cancelled.")
@click.option("--state", type=click.Choice([state.value for state in RecoveryState]), help="Only this state.")
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@json_option
def list_(*, every: bool, state: str | None, watch: bool, as_json: bool) -> None:
    r"""List recoveries that are under way or have failed, the lowest priority number first.

    \b
    Example:
      acgs recovery list --state awaiting_manual
      acgs recovery list --all --json | jq -r 'select(.state == "failed") | .service'
    """
    if as_json and watch:
        raise click.UsageError("--json shows it once: leave --watch out, or use 'acgs tail recovery-status --json'")
    wanted = _EVERY if every else NEEDED if state is None else frozenset({RecoveryState(state)})
    settings = engine("recovery")
    if watch:
        with suppress(KeyboardInterrupt):
            wait_for(_watch(settings, wanted))
        return
    found = wait_for(statuses(settings, wanted))
    if as_json:
        for status in found:
            write_line(status.model_dump_json())
        return
    _show(found)


def _show(found: list[RecoveryStatus]) -> None:
    if found:
        show_table(COLUMNS, rows(found, _now_ms()), last_wraps=True)
    tell(summary(found))


async def _watch(settings: EngineSettings, wanted: frozenset[RecoveryState]) -> None:
    while True:
        found = await statuses(settings, wanted)
        if screen().is_terminal:
            screen().clear()
        _show(found)
        await asyncio.sleep(_REFRESH_S)


@recovery.command()
@service_argument
@json_option
def show(service: str, *, as_json: bool) -> None:
    r"""Show one recovery: how it stands, every change of its state and why, and what may be done now.

    \b
    Example:
      acgs recovery show payments
      acgs recovery show payments --json | jq -r '.events[].why'
    """
    status, events = wait_for(_look(engine("recovery"), service))
    if as_json:
        write_line(document(status, events))
        return
    for line in page(status, events, _now_ms()):
        say(line)


@recovery.command()
@service_argument
@reason_option
@version_option
@with_operator
def approve(*, service: str, reason: str, version: int | None, asker: Asker) -> None:
    r"""Start the next attempt now, of what awaits a person or has failed.

    \b
    Example:
      acgs recovery approve payments --version 3 --reason "the database is back" --key ann.key
    """

    async def order(client: RecoveryClient, seen: int) -> RecoveryEvent:
        return await client.approve(service, seen, reason)

    _order_seen(service, asker, order, version, "approved")


@recovery.command()
@service_argument
@reason_option
@version_option
@with_operator
def cancel(*, service: str, reason: str, version: int | None, asker: Asker) -> None:
    r"""End a recovery that is under way, and the workflow of its attempt.

    Another one begins only after the service's breakers have been closed, or by 'acgs recovery schedule'.

    \b
    Example:
      acgs recovery cancel payments --version 3 --reason "we move to the other region" --key ann.key
    """

    async def order(client: RecoveryClient, seen: int) -> RecoveryEvent:
        return await client.cancel(service, seen, reason)

    _order_seen(service, asker, order, version, "cancelled")


@recovery.command()
@service_argument
@reason_option
@click.option(
    "--strategy", type=click.Choice([one.value for one in RecoveryStrategy]), help="Other than the policy's rule says."
)
@click.option(
    "--priority", type=click.IntRange(0, LOWEST_PRIORITY), metavar="N", help="As well; the lowest number comes first."
)
@click.option("--in", "wait", metavar="TIME", callback=duration, help="The first attempt not before, such as 15min.")
@with_operator
def schedule(
    *,
    service: str,
    reason: str,
    strategy: str | None,
    priority: int | None,
    wait: timedelta | None,
    asker: Asker,
) -> None:
    r"""Begin a recovery of a service that the policy has a rule for, whether a breaker is open or not.

    \b
    Example:
      acgs recovery schedule payments --reason "restart after the upgrade" --in 15min --key ann.key
    """

    async def order(client: RecoveryClient) -> RecoveryEvent:
        return await client.schedule(
            service,
            reason,
            strategy=None if strategy is None else RecoveryStrategy(strategy),
            priority=priority,
            not_before=None if wait is None else datetime.now(UTC) + wait,
        )

    _give(engine("recovery"), service, asker, order, "scheduled")


def _order_seen(service: str, asker: Asker, order: Versioned, version: int | None, done: str) -> None:
    settings = engine("recovery")
    seen = _shown(settings, service, done) if version is None else version
    _give(settings, service, asker, lambda client: order(client, seen), done)


def _shown(settings: EngineSettings, service: str, done: str) -> int:
    """Shows a recovery and asks; returns the version that was seen."""
    if not sys.stdin.isatty():
        raise click.UsageError(
            "nobody can be asked here, as standard input is no terminal: add --version N, as 'acgs recovery show' says"
        )
    status, events = wait_for(_look(settings, service))
    for line in page(status, events, _now_ms()):
        say(line)
    confirmed(f"Is this what is to be {done}: version {status.version}?")
    return status.version


def _give(settings: EngineSettings, service: str, asker: Asker, order: Order, done: str) -> None:
    event = wait_for(_given(settings, asker, order))
    due = f", due {clock(event.due)}" if event.due is not None else ""
    said = text(f"{clean(service)}: {done}", "green")
    say(said.append(f"; it is {event.state.value}, version {event.version}{due}", "dim"))


async def _given(settings: EngineSettings, asker: Asker, order: Order) -> RecoveryEvent:
    requested_by, chosen = await identified(settings, asker)
    async with RecoveryClient(settings, requested_by=requested_by, constitutional_hash=chosen, key=asker.key) as client:
        return await order(client)


async def _look(settings: EngineSettings, service: str) -> tuple[RecoveryStatus, list[RecoveryEvent]]:
    return await status_of(settings, service), await events_of(settings, service)


def _now_ms() -> int:
    return int(time.time() * 1_000)
