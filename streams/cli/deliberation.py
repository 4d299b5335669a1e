"""`acgs deliberation`: what waits, and signed decisions on it."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click

from schemas.decision import MAX_REASON_CHARACTERS, Vote
from schemas.deliberation import DeliberationState, DeliberationStatus
from schemas.policy import Policy
from streams.approvals import ApprovalClient, PendingItem
from streams.approvals.board import OPEN, statuses
from streams.approvals.finding import item_id_of, require_id
from streams.cli.confirm import confirmed
from streams.cli.deliberation_view import columns, document, grouped, page, rows, so_far
from streams.cli.keys import load
from streams.cli.operator_session import owner_of
from streams.cli.output import clean, count, say, screen, show_table, tell, write_line
from streams.cli.session import engine, wait_for
from streams.control import in_force
from streams.engine.client import EngineSettings
from streams.errors import PolicyRefusedError
from streams.keys import Signer
from streams.texts import require_text

item_argument = click.argument("item_id", metavar="ITEM")
key_option = click.option(
    "--key",
    "key_file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    envvar="ACGS_KEY_FILE",
    show_envvar=True,
    help="Your signing key ('acgs keys generate').",
)
yes_option = click.option("--yes", is_flag=True, help="Do not show it and ask.")
json_option = click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")


@click.group()
def deliberation() -> None:
    r"""See what is held, and decide on it with your signature.

    ITEM is an item's id, or its first 8 characters or more where no other item's id begins so.

    What is dangerous waits here until enough of those entitled have signed for exactly its bytes. One veto denies it;
    so does its deadline. Whose key counts, in which roles and for which tenants, is in the policy.

    \b
    Example:
      acgs deliberation list
      acgs deliberation show 0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10
      acgs deliberation approve 0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10 --key ann.key
    """


@deliberation.command("list")
@click.option("--all", "every", is_flag=True, help="Also what has ended.")
@click.option("--state", type=click.Choice([state.value for state in DeliberationState]), help="Only this state.")
@click.option("--tenant", metavar="NAME", help="Only this tenant's.")
@click.option("--role", metavar="NAME", help="Only what asks for this role.")
@json_option
def list_(*, every: bool, state: str | None, tenant: str | None, role: str | None, as_json: bool) -> None:
    r"""List what waits, the earliest deadline first; what asks for the same stands beneath the first of it.

    A question mark behind who asks says that the name is not proven by a signature. `alike` is how many of the list ask
    for the same by the same sender: they stand together, and each is decided by itself. A narrow terminal shows fewer
    columns; a pipe has them all.

    \b
    Example:
      acgs deliberation list --role security
      acgs deliberation list --all --json | jq -r 'select(.state == "rejected") | .why'
    """
    found = grouped(
        status
        for status in wait_for(statuses(engine("deliberation"), wanted_states(state, every=every)))
        if tenant in {None, status.item.tenant_id} and (role is None or role in status.item.roles)
    )
    if as_json:
        for status in found:
            write_line(status.model_dump_json())
        return
    if found:
        shown = columns(screen().width if screen().is_terminal else None)
        show_table(shown, rows(found, _now_ms(), shown), whole="item")
    tell(_summary(found))


def wanted_states(state: str | None, *, every: bool) -> frozenset[DeliberationState]:
    """What is listed: one state where it is named, whatever else is asked for."""
    if state is not None:
        return frozenset({DeliberationState(state)})
    return frozenset(DeliberationState) if every else OPEN


def _summary(found: Sequence[DeliberationStatus]) -> str:
    waiting = sum(status.state is DeliberationState.PENDING for status in found)
    if not found:
        return "Nothing waits."
    waits = "waits" if waiting == 1 else "wait"
    every = count(len(found), "item")
    return f"{every} {waits}." if waiting == len(found) else f"{every}, of which {waiting:,} {waits}."


@deliberation.command()
@item_argument
@json_option
def show(item_id: str, *, as_json: bool) -> None:
    r"""Show one item whole: who asks, the exact bytes as they read, every factor, who has voted, and the time left.

    \b
    Example:
      acgs deliberation show 0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10
    """
    require_id(item_id)
    one, policy = wait_for(_look(engine("deliberation"), item_id))
    if as_json:
        write_line(json.dumps(document(one), indent=2))
        return
    for line in page(one, _now_ms(), policy):
        say(line)


async def _look(settings: EngineSettings, item_id: str) -> tuple[PendingItem, Policy | None]:
    current = await in_force(settings)
    async with ApprovalClient(settings) as client:
        return await client.get(await item_id_of(settings, item_id)), current.policy if current else None


@deliberation.command()
@item_argument
@key_option
@click.option("--reason", metavar="WHY", help="Kept with the vote.")
@yes_option
def approve(item_id: str, key_file: Path, *, reason: str | None, yes: bool) -> None:
    r"""Sign for ITEM. It is released once enough have, each in another role.

    Shows the whole item first and asks. Your signature is for exactly these bytes, and for nothing else.

    \b
    Example:
      acgs deliberation approve 0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10 --key ann.key --reason "change window 12"
    """
    _decide(item_id, Vote.APPROVE, key_file, reason, yes=yes)


@deliberation.command()
@item_argument
@key_option
@click.option("--reason", required=True, metavar="WHY", help="Kept with the vote, and told.")
@yes_option
def reject(item_id: str, key_file: Path, *, reason: str, yes: bool) -> None:
    r"""Veto ITEM: one veto denies it, whoever else has signed.

    \b
    Example:
      acgs deliberation reject 0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10 --key ann.key --reason "wrong account"
    """
    _decide(item_id, Vote.VETO, key_file, reason, yes=yes)


@deliberation.command()
@item_argument
@key_option
@click.option("--reason", metavar="WHY", help="Kept with the vote.")
@yes_option
def abstain(item_id: str, key_file: Path, *, reason: str | None, yes: bool) -> None:
    r"""Say that you have seen ITEM and leave it to others.

    \b
    Example:
      acgs deliberation abstain 0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10 --key ann.key --reason "not my system"
    """
    _decide(item_id, Vote.ABSTAIN, key_file, reason, yes=yes)


@deliberation.command()
@item_argument
@key_option
@click.option("--reason", metavar="WHY", help="Kept with it.")
@yes_option
def reopen(item_id: str, key_file: Path, *, reason: str | None, yes: bool) -> None:
    r"""Let an expired message wait anew, as a new item under the policy in force.

    Votes for the old item do not count for the new one.

    \b
    Example:
      acgs deliberation reopen 0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10 --key ann.key --reason "nobody was there"
    """
    _decide(item_id, Vote.REOPEN, key_file, reason, yes=yes)


def _decide(item_id: str, vote: Vote, key_file: Path, reason: str | None, *, yes: bool) -> None:
    require_id(item_id)
    if reason is not None:
        require_text(reason, "the reason", MAX_REASON_CHARACTERS)
    key, settings = load(key_file), engine("deliberation")
    one, policy = wait_for(_look(settings, item_id))
    if policy is None:
        raise PolicyRefusedError("no policy is in force, so that no signature counts. 'acgs policy publish' makes one")
    approver = owner_of(key, policy, key_file)
    if not yes:
        for line in page(one, _now_ms(), policy):
            say(line)
        confirmed(f"Sign '{vote.value}' as {clean(approver.id)}?")
    signer = Signer(approver=approver.id, key=key, constitutional_hash=policy.preferred_hash)
    _tell(wait_for(_send(settings, one, vote, reason, signer)), vote)


async def _send(
    settings: EngineSettings, one: PendingItem, vote: Vote, reason: str | None, signer: Signer
) -> DeliberationStatus:
    async with ApprovalClient(settings, signer) as client:
        return await client.decide(one.item, vote, reason)


def _tell(status: DeliberationStatus, vote: Vote) -> None:
    if vote is Vote.REOPEN:
        say(f"Reopened as {status.reopened_as}.", "green")
        return
    match status.state:
        case DeliberationState.PENDING:
            say(f"Counted. {so_far(status)}.", "green")
        case DeliberationState.APPROVED:
            say(f"Counted. It is released: {clean(status.why or '')}.", "green")
        case _:
            say(f"Counted. It is {status.state.value}: {clean(status.why or '')}.", "green")


def _now_ms() -> int:
    return int(time.time() * 1_000)
