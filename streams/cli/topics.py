"""`acgs topics`: the installation's topics and who may do what with them."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from schemas import topics as catalogue
from schemas.topics import Topic
from streams.acls import Acl, acls, command, roles
from streams.agents.naming import Naming
from streams.cli.output import clean, length, say, screen, show_table, size, tell, text, write_line
from streams.cli.session import settings, wait_for
from streams.engine.client import EngineSettings
from streams.errors import InstallationError
from streams.installation import Created, Installation
from streams.inventory import Stocked, inventory, named_in_force
from streams.named import NOTHING_NAMED, Named
from streams.settings import Settings, load

if TYPE_CHECKING:
    from rich.text import Text

WIDE: Final = 130

tenant_option = click.option(
    "--tenant", "tenants", multiple=True, metavar="NAME", help="A tenant with deliveries of its own; may be repeated."
)
queue_option = click.option(
    "--queue", "queues", multiple=True, metavar="NAME", help="A queue of activities; may be repeated."
)


@click.group()
def topics() -> None:
    r"""Create, compare and describe topics; print their ACLs.

    Every topic is declared in one catalogue: who writes it, who reads it, how long it is kept. Tenants that the policy
    in force lists under tenant_topics have their deliveries apart; each queue of activities has a topic.

    \b
    Example:
      acgs topics create
      acgs topics list
      acgs topics acls --format commands
    """


@topics.command()
@tenant_option
@queue_option
def create(tenants: tuple[str, ...], queues: tuple[str, ...]) -> None:
    r"""Make the topics that are missing. Safe to repeat.

    Partitions and replicas are those of ACGS_PARTITIONS and ACGS_REPLICATION. Nothing that exists is changed.

    \b
    Example:
      acgs topics create
      ACGS_PARTITIONS=8 ACGS_REPLICATION=3 acgs topics create --tenant acme --queue payments
    """
    found = settings()
    created = wait_for(_create(found, found.engine(client_id="acgs-topics"), Named(tenants=tenants, queues=queues)))
    for name in created.made:
        write_line(f"made     {name}")
    for name in created.existed:
        write_line(f"existed  {name}")
    say(
        f"{len(created.made)} topics made, {len(created.existed)} were there; {found.partitions} partitions, "
        f"replication {found.replication}.",
        "bold",
    )
    _warn_of_lost(created, found)


async def _create(found: Settings, engine: EngineSettings, named: Named) -> Created:
    known = await named_in_force(engine)
    installation = Installation(engine, partitions=found.partitions, replication=found.replication)
    return await installation.create(known.and_also(named))


def _warn_of_lost(created: Created, found: Settings) -> None:
    if not created.lost:
        return
    for agent in created.lost:
        tell(
            f"LOST: the changelog of {agent} was deleted. It ran before, so that nobody knows where its lanes stood.",
            "bold red",
        )
    tell("Their lanes will not begin by themselves: that could handle records twice. For each of them, choose:")
    for agent in created.lost:
        last = found.partitions - 1
        tell(
            f"  acgs lanes accept {agent} 0 --from start|end --reason WHY"
            + (f"   (and lanes 1 to {last})" if last else "")
        )
    raise click.exceptions.Exit(1)


@topics.command("list")
@tenant_option
@queue_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for scripts.")
def show_list(tenants: tuple[str, ...], queues: tuple[str, ...], *, as_json: bool) -> None:
    r"""Compare the catalogue with the broker. Exit code 1 if a topic is missing or differs.

    \b
    Example:
      acgs topics list
      acgs topics list --json | jq -r 'select(.state != "as declared") | .topic'
    """
    stocked = wait_for(_inventory(Named(tenants=tenants, queues=queues)))
    if as_json:
        for one in stocked:
            write_line(json.dumps(_document(one)))
    else:
        show_table(("topic", "partitions", "kept", "largest batch", "state"), map(_row, stocked))
    missing = [one for one in stocked if one.partitions is None]
    differing = [one for one in stocked if one.partitions is not None and one.differing]
    if missing:
        tell(f"{len(missing)} topics are missing: 'acgs topics create' makes them.", "yellow")
    if differing:
        tell(f"{len(differing)} topics are not as declared: 'acgs topics describe NAME' says how.", "yellow")
    if missing or differing:
        raise click.exceptions.Exit(1)


async def _inventory(named: Named) -> list[Stocked]:
    found = settings()
    engine = found.engine(client_id="acgs-topics")
    known = await named_in_force(engine)
    return await inventory(engine, found.replication, known.and_also(named))


def _row(one: Stocked) -> tuple["str | Text", ...]:
    partitions = "-" if one.partitions is None else str(one.partitions)
    style = "green" if _state(one) == "as declared" else "red"
    return one.name, partitions, _kept(one.topic), size(one.topic.max_bytes), text(_state(one), style)


def _state(one: Stocked) -> str:
    if one.partitions is None:
        return "missing"
    return f"differs: {', '.join(one.differing)}" if one.differing else "as declared"


def _kept(topic: Topic) -> str:
    if topic.cleanup is catalogue.Cleanup.COMPACT:
        return "last of each key"
    return "for ever" if topic.retention is None else length(topic.retention)


def _document(one: Stocked) -> dict[str, object]:
    topic = one.topic
    return {
        "topic": one.name,
        "state": _state(one),
        "partitions": one.partitions,
        "purpose": topic.purpose,
        "key": topic.key,
        "contract": topic.contract,
        "public": topic.public,
        "writers": topic.writers,
        "readers": topic.readers,
        "declared": dict(one.declared),
        "configuration": dict(one.configuration),
    }


@topics.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def describe(name: str, *, as_json: bool) -> None:
    r"""Show one topic: what it is for, who uses it, and each setting as declared and as it is.

    NAME is the catalogue's name, such as deliveries, or the full one, such as acgs.deliveries.

    \b
    Example:
      acgs topics describe deliveries
    """
    stocked = {one.name: one for one in wait_for(_inventory(NOTHING_NAMED))}
    prefix = settings().prefix
    found = stocked.get(name) or stocked.get(Naming(prefix).topic(name))
    if found is None:
        raise InstallationError(f"the catalogue has no topic {clean(name)}. 'acgs topics list' shows those it has")
    if as_json:
        write_line(json.dumps(_document(found), indent=2))
    else:
        _describe(found)


def _describe(one: Stocked) -> None:
    topic = one.topic
    lines = {
        "topic": one.name,
        "purpose": topic.purpose,
        "key": topic.key,
        "contract": topic.contract,
        "writers": ", ".join(topic.writers),
        "readers": ", ".join(topic.readers),
        "trust": "public: anyone who may write, may write anything" if topic.public else "internal",
        "partitions": "missing on the broker" if one.partitions is None else str(one.partitions),
    }
    for key, value in lines.items():
        say(f"{key:<11} {value}")
    say("")
    rows = [(key, value, _actual(one, key)) for key, value in one.declared.items()]
    show_table(("setting", "declared", "on the broker"), rows)


def _actual(one: Stocked, key: str) -> "str | Text":
    actual = one.configuration.get(key)
    if actual is None:
        return text("unknown", "yellow")
    return text(actual, "" if actual == one.declared[key] else "red")


@topics.command("acls")
@tenant_option
@queue_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "commands", "json"]),
    default="table",
    show_default=True,
    help="commands: lines for kafka-acls.sh.",
)
@click.option(
    "--principal",
    "principals",
    multiple=True,
    metavar="ROLE=PRINCIPAL",
    help="Who a role is, such as producers=User:fleet; default User:ROLE. May be repeated.",
)
def show_acls(tenants: tuple[str, ...], queues: tuple[str, ...], form: str, principals: tuple[str, ...]) -> None:
    r"""Print the ACLs that make the gateway the only door. Needs no broker.

    Producers may write to public topics and nothing else; only lanes, with a transactional id each, write what is
    delivered, held or rejected. `redrive` may write where lanes read: give it to nobody for daily work. All of it
    presumes a broker that refuses what no ACL allows (allow.everyone.if.no.acl.found=false).

    \b
    Example:
      acgs topics acls
      acgs topics acls --format commands --principal producers=User:fleet --principal triage=User:worker
    """
    named = Named(tenants=tenants, queues=queues)
    found = acls(load().prefix, named, _principals(principals, named))
    match form:
        case "commands":
            for acl in found:
                write_line(command(acl))
        case "json":
            for acl in found:
                write_line(json.dumps(asdict(acl)))
        case _:
            _show_acls(found)


def _principals(given: tuple[str, ...], named: Named) -> dict[str, str]:
    known = roles(named)
    found: dict[str, str] = {}
    for one in given:
        role, separator, principal = one.partition("=")
        if not separator or not principal or role not in known:
            raise click.BadParameter(
                f"{clean(one)} is not ROLE=PRINCIPAL with one of these roles: {', '.join(known)}",
                param_hint="--principal",
            )
        found[role] = principal if ":" in principal else f"User:{principal}"
    return found


def _show_acls(found: list[Acl]) -> None:
    """In a pipe one table; on a terminal a paragraph a principal, with the reasons if there is room for them."""
    if not screen().is_terminal:
        show_table(("principal", "operations", "resource", "why"), [(acl.principal, *_acl_row(acl)) for acl in found])
        return
    columns = 3 if screen().width >= WIDE else 2
    for principal in dict.fromkeys(acl.principal for acl in found):
        say(principal, "bold cyan")
        rows = [_acl_row(acl)[:columns] for acl in found if acl.principal == principal]
        show_table(("operations", "resource", "why")[:columns], rows)
        say("")


def _acl_row(acl: Acl) -> tuple[str, str, str]:
    return ", ".join(acl.operations), f"{acl.kind} {acl.name}{'*' if acl.prefixed else ''}", acl.why
