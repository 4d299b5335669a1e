"""`acgs workflow retry`: one node, or every parked one of many workflows."""

from collections.abc import Callable, Sequence

import click

from schemas.workflow import WorkflowEvent, WorkflowStatus
from streams.cli.confirm import confirmed
from streams.cli.output import clean, count, say, show_table
from streams.cli.progress import bar
from streams.cli.session import engine, wait_for
from streams.cli.workflow_orders import order_node, version_option
from streams.cli.workflow_session import Asker, opened, reason_option, told_mistakes, with_operator
from streams.engine.client import EngineSettings
from streams.workflows import WorkflowHandle
from streams.workflows.board import Selection, WorkflowBoard
from streams.workflows.retrying import Retried, retry_all, retryable

SHOWN = 20
OnDone = Callable[[Retried], None]


@click.command()
@click.argument("workflow_id", metavar="[ID]", required=False)
@click.argument("node", metavar="[NODE]", required=False)
@reason_option
@version_option
@click.option("--all-parked", is_flag=True, help="Every parked or blocked node of every workflow that is chosen.")
@click.option("--name", metavar="NAME", help="With --all-parked: only workflows of this definition.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="With --all-parked: only those with this tag.")
@click.option("--yes", is_flag=True, help="With --all-parked: do not ask.")
@with_operator
def retry(
    *,
    workflow_id: str | None,
    node: str | None,
    reason: str,
    version: int | None,
    name: str | None,
    tags: tuple[str, ...],
    asker: Asker,
    all_parked: bool,
    yes: bool,
) -> None:
    r"""Have a parked or blocked node, or its compensation, tried anew.

    With --all-parked every such node of many workflows, each at the version that it is seen at; you see how many first,
    and are asked. What is refused is listed, and makes the exit code 1.

    \b
    Example:
      acgs workflow retry order-A-1 refund --version 12 --reason "the bank answers again"
      acgs workflow retry --all-parked --name order --tag shop --reason "the bank answers again" --yes
    """
    if all_parked:
        if workflow_id is not None or version is not None:
            raise click.UsageError("--all-parked chooses by --name and --tag: leave ID, NODE and --version out")
        _retry_all(asker, Selection(name=name, tags=frozenset(tags)), reason, yes=yes)
        return
    if workflow_id is None or node is None or name is not None or tags:
        raise click.UsageError("name one workflow and node, or choose many with --all-parked, --name and --tag")

    async def order(handle: WorkflowHandle, seen: int) -> WorkflowEvent:
        return await handle.retry(node, seen, reason)

    order_node(workflow_id, node, asker, order, version=version, done="tried anew")


def _retry_all(asker: Asker, selection: Selection, reason: str, *, yes: bool) -> None:
    settings = engine("workflow")
    found = retryable(selection.of(wait_for(WorkflowBoard(settings).look()), 0))
    if not found:
        say("There is no workflow with a parked or blocked node.", "green")
        return
    _show(found)
    if not yes:
        confirmed(f"Retry every parked or blocked node of {count(len(found), 'workflow')}?")
    with told_mistakes(), bar("retrying") as on_progress:

        def on_done(so_far: Retried) -> None:
            on_progress(so_far.done, len(found))

        told = wait_for(_retried(settings, asker, found, reason, on_done))
    _conclude(told)


def _show(found: Sequence[WorkflowStatus]) -> None:
    rows = [
        (clean(one.workflow_id), clean(one.name), one.state.value, f"{one.attention_count:,}") for one in found[:SHOWN]
    ]
    show_table(("id", "name", "state", "nodes that wait"), rows)
    if len(found) > SHOWN:
        say(f"... and {count(len(found) - SHOWN, 'more workflow')}", "dim")
    say("")


async def _retried(
    settings: EngineSettings, asker: Asker, found: Sequence[WorkflowStatus], reason: str, on_done: OnDone
) -> Retried:
    async with opened(settings, asker, found[0].tenant_id) as client:
        return await retry_all(client, found, reason, on_done)


def _conclude(told: Retried) -> None:
    nodes, workflows = count(told.retried, "node"), count(told.done, "workflow")
    say(f"{nodes} of {workflows} tried anew, {len(told.refused)} refused.", "yellow" if told.refused else "green")
    if told.refused:
        show_table(
            ("workflow", "node", "why it was refused"),
            [(clean(one.workflow_id), one.node, clean(one.why)) for one in told.refused],
            last_wraps=True,
        )
        raise click.exceptions.Exit(1)
