"""What the callback server's requests come to, while the log is followed and while it is not."""

from collections.abc import Callable, Mapping

from streams.engine.worker import Health
from streams.errors import StreamsError
from streams.hitl.contracts import Outcome
from streams.hitl.deciding import Click, Decider, Told
from streams.hitl.errors import PlatformError
from streams.hitl.following import Followed
from streams.hitl.items import Items
from streams.hitl.outlet import Dealt, Outlet
from streams.hitl.platform import Posted
from streams.hitl.server import Desk
from streams.hitl.settings import Channel, RelayKey
from streams.hitl.shown import Notice
from streams.hitl.slack_callback import SlackAnswers, SlackClick


class Callbacks(Desk):
    """Decides on clicks, answers them and shows items. Between open() and close() only: else it says to come again."""

    def __init__(
        self,
        relay: RelayKey,
        items: Items,
        outlets: Mapping[Channel, Outlet],
        answers: SlackAnswers | None,
        health: Callable[[], Health],
    ) -> None:
        self._relay, self._items, self._outlets, self._answers = relay, items, outlets, answers
        self._health = health
        self._followed: Followed | None = None

    def open(self, followed: Followed) -> None:
        """The log is followed."""
        self._followed = followed

    def close(self) -> None:
        """It is not any more."""
        self._followed = None

    async def decide(self, click: Click) -> Told:
        """As Desk says."""
        if self._followed is None:
            return Told(Outcome.UNAVAILABLE, "Decisions cannot be taken now. Try again in a moment.")
        return await Decider(self._relay, self._followed, self._items).decide(click)

    async def clicked(self, click: SlackClick) -> None:
        """As Desk says. A card that another process has posted is known from then on."""
        self._learn(click)
        told = await self.decide(click.click)
        if self._answers is not None:
            await self._answers.answer(click.response_url, told)
        if told.outcome is Outcome.CLOSED and click.card is not None:
            await self._end(told, click.card)

    def is_allowed(self, item_id: str, token: str) -> bool:
        """As Desk says."""
        return self._items.is_allowed(item_id, token)

    async def page(self, item_id: str) -> str:
        """As Desk says."""
        if self._followed is None:
            raise StreamsError("the log is not followed")
        statuses = self._followed.statuses
        status = await self._items.find(item_id, statuses)
        return (await self._items.shown(status, statuses.alike(status.item.action))).page_text

    def readiness(self) -> Health:
        """As Desk says."""
        return self._health()

    def _learn(self, click: SlackClick) -> None:
        known = None if self._followed is None else self._followed.statuses.find(click.click.subject.item_id)
        if known is not None and click.card is not None and click.click.subject.is_of(known.item):
            self._outlets[Channel.SLACK].cards.learn(known.item.item_id, click.card)

    async def _end(self, told: Told, card: Posted) -> None:
        """Takes the buttons off a card whose item has ended. Tried once: the next click tries again."""
        outlet, status = self._outlets[Channel.SLACK], told.status
        if status is None:
            return
        item_id = status.item.item_id
        try:
            async with outlet.turn():
                await outlet.platform.tell(Notice.OUTCOME, status, self._items.link(item_id), card)
        except PlatformError:
            return
        outlet.cards.note(item_id, Dealt(is_posted=False))
