"""`acgs hitl`: held items go to people on Slack, Teams or a platform of one's own, and their decisions come back."""

import os
import socket
from typing import TYPE_CHECKING

import click
from prometheus_client import CollectorRegistry

from streams import loop
from streams.approvals.finding import item_id_of, require_id
from streams.cli.output import say, tell, text
from streams.cli.session import engine, wait_for
from streams.cli.session import settings as read_settings
from streams.engine.client import EngineSettings
from streams.metrics import HitlMeasures
from streams.serving import serve
from streams.settings import Settings

if TYPE_CHECKING:  # an extra
    from streams.hitl import HitlSettings


@click.group()
def hitl() -> None:
    r"""Have people decide where they are: on Slack, on Teams, or on a platform of your own.

    Needs the extra: pip install 'acgs-streams[hitl]'. What to set is in docs/hitl.md; each setting is an ACGS_HITL_...
    variable or a line in the table [hitl] of acgs.toml.

    \b
    Example:
      acgs hitl run
      acgs hitl post 0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10 --channel teams
    """


@hitl.command()
@click.option("--with-parent", is_flag=True, hidden=True, help="End when standard input does.")
def run(*, with_parent: bool) -> None:
    r"""Post a card for every item that waits, and take the decisions that people make on them, until Ctrl-C or SIGTERM.

    Every platform that is set gets each item at least once, then its reminders, its escalation and its outcome. A
    platform that is away holds up no other and loses nothing. Several of these may run: they share the work.

    A click is signed with this server's own key, in the name of the approver whose account it is by the policy, and
    for exactly the bytes that the card has shown. How many such votes an item may count is the tier's to say.

    The callback server is at ACGS_HITL_HOST and ACGS_HITL_PORT: put what ends TLS before it, and give platforms
    ACGS_HITL_PUBLIC_URL with /callbacks/slack or /callbacks/webhook. Logs are JSON lines on standard error; /metrics,
    /livez and /readyz are on ACGS_METRICS_PORT.

    \b
    Example:
      export ACGS_HITL_RELAY=office ACGS_HITL_KEY_FILE=relay.key
      export ACGS_HITL_PUBLIC_URL=https://approvals.example.com ACGS_HITL_LINK_SECRET=$(cat link.secret)
      export ACGS_HITL_SLACK_TOKEN=xoxb-... ACGS_HITL_SLACK_SIGNING_SECRET=... ACGS_HITL_SLACK_CHANNEL=C0123456789
      acgs hitl run
    """
    own = _own()
    own.relay_key()
    loop.run(_serve(read_settings(), own, with_parent=with_parent))


@hitl.command()
@click.argument("item_id", metavar="ITEM")
@click.option("--channel", default="slack", show_default=True, help="slack, webhook or teams.")
def post(item_id: str, channel: str) -> None:
    r"""Post one item's card, and return once the platform has taken it.

    \b
    Example:
      acgs hitl post 0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10 --channel teams
    """
    require_id(item_id)
    wait_for(_post(engine("hitl"), _own(), item_id, channel))
    say(f"Posted on {channel}.")


def _own() -> "HitlSettings":
    from streams.hitl.settings import load, unknown_variables  # noqa: PLC0415  # an extra

    for said in unknown_variables():
        tell(said, "yellow")
    return load()


async def _post(settings: EngineSettings, own: "HitlSettings", item_id: str, channel: str) -> None:
    from streams.hitl import HITLManager  # noqa: PLC0415  # an extra

    manager = HITLManager(settings, own)
    manager.require(channel)
    async with manager:
        await manager.request_approval(await item_id_of(settings, item_id), channel)


async def _serve(settings: Settings, own: "HitlSettings", *, with_parent: bool) -> None:
    from streams.hitl import HITLManager  # noqa: PLC0415  # an extra

    registry = CollectorRegistry()
    client = settings.engine(client_id=settings.worker_id or f"{socket.gethostname()}-{os.getpid()}")
    async with HITLManager(client, own, measures=HitlMeasures(registry)) as manager:
        await serve(
            manager,
            registry,
            name=f"callback server {own.relay}",
            metrics=(settings.metrics_host, settings.metrics_port),
            with_parent=with_parent,
            introduce=lambda: None if with_parent else _introduce(own, manager.channels),
        )


def _introduce(own: "HitlSettings", channels: "tuple[str, ...]") -> None:
    say(text("Cards go to ", "").append(", ".join(channels), "cyan"))
    say(f"Callbacks come in at {own.host}:{own.port}, seen from outside as {own.links().public_url}", "dim")
