"""Clicks on Slack's buttons: what Slack sends, and the answer to who clicked."""

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlsplit

import orjson
from pydantic import BaseModel, ConfigDict, Field

from schemas.model import Name
from streams.backoff import Backoff
from streams.hitl import buttons, settings
from streams.hitl.calling import Caller
from streams.hitl.deciding import Click, Told
from streams.hitl.door import Refusal, Scheme
from streams.hitl.errors import PlatformError
from streams.hitl.platform import Posted
from streams.hitl.settings import Channel
from streams.hitl.signing import slack_signature
from streams.hitl.slack_card import escaped

_log = logging.getLogger(__name__)

_ATTEMPTS: Final = 4


class _Part(BaseModel):
    """A part of what Slack sends; there is more in it than is used."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class _User(_Part):
    id: Name


class _Action(_Part):
    action_id: str
    value: str = ""


class _Channel(_Part):
    id: str


class _Container(_Part):
    message_ts: str | None = None


class _Payload(_Part):
    type: str
    user: _User
    actions: Annotated[tuple[_Action, ...], Field(min_length=1, max_length=1)]
    response_url: str | None = None
    channel: _Channel | None = None
    container: _Container = _Container()


@dataclass(frozen=True, slots=True)
class SlackClick:
    """A click, where it is answered, and the card it was made on."""

    click: Click
    response_url: str | None
    card: Posted | None


def scheme(own: settings.Slack) -> Scheme:
    """How Slack signs."""
    return Scheme(
        timestamp="X-Slack-Request-Timestamp",
        signature="X-Slack-Signature",
        content_type="application/x-www-form-urlencoded",
        sign=lambda timestamp, body: slack_signature(own.signing_secret, timestamp, body),
    )


def read(body: bytes) -> SlackClick:
    """What a body says that Slack has signed.

    Raises:
        Refusal: 400, it is no click on a button of ours.
    """
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=10)
        (document,) = [value for name, value in fields if name == "payload"]
        payload = _Payload.model_validate_json(document)
        vote = buttons.ACTIONS[payload.actions[0].action_id]
        subject = buttons.decode(payload.actions[0].value)
    except (ValueError, KeyError):
        raise Refusal(HTTPStatus.BAD_REQUEST, "this is no click on a button of a card") from None
    if payload.type != "block_actions":
        raise Refusal(HTTPStatus.BAD_REQUEST, "this is no click on a button of a card")
    ts = payload.container.message_ts
    card = Posted(payload.channel.id, ts) if payload.channel is not None and ts is not None else None
    click = Click(channel=Channel.SLACK, account=payload.user.id, subject=subject, vote=vote)
    return SlackClick(click, payload.response_url, card)


class SlackAnswers:
    """Tells who clicked what became of it, where nobody else sees it."""

    def __init__(self, own: settings.Slack, caller: Caller, backoff: Backoff) -> None:
        self._hooks, self._caller, self._backoff = own.hooks_url, caller, backoff

    async def answer(self, url: str | None, told: Told) -> None:
        """Posts the words to the click's response_url, four times at most. Does not raise."""
        if url is None or not is_below(url, self._hooks):
            _log.warning("a click is not answered: its response_url is not below ACGS_HITL_SLACK_HOOKS_URL")
            return
        text: dict[str, Any] = {"response_type": "ephemeral", "replace_original": False, "text": escaped(told.words)}
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(self._backoff.pause(attempt - 1).total_seconds())
            try:
                reply = await self._caller.post(url, orjson.dumps(text))
            except PlatformError as error:
                _log.info("a click is not answered yet: %s", error)
                continue
            if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
                _log.warning("a click is not answered: slack says %d", reply.status)
            return
        _log.warning("a click is not answered: slack cannot be reached")


def is_below(url: str, base: str) -> bool:
    """Whether an address is the same place as another, or below it: scheme, host, port and the path's beginning."""
    try:
        given, allowed = urlsplit(url), urlsplit(base)
        same = (given.scheme, given.hostname, given.port) == (allowed.scheme, allowed.hostname, allowed.port)
    except ValueError:
        return False
    is_plain = given.username is None and "\\" not in url and url.isascii() and url.isprintable()
    return same and is_plain and given.path.startswith(f"{allowed.path.rstrip('/')}/")
