"""Teams: cards by an incoming webhook, of a workflow or of a connector."""

from typing import Final

from schemas.deliberation import DeliberationStatus
from streams.hitl import settings, teams_card
from streams.hitl.calling import Caller, refusal_of
from streams.hitl.errors import PlatformBusyError
from streams.hitl.platform import Platform, Posted
from streams.hitl.settings import Channel
from streams.hitl.shown import Notice, Shown, notice_text

_FAILED: Final = b"webhook message delivery failed"
"""Begins the answer of a connector that has not delivered, with status 200."""
_ADVICE: Final = "set ACGS_HITL_TEAMS_URL to the address that Teams gives for the workflow or the connector"


class TeamsPlatform(Platform):
    """Cards with a link. They cannot be changed or answered: what follows is a message of its own."""

    channel = Channel.TEAMS

    def __init__(self, own: settings.Teams, caller: Caller) -> None:
        self._own, self._caller = own, caller

    async def post_card(self, shown: Shown) -> Posted | None:
        """As Platform says; None."""
        await self._post(teams_card.card(shown))
        return None

    async def tell(self, notice: Notice, status: DeliberationStatus, link: str, card: Posted | None) -> None:
        """As Platform says."""
        del card
        await self._post(teams_card.note(notice_text(notice, status), link))

    async def _post(self, body: bytes) -> None:
        reply = await self._caller.post(self._own.url.get_secret_value(), body)
        if refusal := refusal_of(reply, _ADVICE):
            raise refusal
        if reply.body.lower().startswith(_FAILED):
            raise PlatformBusyError("it has not delivered the card")
