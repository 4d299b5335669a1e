"""The manager of human decisions, in a test's own event loop or as a process, before platforms."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from schemas import topics
from schemas.deliberation import DeliberationItem
from schemas.policy import Policy
from streams.approvals.board import statuses
from streams.backoff import Backoff
from streams.engine import client
from streams.engine.client import EngineSettings
from streams.hitl import HITLManager, HitlSettings
from streams.hitl.running import GROUP
from tests.support.deliberated import registry
from tests.support.deliberating import deliberating
from tests.support.eventually import eventually
from tests.support.groups import commits
from tests.support.kafka import read_topic
from tests.support.platform import CHANNEL, LINK_SECRET, SIGNING_SECRET, TOKEN, WEBHOOK_SECRET, Platform
from tests.support.product import PARTITIONS
from tests.support.signing import approver, key

RELAY = "office"
QUICK = Backoff(first=timedelta(milliseconds=20), longest=timedelta(milliseconds=200))
SLACK, WEBHOOK, TEAMS = "slack", "webhook", "teams"


def people(epoch: int = 1, **changes: Any) -> Policy:  # noqa: ANN401
    """The registry of deliberation's tests, and Wes, who decides on a webhook."""
    known = registry().approvers
    return registry(
        epoch, **{"approvers": (*known, approver("wes", "security", accounts={"webhook": "w-1"})), **changes}
    )


def key_file(folder: Path) -> Path:
    """The relay's key in a file."""
    file = folder / "relay.key"
    if not file.exists():
        key(RELAY).save(file)
    return file


def own_settings(at: Platform, folder: Path, *channels: str, **changes: Any) -> HitlSettings:  # noqa: ANN401
    """Settings with these platforms."""
    chosen: dict[str, Any] = {
        "relay": RELAY,
        "key_file": key_file(folder),
        "port": 0,
        "public_url": "https://approvals.example.com",
        "link_secret": SecretStr(LINK_SECRET),
        "slack_api_url": f"{at.url}/api/",
        "slack_hooks_url": f"{at.url}/hooks/",
    }
    if SLACK in channels:
        chosen |= {
            "slack_token": SecretStr(TOKEN),
            "slack_signing_secret": SecretStr(SIGNING_SECRET),
            "slack_channel": CHANNEL,
        }
    if WEBHOOK in channels:
        chosen |= {"webhook_url": SecretStr(f"{at.url}/webhook"), "webhook_secret": SecretStr(WEBHOOK_SECRET)}
    if TEAMS in channels:
        chosen |= {"teams_url": SecretStr(f"{at.url}/teams")}
    return HitlSettings(**{**chosen, **changes})


def environment(own: HitlSettings) -> Mapping[str, str]:
    """The same as variables, for a process."""
    found: dict[str, str] = {}
    for name in HitlSettings.model_fields:
        value = getattr(own, name)
        if value is not None:
            plain = value.get_secret_value() if isinstance(value, SecretStr) else value
            found[f"ACGS_HITL_{name.upper()}"] = str(plain)
    return found


class RunningManager:
    """A manager that runs, and its task."""

    def __init__(self, manager: HITLManager) -> None:
        self.manager = manager
        self.task = asyncio.create_task(manager.run())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.manager.port}"

    async def until_ready(self) -> None:
        def ready() -> bool:
            if self.task.done():
                self.task.result()
                raise AssertionError("the manager ended by itself")
            return self.manager.readiness().ok

        await eventually(ready, account=self.manager.readiness)

    async def stop(self) -> None:
        self.manager.stop()
        await self.task


@asynccontextmanager
async def managing(settings: EngineSettings, own: HitlSettings, **changes: Any) -> AsyncIterator[RunningManager]:  # noqa: ANN401
    """A manager that posts and serves, stopped in good order at the end."""
    async with HITLManager(settings, own, **{"backoff": QUICK, **changes}) as manager:
        running = RunningManager(manager)
        try:
            await running.until_ready()
            yield running
        finally:
            if not running.task.done():
                await running.stop()


@asynccontextmanager
async def office(settings: EngineSettings, at: Platform, folder: Path, *channels: str) -> AsyncIterator[RunningManager]:
    """Deliberation under people(), and a manager before these platforms."""
    async with deliberating(settings, people()), managing(settings, own_settings(at, folder, *channels)) as running:
        yield running


async def waiting(settings: EngineSettings, count: int = 1) -> list[DeliberationItem]:
    """The items that wait, once there are that many."""

    async def all_wait() -> list[DeliberationItem] | None:
        found = await statuses(settings)
        return [one.item for one in found] if len(found) == count else None

    found: list[DeliberationItem] = await eventually(all_wait)
    return found


async def decisions(settings: EngineSettings) -> int:
    """How many decisions were published, by anybody."""
    return len(await read_topic(settings, f"{settings.prefix}{topics.IN_DECISIONS}"))


async def is_dealt_with(settings: EngineSettings, channel: str) -> bool:
    """Whether a platform's group has committed all that there is."""
    topic = f"{settings.prefix}{topics.DELIBERATION_STATUS}"
    done = await commits(settings, settings.group(f"{GROUP}.{channel}"))
    consumer = client.reader(settings)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([client.topic_partition(topic, p) for p in range(PARTITIONS)])
    finally:
        await consumer.stop()
    return all(done.get((topic, place.partition), (0, ""))[0] == end for place, end in ends.items())
