"""`acgs policy propose` and `rollback`: the next epoch, put before the policy's owners."""

from pathlib import Path

import click

from schemas.deliberation import DeliberationStatus
from schemas.model import MAX_NAME_CHARACTERS
from schemas.policy import Policy, PublishedPolicy
from streams import policy_changes
from streams.cli.operator_session import key_of, owner_of
from streams.cli.output import age, clean, say, tell
from streams.cli.policy_file import read_policy
from streams.cli.session import engine, operator, wait_for
from streams.control import in_force, publish
from streams.engine.client import EngineSettings
from streams.proposals import PROPOSER, earlier, propose
from streams.replay.summary import Tried, read_tried
from streams.texts import require_text

_GRAVE = frozenset({"owners", "operators", "approvers", "relays", "senders", "signed_tenants", "accepted_hashes"})
"""Who may sign, and what is accepted: to go back on it by mistake is worse than on a weight."""

by_option = click.option(
    "--as",
    "proposer",
    default=None,
    show_default="$USER",
    metavar="NAME",
    help="Who proposes. An owner of this name cannot sign it: propose under another, such as a build job's.",
)
key_option = click.option(
    "--key",
    "key_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The signing key of an approver, who proposes then. What is signed has room of its own to wait in.",
)


@click.command("propose")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--next-epoch", is_flag=True, help="Number the document: one more than what is in force.")
@by_option
@key_option
@click.option(
    "--replay-diff",
    "tried_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What a replay of exactly this policy would change, from 'acgs replay diff PREFIX --json'.",
)
def propose_command(
    file: Path, proposer: str | None, key_file: Path | None, tried_file: Path | None, *, next_epoch: bool
) -> None:
    r"""Propose FILE (TOML) as the next epoch. Two of the owners that the policy in force names put it in force.

    The proposal waits like any dangerous action, with what it would change. Owners see it with 'acgs deliberation
    show' and sign it with 'acgs deliberation approve'; one veto ends it. Once two have signed, it is written to every
    partition of the control topic in one transaction.

    Where proposals that nobody has signed have used up their room ('too_many_held'), sign yours with --key: an
    approver's key, best one who is no owner, since who proposes cannot approve.

    With --replay-diff owners see what the policy would have decided otherwise on past traffic, with the digest of all
    of it, and sign that too. A difference that was made of another document is refused.

    \b
    Example:
      acgs policy propose --next-epoch policy.toml
      acgs policy propose --next-epoch policy.toml --replay-diff try-1.json
      acgs deliberation approve ITEM --key ann.key
    """
    proposer_ = _Proposer(proposer, key_file, None if tried_file is None else read_tried(tried_file))
    document = read_policy(file)
    _told(wait_for(_propose(engine("policy"), document, proposer_, next_epoch=next_epoch)))


class _Proposer:
    """Who proposes, by name or by key, and what a replay found."""

    def __init__(self, name: str | None, key_file: Path | None, tried: Tried | None = None) -> None:
        if name is not None and key_file is not None:
            raise click.UsageError("--as and --key exclude each other: whoever's key it is proposes.")
        if name is not None:
            require_text(name, PROPOSER, MAX_NAME_CHARACTERS)
        self._name, self._key_file, self._key, self._tried = name, key_file, key_of(key_file), tried

    async def propose(
        self, settings: EngineSettings, document: Policy, current: PublishedPolicy | None
    ) -> DeliberationStatus:
        if self._key is None or current is None:
            name = operator() if self._name is None else self._name
            return await propose(settings, document, name, tried=self._tried)
        proposer = owner_of(self._key, current.policy, self._key_file)
        return await propose(settings, document, proposer.id, self._key, tried=self._tried)


async def _propose(
    settings: EngineSettings, document: Policy, proposer: _Proposer, *, next_epoch: bool
) -> DeliberationStatus:
    current = await in_force(settings)
    if next_epoch:
        document = document.model_copy(update={"epoch": current.policy.epoch + 1 if current else 1})
    return await proposer.propose(settings, document, current)


@click.command()
@click.option("--to", "epoch", type=click.IntRange(min=1), metavar="EPOCH", help="Default: the one before.")
@by_option
@key_option
def rollback(epoch: int | None, proposer: str | None, key_file: Path | None) -> None:
    r"""Go back to what an earlier epoch said, as a new epoch.

    Where the policy in force names owners, this is a proposal that two of them sign; else it is published at once.
    The whole document goes back, approvers, owners and operators too: all that it changes is listed. Only keys that
    were revoked since stay revoked.

    \b
    Example:
      acgs policy rollback
      acgs policy rollback --to 3
    """
    proposer_ = _Proposer(proposer, key_file)
    made = wait_for(_roll_back(engine("policy"), epoch, proposer_))
    if isinstance(made, PublishedPolicy):
        say(f"Epoch {made.policy.epoch} is published; it says what the earlier one said.", "green")
    else:
        _told(made)


async def _roll_back(
    settings: EngineSettings, epoch: int | None, proposer: _Proposer
) -> PublishedPolicy | DeliberationStatus:
    document = await earlier(settings, epoch)
    current = await in_force(settings)
    if current is not None:
        _warn(current.policy, document)
    if current is not None and current.policy.owners:
        return await proposer.propose(settings, document, current)
    return await publish(settings, document)


def _warn(in_force: Policy, document: Policy) -> None:
    """Tells everything that goes back; who decides on policies and approvals, in another colour."""
    tell("This goes back, as a whole:", "bold")
    for change in policy_changes.between(in_force, document):
        is_grave = change.place.split(".")[0].split(",")[0] in _GRAVE
        tell(f"  {clean(change.place)}: {clean(change.before)} -> {clean(change.after)}", "yellow" if is_grave else "")
    if in_force.owners and not document.owners:
        tell("Nobody would own the policy any more: whoever may write to control would change it.", "red")


def _told(status: DeliberationStatus) -> None:
    item = status.item
    say(f"It waits for {item.approvals} of the owners' signatures, for {age(item.deadline_s * 1_000)}.", "green")
    say(f"  acgs deliberation show {item.item_id}")
    say(f"  acgs deliberation approve {item.item_id} --key FILE")
