"""`acgs policy`: the document that decides."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from schemas.policy import AcceptedHash, Policy, PublishedPolicy, Tier, Tool
from schemas.registry import EVERY_TENANT, Approver, PublicKey
from schemas.score import display
from schemas.topics import MIB
from streams import policy_changes
from streams.cli.output import clean, count, iso, length, say, show_table, tell, text, write_line
from streams.cli.policy_file import document_argument, name_of, read_policy
from streams.cli.policy_propose import propose_command, rollback
from streams.cli.session import engine, engine_if_any, wait_for
from streams.control import in_force, publish, require_next
from streams.engine.client import EngineSettings
from streams.errors import PolicyRefusedError
from streams.policies import default_policy, default_policy_text

if TYPE_CHECKING:
    from rich.text import Text

SHOWN_HASH_CHARACTERS = 8


@click.group()
def policy() -> None:
    r"""Check, publish and show the policy that decides.

    The policy says which generations of hashes are accepted, what each tool weighs, from which score an action is held,
    and who must agree. It is one document in the log, numbered by epoch: every lane decides by the same one.

    \b
    Example:
      acgs policy publish                    the default policy, to begin with
      acgs policy show --toml > policy.toml  edit it, then:
      acgs policy check policy.toml
      acgs policy publish --next-epoch policy.toml
    """


@policy.command()
@document_argument
@click.option("--offline", is_flag=True, help="Do not ask a broker what is in force.")
def check(file: Path | None, *, offline: bool) -> None:
    r"""Check FILE (TOML), and show what it would change. Without FILE, the default policy.

    Every error is named with its place; exit code 1. With a broker, the document is compared with the policy in force.

    \b
    Example:
      acgs policy check policy.toml
    """
    document = read_policy(file)
    say(
        f"{name_of(file)}: a policy, epoch {document.epoch}, {count(len(document.tools), 'tool')}, "
        f"{count(len(document.tiers), 'tier')}, "
        f"{count(len(document.accepted_hashes), 'accepted hash', 'accepted hashes')}.",
        "green",
    )
    reached = None if offline else engine_if_any("policy")
    if reached is not None:
        _compare(document, wait_for(in_force(reached)))


def _compare(document: Policy, current: PublishedPolicy | None) -> None:
    if current is None:
        say("No policy is in force: this would be the first.")
        return
    changes = policy_changes.between(current.policy, document)
    if changes:
        say(f"Against epoch {current.policy.epoch}, which is in force:")
        rows = [(clean(change.place), clean(change.before), clean(change.after)) for change in changes]
        show_table(("what", "in force", "in the document"), rows)
    else:
        say(f"It says the same as epoch {current.policy.epoch}, which is in force.")
    try:
        require_next(document, current)
    except PolicyRefusedError as error:
        tell(f"It cannot be published as it is: {error}.", "yellow")


@policy.command("publish")
@document_argument
@click.option("--next-epoch", is_flag=True, help="Number the document: one more than what is in force.")
def publish_command(file: Path | None, *, next_epoch: bool) -> None:
    r"""Publish FILE (TOML) as the next epoch. Without FILE, the default policy.

    The document goes to every partition of the control topic in one transaction; lanes decide by it from there on. Its
    epoch must be one more than the one in force. Once the policy in force names owners, only a proposal signed by them
    changes it.

    \b
    Example:
      acgs policy publish
      acgs policy publish --next-epoch policy.toml
    """
    document = read_policy(file)
    made = wait_for(_publish(engine("policy"), document, next_epoch=next_epoch))
    say(f"Epoch {made.policy.epoch} is published, digest {_short(made.digest)}", "green")


async def _publish(settings: EngineSettings, document: Policy, *, next_epoch: bool) -> PublishedPolicy:
    if next_epoch:
        current = await in_force(settings)
        document = document.model_copy(update={"epoch": current.policy.epoch + 1 if current else 1})
    return await publish(settings, document)


@policy.command()
@click.option("--json", "form", flag_value="json", default=None, help="The document as it stands in the log.")
@click.option("--toml", "form", flag_value="toml", help="The document as people edit it.")
@click.option("--default", "default", is_flag=True, help="The policy that ships, instead of the one in force.")
def show(form: str | None, *, default: bool) -> None:
    r"""Show the policy in force: hashes, tiers, who may sign, tools. Exit code 1 if there is none.

    The tables show 8 characters of each hash, and of each key its id and how long it is good for; --json and --toml
    have the whole document.

    \b
    Example:
      acgs policy show
      acgs policy show --default --toml > policy.toml
    """
    if default and form == "toml":
        write_line(default_policy_text().rstrip())
        return
    shown = default_policy() if default else wait_for(_in_force(engine("policy"))).policy
    match form:
        case "json":
            write_line(shown.canonical().decode())
        case "toml":
            write_line(policy_changes.to_toml(shown).rstrip())
        case _:
            show_policy(shown)


async def _in_force(settings: EngineSettings) -> PublishedPolicy:
    current = await in_force(settings)
    if current is None:
        raise PolicyRefusedError(
            "no policy is in force, so that lanes wait. 'acgs policy publish' publishes the default one"
        )
    return current


def _chaos(shown: Policy) -> str:
    limits = shown.chaos
    if limits is None:
        return "none is allowed"
    targets, at_once = ", ".join(map(clean, limits.targets)), count(limits.at_once, "scenario")
    return f"on {targets}, at most {length(limits.max_duration)}, {at_once} at once"


def show_policy(shown: Policy) -> None:
    """A policy as tables."""
    say(f"{'epoch':<13} {shown.epoch}", "bold")
    owners = ", ".join(map(clean, shown.owners)) or "none named: whoever may write to control publishes"
    for name, value in (
        ("held from", display(shown.hold_at)),
        ("CRITICAL", f"at least {display(shown.critical_floor)}"),
        ("unknown tool", f"at least {display(shown.unknown_tool)}"),
        ("owners", owners),
        ("operators", ", ".join(map(clean, shown.operators)) or "none named: their orders pass unsigned"),
        ("must sign", ", ".join(map(clean, shown.signed_tenants)) or "senders of no tenant"),
        ("may wait", _room(shown)),
        ("may reopen", _reopenable(shown)),
        ("own topics", ", ".join(shown.tenant_topics) or "no tenant has deliveries apart"),
        ("queues", ", ".join(shown.queues)),
        ("workflows", f"known for {length(shown.keep_closed_workflows)} once they are closed"),
        ("chaos", _chaos(shown)),
    ):
        say(f"{name:<13} {value}")
    say("")
    show_table(("accepted hash", "until"), map(_hash_row, shown.accepted_hashes))
    say("")
    show_table(("tier", "from", "approvals", "roles", "deadline"), map(_tier_row, shown.tiers_from_the_top))
    if shown.approvers:
        say("")
        show_table(("approver", "kind", "roles", "tenants", "operates", "keys"), map(_approver_row, shown.approvers))
    if shown.relays:
        say("")
        show_table(("callback server", "keys"), [(clean(one.id), _keys(one.keys)) for one in shown.relays])
    if shown.senders:
        say("")
        named = [(clean(one.agent), clean(one.tenant_id), _keys(one.keys)) for one in shown.senders]
        show_table(("sender", "tenant", "keys"), named)
    say("")
    show_table(
        ("tool", "verb", "points", "undo", "what its arguments mean"),
        [_tool_row(n, t, shown) for n, t in shown.tools.items()],
    )


def _room(shown: Policy) -> str:
    unsigned = f"{shown.max_held_unverified:,}, of {shown.max_held_unverified_bytes // MIB:,} MiB"
    return f"{shown.max_held_per_sender:,} items of a sender in a lane; of all who do not sign together {unsigned}"


def _reopenable(shown: Policy) -> str:
    kept = f"the last {shown.max_reopenable:,} that expired in a lane, of {shown.max_reopenable_bytes // MIB:,} MiB"
    return f"{kept}; closed items are known for {length(shown.keep_closed_items)}"


def _hash_row(accepted: AcceptedHash) -> tuple[str, str]:
    until = "further notice" if accepted.until is None else iso(int(accepted.until.timestamp() * 1000))
    return _short(accepted.hash), until


def _tier_row(tier: Tier) -> tuple[str, ...]:
    return (
        clean(tier.name),
        display(tier.at_least),
        str(tier.approvals),
        ", ".join(map(clean, tier.roles)),
        length(tier.deadline),
    )


def _approver_row(approver: Approver) -> tuple[str, ...]:
    keys = [_keys(approver.keys)] if approver.keys else []
    through = [f"through {clean(platform)}" for platform in approver.accounts]
    return (
        clean(approver.id),
        approver.kind.value,
        ", ".join(map(clean, approver.roles)),
        "all" if EVERY_TENANT in approver.tenants else ", ".join(map(clean, approver.tenants)),
        ", ".join(map(clean, approver.operates)),
        ", ".join((*keys, *through)) or "none",
    )


def _keys(keys: Sequence[PublicKey]) -> str:
    """The ids of keys, and when each is good."""
    return ", ".join(key.id + _validity(key) for key in keys) or "none"


def _validity(key: PublicKey) -> str:
    said = [
        f"{words} {time.isoformat(timespec='seconds')}"
        for words, time in (("from", key.valid_from), ("until", key.valid_until), ("revoked", key.revoked_at))
        if time is not None
    ]
    return f" ({', '.join(said)})" if said else ""


def _tool_row(name: str, tool: Tool, shown: Policy) -> tuple["str | Text", ...]:
    points = shown.verb_points[tool.verb] if tool.points is None else tool.points
    heavy = points >= shown.hold_at
    undo = text("yes", "") if tool.reversible else text("no", "yellow")
    return clean(name), tool.verb.value, text(display(points), "red" if heavy else ""), undo, _arguments(tool)


def _arguments(tool: Tool) -> str:
    said = {
        "target": " or ".join(tool.target_arguments),
        "count": tool.count_argument,
        "amount": tool.amount_argument,
        "tenant": tool.tenant_argument,
        "content": " or ".join(tool.content_arguments),
        "replaced": tool.replaced_argument,
        "SQL": tool.sql_argument,
        "command": tool.command_argument,
    }
    return ", ".join(f"{name}: {clean(value)}" for name, value in said.items() if value)


def _short(digest: str) -> str:
    return f"{digest[:SHOWN_HASH_CHARACTERS]}..."


for _command in (propose_command, rollback):
    policy.add_command(_command)
