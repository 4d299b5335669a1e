"""Slack, Teams and a webhook of one's own, as a real HTTP server that behaves as they document, or as it is told."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp import web

TOKEN = "xoxb-the-token-of-the-tests"  # noqa: S105  # nobody's, as the others
SIGNING_SECRET = "what-slack-signs-callbacks-with"  # noqa: S105
WEBHOOK_SECRET = "a-secret-that-a-webhook-shares-with-us"  # noqa: S105
LINK_SECRET = "a-secret-that-links-are-made-with-here"  # noqa: S105
CHANNEL = "C0123456789"
SECRETS = (TOKEN, SIGNING_SECRET, WEBHOOK_SECRET, LINK_SECRET)

MAX_BLOCKS, MAX_SECTION, MAX_TEXT = 50, 3_000, 12_000
"""What Slack refuses to exceed; the last is the least that was seen to be refused, rounded up."""
TEAMS_BYTES = 28 * 1024


@dataclass(frozen=True)
class Behaviour:
    """How a request is answered instead of as documented."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hangs: bool = False


FAILS = Behaviour(500)
HANGS = Behaviour(hangs=True)


def limits_rate(seconds: int) -> Behaviour:
    return Behaviour(429, {"Retry-After": str(seconds)}, b'{"ok":false,"error":"ratelimited"}')


@dataclass(frozen=True)
class Request:
    """A request that came in, and whether it was taken."""

    path: str
    headers: dict[str, str]
    body: bytes
    taken: bool
    at: float

    @property
    def document(self) -> Any:  # noqa: ANN401
        return json.loads(self.body)


def takes_all(path: str, body: bytes) -> Behaviour | None:
    """Answers as documented."""
    del path, body
    return None


class Platform:
    """All three platforms. `behave` answers a request in another way than documented, or None for as documented."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.behave: Callable[[str, bytes], Behaviour | None] = takes_all
        self.messages: dict[str, dict[str, Any]] = {}
        """Slack's messages by ts, as they stand."""
        self._number = 0
        self._port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Answers, on the same port as before if it has stopped."""
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Nobody answers."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # What came in

    def on(self, path: str, *, taken: bool = True) -> list[Request]:
        return [one for one in list(self.requests) if one.path == path and (one.taken or not taken)]

    def cards(self) -> list[dict[str, Any]]:
        """Slack's messages with blocks, as they were posted."""
        return [one.document for one in self.on("/api/chat.postMessage") if "blocks" in one.document]

    def replies(self) -> list[dict[str, Any]]:
        """Slack's messages without blocks."""
        return [one.document for one in self.on("/api/chat.postMessage") if "blocks" not in one.document]

    def answers(self) -> list[dict[str, Any]]:
        """What was said to who clicked."""
        return [one.document for one in self.requests if one.path.startswith("/hooks/") and one.taken]

    def events(self, kind: str = "item") -> list[dict[str, Any]]:
        """What the webhook has taken."""
        return [one.document for one in self.on("/webhook") if one.document["kind"] == kind]

    # What is answered

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        behaviour = self.behave(request.path, body)
        answer = self._documented(request, body) if behaviour is None else None
        is_taken = answer is not None and answer.status < 300 and b'"ok": false' not in (answer.body or b"")
        self.requests.append(Request(request.path, dict(request.headers), body, is_taken, time.monotonic()))
        if answer is not None:
            return answer
        assert behaviour is not None
        if behaviour.hangs:
            await asyncio.sleep(3_600)
        return web.Response(status=behaviour.status, headers=behaviour.headers, body=behaviour.body)

    def _documented(self, request: web.Request, body: bytes) -> web.Response:
        match request.path:
            case "/api/chat.postMessage" | "/api/chat.update":
                return web.json_response(self._slack(request, json.loads(body)))
            case "/webhook":
                return web.Response(status=200 if self._is_signed(request, body) else 401)
            case "/teams":
                return web.Response(status=413 if len(body) > TEAMS_BYTES else 202)
            case path if path.startswith("/hooks/"):
                return web.Response(text="ok")
            case _:
                return web.Response(status=404)

    def _slack(self, request: web.Request, said: dict[str, Any]) -> dict[str, Any]:
        error = self._slack_error(request, said)
        if error is not None:
            return {"ok": False, "error": error}
        if request.path == "/api/chat.update":
            self.messages[said["ts"]] = said
            return {"ok": True, "channel": said["channel"], "ts": said["ts"]}
        self._number += 1
        ts = f"1700000000.{self._number:06d}"
        self.messages[ts] = said
        return {"ok": True, "channel": said["channel"], "ts": ts}

    def _slack_error(self, request: web.Request, said: dict[str, Any]) -> str | None:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return "invalid_auth"
        if said.get("channel") != CHANNEL:
            return "channel_not_found"
        if request.path == "/api/chat.update" and said.get("ts") not in self.messages:
            return "message_not_found"
        if "thread_ts" in said and said["thread_ts"] not in self.messages:
            return "thread_not_found"
        blocks = said.get("blocks", [])
        texts = list(texts_of(blocks))
        if len(blocks) > MAX_BLOCKS or any(len(text) > MAX_SECTION for text in texts):
            return "invalid_blocks"
        return "msg_blocks_too_long" if sum(map(len, texts)) > MAX_TEXT else None

    @staticmethod
    def _is_signed(request: web.Request, body: bytes) -> bool:
        timestamp = request.headers.get("X-Acgs-Timestamp", "")
        expected = _hmac(WEBHOOK_SECRET, f"acgs-webhook-v1:{timestamp}:".encode() + body)
        is_of_now = timestamp.isdigit() and abs(time.time() - int(timestamp)) < 300
        return is_of_now and hmac.compare_digest(request.headers.get("X-Acgs-Signature", ""), f"v1={expected}")

    # Clicks

    def ts_of(self, item_id: str) -> str:
        """Slack's name for the message that is an item's card."""
        return next(ts for ts, said in self.messages.items() if item_id in json.dumps(said.get("blocks", "")))

    def click(self, card: dict[str, Any], action: str, account: str, **changes: Any) -> bytes:  # noqa: ANN401
        """The body that Slack sends when somebody clicks on a card's button."""
        (button,) = [one for one in buttons_of(card) if one["action_id"] == action]
        ts = next((ts for ts, said in self.messages.items() if said == card), "1700000000.000000")
        payload = {
            "type": "block_actions",
            "user": {"id": account, "username": "somebody", "team_id": "T1"},
            "api_app_id": "A1",
            "token": "deprecated",
            "team": {"id": "T1", "domain": "acme"},
            "container": {"type": "message", "message_ts": ts, "channel_id": CHANNEL, "is_ephemeral": False},
            "channel": {"id": CHANNEL, "name": "approvals"},
            "trigger_id": "1.2.3",
            "response_url": f"{self.url}/hooks/actions/T1/1/{len(self.requests)}",
            "actions": [
                {
                    "type": "button",
                    "action_id": action,
                    "block_id": "acgs",
                    "text": button["text"],
                    "value": button["value"],
                    "style": button["style"],
                    "action_ts": "1700000001.000000",
                }
            ],
            **changes,
        }
        return urlencode({"payload": json.dumps(payload)}).encode()


