"""Slack: cards by its Web API, with a bot token that has the scope `chat:write`."""

import re
from typing import Any, Final, cast

import orjson

from schemas.deliberation import DeliberationStatus
from streams.hitl import settings
from streams.hitl.calling import Caller, refusal_of
from streams.hitl.errors import PlatformBusyError, PlatformRefusedError
from streams.hitl.platform import Platform, Posted
from streams.hitl.settings import Channel
from streams.hitl.shown import Notice, Shown, notice_text
from streams.hitl.slack_card import Card, card, ended_card, escaped, short_card

_FOR_LATER: Final = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
)
_TOO_LARGE: Final = frozenset({"msg_blocks_too_long", "msg_too_long", "invalid_blocks", "invalid_blocks_format"})
_CARD_IS_GONE: Final = frozenset({"message_not_found", "thread_not_found", "cant_update_message", "edit_window_closed"})
_TOKEN: Final = "set ACGS_HITL_SLACK_TOKEN to the app's bot token, xoxb-..."  # noqa: S105  # words
_CHANNEL: Final = "set ACGS_HITL_SLACK_CHANNEL to the channel's id, C..., and invite the app to it"
_ADVICE: Final = {
    "invalid_auth": _TOKEN,
    "not_authed": _TOKEN,
    "account_inactive": _TOKEN,
    "token_revoked": _TOKEN,
    "token_expired": _TOKEN,
    "not_allowed_token_type": _TOKEN,
    "missing_scope": "give the app the scope chat:write and install it again",
    "channel_not_found": _CHANNEL,
    "not_in_channel": _CHANNEL,
    "is_archived": _CHANNEL,
}
_OTHERWISE: Final = "look the code up among the errors of chat.postMessage in Slack's documentation"
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


class SlackPlatform(Platform):
    """Cards with buttons; replies in their threads; and cards that say how their items have ended."""

    channel = Channel.SLACK

    def __init__(self, own: settings.Slack, caller: Caller) -> None:
        self._own, self._caller = own, caller

    async def post_card(self, shown: Shown) -> Posted | None:
        """As Platform says. Where Slack finds a card too large after all, the short one is posted."""
        made = card(shown)
        try:
            return await self._post(made)
        except PlatformRefusedError as error:
            if error.code not in _TOO_LARGE or not made.is_whole:
                raise
            return await self._post(short_card(shown))

    async def tell(self, notice: Notice, status: DeliberationStatus, link: str, card: Posted | None) -> None:
        """As Platform says: an outcome changes the card, all else is a reply in its thread."""
        try:
            if notice is Notice.OUTCOME and card is not None:
                await self._update(ended_card(status, link), card)
                return
            await self._reply(notice, status, link, card)
        except PlatformRefusedError as error:
            if error.code not in _CARD_IS_GONE or card is None:
                raise
            await self._reply(notice, status, link, None)

    async def _post(self, made: Card) -> Posted | None:
        told = await self._call("chat.postMessage", {"text": made.text, "blocks": made.blocks, **_AS_IT_IS})
        channel, message = told.get("channel"), told.get("ts")
        return Posted(channel, message) if isinstance(channel, str) and isinstance(message, str) else None

    async def _update(self, made: Card, card: Posted) -> None:
        place = {"channel": card.channel, "ts": card.message}
        await self._call("chat.update", {**place, "text": made.text, "blocks": made.blocks, **_AS_IT_IS})

    async def _reply(self, notice: Notice, status: DeliberationStatus, link: str, card: Posted | None) -> None:
        text = f"{escaped(notice_text(notice, status))} <{escaped(link)}|The whole item>"
        place: dict[str, Any] = {}
        if card is not None:
            place = {
                "channel": card.channel,
                "thread_ts": card.message,
                "reply_broadcast": notice is Notice.ESCALATION,
            }
        await self._call("chat.postMessage", {**place, "text": text, **_AS_IT_IS})

    async def _call(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        token = self._own.token.get_secret_value()
        body = orjson.dumps({"channel": self._own.channel, **arguments})
        url = f"{self._own.api_url.rstrip('/')}/{method}"
        reply = await self._caller.post(url, body, {"Authorization": f"Bearer {token}"})
        if refusal := refusal_of(reply, "see that ACGS_HITL_SLACK_API_URL is Slack's API, or a proxy of it"):
            raise refusal
        told = _object(reply.body)
        if told.get("ok") is True:
            return told
        code = _code(told.get("error"))
        if code in _FOR_LATER:
            raise PlatformBusyError(f"it answers {code}")
        raise PlatformRefusedError(code, _ADVICE.get(code, _OTHERWISE))


_AS_IT_IS: Final = {"unfurl_links": False, "unfurl_media": False, "link_names": False, "parse": "none"}


def _object(body: bytes) -> dict[str, Any]:
    try:
        told: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise PlatformBusyError("it answers what is not JSON") from None
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}


def _code(given: object) -> str:
    return given if isinstance(given, str) and _CODE.fullmatch(given) else "an unknown error"
