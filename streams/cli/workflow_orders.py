"""`acgs workflow cancel`, `pause`, `resume`, `signal`, `skip` and `mark-done`."""

import sys
from collections.abc import Awaitable, Callable

import click
from pydantic import JsonValue

from schemas.workflow import WorkflowEvent
from streams.cli.confirm import confirmed
from streams.cli.output import clean, say, text
from streams.cli.session import engine, wait_for
from streams.cli.workflow_session import (
    Asker,
    id_argument,
    json_of,
    node_argument,
    opened,
    reason_option,
    told_mistakes,
    with_asker,
    with_operator,
)
from streams.cli.workflow_show import looked_at
from streams.cli.workflow_view import graph, head, what_next
from streams.engine.client import EngineSettings
from streams.workflows import WorkflowHandle
from streams.workflows.board import status_of

Order = Callable[[WorkflowHandle], Awaitable[WorkflowEvent]]
Versioned = Callable[[WorkflowHandle, int], Awaitable[WorkflowEvent]]

version_option = click.option(
    "--version",
    type=click.IntRange(min=0),
    metavar="N",
    help="The workflow's version as you saw it; without it you are shown the workflow, and asked.",
)


@click.command()
@id_argument
@reason_option
@with_asker
def cancel(workflow_id: str, reason: str, asker: Asker) -> None:
    r"""Undo everything that a workflow has done. Refused past a pivot.

    Returns once it has been taken: 'acgs workflow show ID --watch' follows the undoing.

    \b
    Example:
      acgs workflow cancel order-A-1 --reason "ordered twice"
    """
    _give(workflow_id, asker, lambda handle: handle.cancel(reason), "cancelled")


@click.command()
@id_argument
@reason_option
@with_asker
def pause(workflow_id: str, reason: str, asker: Asker) -> None:
    r"""Command nothing new in a workflow until it is resumed. What runs goes on.

    \b
    Example:
      acgs workflow pause order-A-1 --reason "the warehouse counts its stock"
    """
    _give(workflow_id, asker, lambda handle: handle.pause(reason), "paused")


@click.command()
@id_argument
@reason_option
@with_asker
def resume(workflow_id: str, reason: str, asker: Asker) -> None:
    r"""Let a paused workflow go on.

    \b
    Example:
      acgs workflow resume order-A-1 --reason "the stock is counted"
    """
    _give(workflow_id, asker, lambda handle: handle.resume(reason), "resumed")


@click.command()
@id_argument
@node_argument
@click.option("--payload", metavar="JSON", help="The node's result.")
@with_asker
def signal(workflow_id: str, node: str, payload: str | None, asker: Asker) -> None:
    r"""Complete a node that waits for a signal, or will, with the payload as its result.

    \b
    Example:
      acgs workflow signal order-A-1 paid --payload '{"amount": 1200}'
    """
    given = _payload(payload)
    _give(workflow_id, asker, lambda handle: handle.signal(node, given), f"signalled {node}")


@click.command()
@id_argument
@node_argument
@reason_option
@version_option
@with_operator
def skip(*, workflow_id: str, node: str, reason: str, version: int | None, asker: Asker) -> None:
    r"""Give a parked or blocked node, or its compensation, up.

    What depends on a skipped node is skipped too. A blocked node that is skipped has failed. A compensation that is
    skipped leaves undone what it should have undone: the workflow ends as compensated_with_exceptions.

    \b
    Example:
      acgs workflow skip order-A-1 mail --version 12 --reason "the customer was called instead"
    """

    async def order(handle: WorkflowHandle, seen: int) -> WorkflowEvent:
        return await handle.skip(node, seen, reason)

    order_node(workflow_id, node, asker, order, version=version, done="skipped")


@click.command("mark-done")
@id_argument
@node_argument
@reason_option
@version_option
@click.option("--payload", metavar="JSON", help="The node's result, where it is done and not undone.")
@with_operator
def mark_done(
    *,
    workflow_id: str,
    node: str,
    reason: str,
    version: int | None,
    payload: str | None,
    asker: Asker,
) -> None:
    r"""Say that you have done by hand what a parked or blocked node, or its compensation, should have done.

    \b
    Example:
      acgs workflow mark-done order-A-1 refund --version 12 --reason "refunded at the bank's counter"
    """
    given = _payload(payload)

    async def order(handle: WorkflowHandle, seen: int) -> WorkflowEvent:
        return await handle.mark_done(node, seen, reason, given)

    order_node(workflow_id, node, asker, order, version=version, done="marked as done")


def order_node(workflow_id: str, node: str, asker: Asker, order: Versioned, *, version: int | None, done: str) -> None:
    """Gives an order for a node at the version that the operator saw; shows the workflow and asks where none is named.

    Raises:
        click.UsageError: none is named, and nobody can be asked.
        click.exceptions.Exit: the answer is no; exit code 1.
    """
    settings = engine("workflow")
    seen = _shown(settings, workflow_id, node) if version is None else version
    _give(workflow_id, asker, lambda handle: order(handle, seen), f"{done}: {node}", settings)


def _shown(settings: EngineSettings, workflow_id: str, node: str) -> int:
    if not sys.stdin.isatty():
        raise click.UsageError(
            "nobody can be asked here, as standard input is no terminal: add --version N, as "
            f"'acgs workflow show {clean(workflow_id)}' says"
        )
    status, story = wait_for(looked_at(settings, workflow_id))
    for line in (*head(status, story, status.changed_ms), *graph(story), *what_next(status, story)):
        say(line)
    seen = max(status.version, story.version)
    confirmed(f"Is this what you want it for: node {node}, at version {seen}?")
    return seen


def _give(workflow_id: str, asker: Asker, order: Order, done: str, settings: EngineSettings | None = None) -> None:
    with told_mistakes():
        event = wait_for(_given(settings or engine("workflow"), workflow_id, asker, order))
    say(text(f"{workflow_id}: {done}", "green").append(f"; it is {event.state.value}, version {event.version}", "dim"))


async def _given(settings: EngineSettings, workflow_id: str, asker: Asker, order: Order) -> WorkflowEvent:
    status = await status_of(settings, workflow_id)
    async with opened(settings, asker, status.tenant_id) as client:
        return await order(client.handle(workflow_id))


def _payload(given: str | None) -> JsonValue:
    return None if given is None else json_of(given, "--payload")