def buttons_of(card: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for block in card["blocks"] if block["type"] == "actions" for one in block["elements"]]


def item_of(card: dict[str, Any]) -> str:
    """The item that a card with buttons is of."""
    value: str = buttons_of(card)[0]["value"]
    return value.split(".")[1]


def texts_of(part: object) -> Iterator[str]:
    """Every text that blocks show."""
    if isinstance(part, dict):
        if isinstance(part.get("text"), str):
            yield part["text"]
        for value in part.values():
            yield from texts_of(value)
    elif isinstance(part, list):
        for one in part:
            yield from texts_of(one)


def shown_by(card: dict[str, Any]) -> str:
    """What a card's reader sees: Slack shows the three entities as what they stand for."""
    text = "\n".join(texts_of(card["blocks"]))
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def slack_headers(body: bytes, *, secret: str = SIGNING_SECRET, age_s: float = 0) -> dict[str, str]:
    """What Slack sends with a body."""
    timestamp = str(int(time.time() - age_s))
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": f"v0={_hmac(secret, f'v0:{timestamp}:'.encode() + body)}",
    }


def webhook_headers(body: bytes, *, secret: str = WEBHOOK_SECRET, context: str = "acgs-callback-v1") -> dict[str, str]:
    """What a webhook's platform sends with a decision."""
    timestamp = str(int(time.time()))
    return {
        "Content-Type": "application/json",
        "X-Acgs-Timestamp": timestamp,
        "X-Acgs-Signature": f"v1={_hmac(secret, f'{context}:{timestamp}:'.encode() + body)}",
    }


def link_token(item_id: str) -> str:
    return _hmac(LINK_SECRET, f"acgs-item-v1:{quote(item_id)}".encode())


def _hmac(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


@asynccontextmanager
async def platform() -> AsyncIterator[Platform]:
    started = Platform()
    await started.start()
    try:
        yield started
    finally:
        await started.stop()


@dataclass(frozen=True)
class Answered:
    """The callback server's answer."""

    status: int
    headers: dict[str, str]
    body: str


async def send(url: str, body: bytes | AsyncIterator[bytes], headers: dict[str, str]) -> Answered:
    """One request to the callback server, on a connection of its own."""
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        return Answered(answer.status, dict(answer.headers), await answer.text())


async def fetch(url: str) -> Answered:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return Answered(answer.status, dict(answer.headers), await answer.text())
