"""The manager of human decisions: cards go out to people, and their clicks come back signed."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self

from prometheus_client import CollectorRegistry

from schemas import topics
from schemas.deliberation import DeliberationState
from streams.agents.naming import Naming
from streams.approvals.loading import loading
from streams.backoff import Backoff
from streams.engine.client import EngineSettings
from streams.engine.worker import Health
from streams.errors import SettingsError
from streams.hitl import slack_callback, webhook_callback
from streams.hitl.callbacks import Callbacks
from streams.hitl.calling import Caller
from streams.hitl.door import Door
from streams.hitl.errors import PlatformBusyError, PlatformError, PlatformRefusedError, PostError
from streams.hitl.items import Items
from streams.hitl.outlet import Dealt, Outlet
from streams.hitl.platform import Platform
from streams.hitl.running import Posting
from streams.hitl.server import CallbackServer
from streams.hitl.settings import Channel, HitlSettings, RelayKey
from streams.hitl.shown import Shown
from streams.hitl.slack import SlackPlatform
from streams.hitl.slack_callback import SlackAnswers
from streams.hitl.teams import TeamsPlatform
from streams.hitl.webhook import WebhookPlatform
from streams.metrics import HitlMeasures

_log = logging.getLogger(__name__)

POST_WITHIN: Final = timedelta(minutes=2)
_STILL_S: Final = 10.0
_BEAT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Open:
    """What there is between entering and leaving."""

    caller: Caller
    items: Items
    outlets: dict[Channel, Outlet]


class HITLManager:
    """Shows held items to people on the platforms that are set, and takes what they decide. Enter it before use.

    Belongs to one event loop. Leaving it closes every connection; what waits goes on waiting, and what was not posted
    is posted by whoever runs next.

    `post_within` is how long request_approval() tries, and `backoff` how long is waited between attempts.

    Raises:
        SettingsError: no platform is set, or something only in part.
    """

    def __init__(
        self,
        settings: EngineSettings,
        own: HitlSettings,
        *,
        measures: HitlMeasures | None = None,
        post_within: timedelta = POST_WITHIN,
        backoff: Backoff | None = None,
    ) -> None:
        self._settings, self._own, self._post_within = settings, own, post_within
        self._measures = measures or HitlMeasures(CollectorRegistry())
        self._backoff = backoff or Backoff()
        self._links = own.links()
        if not any((own.slack(), own.webhook(), own.teams())):
            raise SettingsError(
                "no platform is set that cards could be posted to: set ACGS_HITL_SLACK_TOKEN, ACGS_HITL_WEBHOOK_URL or "
                "ACGS_HITL_TEAMS_URL, and what belongs to it (docs/hitl.md)"
            )
        self._open: _Open | None = None
        self._entered = AsyncExitStack()
        self._stopping = asyncio.Event()
        self._beat = time.monotonic()
        self._posting: Posting | None = None
        self._relay: RelayKey | None = None
        self._told_unfit: str | None = None
        self._server: CallbackServer | None = None

    async def __aenter__(self) -> Self:
        """Connects.

        Raises:
            BrokerError: the broker cannot be reached or refuses.
        """
        async with AsyncExitStack() as entering:
            caller = Caller(self._own.proxy)
            entering.push_async_callback(caller.aclose)
            held = Naming(self._settings.prefix).topic(topics.DELIBERATION)
            loader = await entering.enter_async_context(loading(self._settings, held))
            outlets = {one.channel: Outlet(one, self._measures, self._backoff) for one in self._platforms(caller)}
            self._open = _Open(caller, Items(self._settings, loader, self._links), outlets)
            self._entered = entering.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = None
        await self._entered.aclose()

    @property
    def port(self) -> int:
        """The callback server's port once run() serves, else 0."""
        return 0 if self._server is None else self._server.port

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The platforms that are set."""
        return tuple(self._opened().outlets)

    def require(self, channel: str) -> None:
        """That a platform is set; needs no connection.

        Raises:
            SettingsError: it is not.
        """
        own = self._own
        each = {Channel.SLACK: own.slack(), Channel.WEBHOOK: own.webhook(), Channel.TEAMS: own.teams()}
        known = [one.value for one, platform in each.items() if platform is not None]
        if channel not in known:
            raise SettingsError(
                f"the platform {channel!a} is not set; set are: {', '.join(known)}. Set what belongs to "
                "ACGS_HITL_SLACK_..., ACGS_HITL_WEBHOOK_... or ACGS_HITL_TEAMS_URL, or name another"
            )

    async def request_approval(self, item_id: str, channel: str = "slack") -> None:
        """Posts an item's card to a platform; on return that has taken it.

        Tries again while the platform cannot be reached or asks to wait, for two minutes if nothing else was said. An
        error does not prove that the card was not taken. Where 'acgs hitl run' runs, every item is posted anyhow.

        Raises:
            SettingsError: that platform is not set.
            ItemUnknownError: there is no item of this id.
            PostError: the item has ended, or the platform refuses the card or has not taken it in time.
            DeliberationError: the held record is not what the item says: it is shown to nobody.
            BrokerError: the broker cannot be reached or refuses.
        """
        opened, outlet = self._opened(), self._outlet(channel)
        status, alike = await opened.items.waiting(item_id)
        if status.state is not DeliberationState.PENDING:
            raise PostError(f"item {item_id} is {status.state.value}: there is nothing left to decide")
        shown = await opened.items.shown(status, alike)
        failures: list[PlatformError] = []
        try:
            async with asyncio.timeout(self._post_within.total_seconds()):
                await self._post(outlet, shown, failures)
        except TimeoutError:
            raise PostError(self._too_late(item_id, outlet, failures)) from None
        except PlatformRefusedError as error:
            raise PostError(f"{outlet.name} does not take the card of item {item_id}: {error}") from error

    async def run(self) -> None:
        """Posts every item that waits to every platform, and serves callbacks, until stop() or cancelled.

        Each platform has a consumer group of its own, whose commits say what that has taken: one that is away holds up
        no other, and a process that is killed posts again what was posted in the last second. Where the log cannot be
        followed any more, it begins anew by itself.

        Raises:
            SettingsError: who signs is not set, or the callback server's address cannot be bound.
            KeyFileError: the relay's key cannot be read.
            InstallationError: topics are missing, when it begins.
            BrokerError: the broker cannot be reached, when it begins.
        """
        opened, slack = self._opened(), self._own.slack()
        answers = None if slack is None else SlackAnswers(slack, opened.caller, self._backoff)
        self._relay = self._own.relay_key()
        callbacks = Callbacks(self._relay, opened.items, opened.outlets, answers, self.readiness)
        self._posting = Posting(self._settings, opened.outlets.values(), opened.items, callbacks)
        self._server = CallbackServer(self._own.host, self._own.port, self._doors(), callbacks, self._measures)
        await _until_one_ends(self._server.run(), self._posting.run(), self._watch(), self._told_to_stop())

    def stop(self) -> None:
        """Ends run(): clicks that were taken are decided on, and what was posted is committed."""
        self._stopping.set()

    def liveness(self) -> Health:
        """Fails when the event loop stands still."""
        silent = time.monotonic() - self._beat
        why = () if silent <= _STILL_S else (f"the event loop has not run for {silent:.0f} s",)
        return Health(not why, why)

    def readiness(self) -> Health:
        """Fails until statuses are read and callbacks served, and once it is told to stop.

        Also while the policy in force does not have the relay and its key: no click would count.
        """
        why = ("it does not run",) if self._posting is None else self._posting.waits_for
        why += (unfit,) if (unfit := self._unfit()) else ()
        why += ("callbacks are not served yet",) if not self.port else ()
        why += ("it is told to stop",) if self._stopping.is_set() else ()
        return Health(not why, why)

    def _opened(self) -> _Open:
        if self._open is None:
            raise RuntimeError("the manager is not open: async with HITLManager(...) as manager")
        return self._open

    def _outlet(self, channel: str) -> Outlet:
        self.require(channel)
        return self._opened().outlets[Channel(channel)]

    async def _post(self, outlet: Outlet, shown: Shown, failures: list[PlatformError]) -> None:
        while True:
            try:
                async with outlet.turn():
                    card = await outlet.platform.post_card(shown)
            except PlatformBusyError as error:
                failures.append(error)
                await asyncio.sleep(self._backoff.pause(len(failures) - 1).total_seconds())
                self._measures.retried(outlet.name)
                continue
            outlet.cards.note(shown.item_id, Dealt(is_posted=True, card=card))
            self._measures.posted(outlet.name, "card")
            return

    def _too_late(self, item_id: str, outlet: Outlet, failures: list[PlatformError]) -> str:
        why = f" ({failures[-1]})" if failures else ""
        return (
            f"{outlet.name} has not taken the card of item {item_id} within {self._post_within.total_seconds():g} s"
            f"{why}. The item waits all the same: see that the platform can be reached from here, then try again; "
            "'acgs deliberation' decides without it"
        )

    def _platforms(self, caller: Caller) -> Iterator[Platform]:
        if (slack := self._own.slack()) is not None:
            yield SlackPlatform(slack, caller)
        if (webhook := self._own.webhook()) is not None:
            yield WebhookPlatform(webhook, caller)
        if (teams := self._own.teams()) is not None:
            yield TeamsPlatform(teams, caller)

    def _doors(self) -> dict[Channel, Door]:
        doors: dict[Channel, Door] = {}
        if (slack := self._own.slack()) is not None:
            doors[Channel.SLACK] = Door(slack_callback.scheme(slack))
        if (webhook := self._own.webhook()) is not None:
            doors[Channel.WEBHOOK] = Door(webhook_callback.scheme(webhook))
        return doors

    @property
    def _knows_policy(self) -> bool:
        """Whether the policy in force is known now: not where the log is not followed, which says nothing of clicks."""
        return self._posting is not None and self._posting.policy is not None

    def _unfit(self) -> str | None:
        policy = None if self._posting is None else self._posting.policy
        return None if policy is None or self._relay is None else policy.unfit(self._relay, time.time())

    async def _watch(self) -> None:
        while True:
            self._beat = time.monotonic()
            unfit = self._unfit()
            if unfit != self._told_unfit and self._knows_policy:
                _log.warning("%s", unfit or "the policy in force has this relay and its key now: clicks count")
                self._told_unfit = unfit
            await asyncio.sleep(_BEAT_S)

    async def _told_to_stop(self) -> None:
        await self._stopping.wait()


async def _until_one_ends(*doing: Coroutine[Any, Any, None]) -> None:
    """Runs all of it until one ends or fails; the others are cancelled, each to its end before the next."""
    tasks = [asyncio.create_task(one) for one in doing]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
