"""The callback server: clicks and decisions come in, whole items are shown, and no flood gets further than the door."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final, Protocol

from aiohttp import web

from streams.approvals import DeliberationError, ItemUnknownError
from streams.engine.worker import Health
from streams.errors import SettingsError, StreamsError
from streams.hitl import slack_callback, webhook_callback
from streams.hitl.busy import Busy
from streams.hitl.deciding import Click, Told
from streams.hitl.door import MAX_BODY, Admitted, Door, Refusal
from streams.hitl.items import TOKEN
from streams.hitl.settings import Channel
from streams.hitl.slack_callback import SlackClick
from streams.metrics import HitlMeasures

_log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 500
MAX_READING: Final = 200
"""How many bodies are read at once: 200 of 64 KiB are 13 MiB."""
MAX_WORK: Final = 64
"""How many decisions are worked on at once, and items shown; what comes beyond is told to come again."""
_IDLE_S: Final = 15.0
_WITHIN: Final = timedelta(seconds=20)
_END_WITHIN: Final = timedelta(seconds=5)
_BACKLOG: Final = 512
_RETRY_AFTER: Final = "1"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Desk(Protocol):
    """What the server hands requests on to."""

    async def decide(self, click: Click) -> Told:
        """Signs and publishes a decision. Does not raise."""
        ...

    async def clicked(self, click: SlackClick) -> None:
        """The same for a click on Slack, and tells who clicked what became of it. Does not raise."""
        ...

    def is_allowed(self, item_id: str, token: str) -> bool:
        """Whether a link's token is the item's."""
        ...

    async def page(self, item_id: str) -> str:
        """The whole item as text.

        Raises:
            DeliberationError: there is no such item, or its record is not what it says.
            BrokerError: the broker cannot be reached or refuses.
        """
        ...

    def readiness(self) -> Health:
        """Whether decisions can be taken."""
        ...


class _Places:
    """So many at once, and no more."""

    def __init__(self, count: int) -> None:
        self._free = count

    def take(self) -> None:
        """Takes a place, until give().

        Raises:
            Refusal: 503, none is free.
        """
        if self._free <= 0:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too much to do; come again")
        self._free -= 1

    def give(self) -> None:
        """Gives a place back."""
        self._free += 1

    @contextmanager
    def one(self) -> Generator[None, None, None]:
        """A place. Raises as take()."""
        self.take()
        try:
            yield
        finally:
            self.give()


class CallbackServer:
    """Serves on one port, in the event loop that enters it.

    No more than 500 connections are open, 200 bodies read and 64 decisions or items worked on at once; beyond that the
    answer is 503 with Retry-After, at once. A body may take 5 s to come and has at most 64 KiB, a request 20 s. What is
    refused is logged on one line, without its content.
    """

    def __init__(self, host: str, port: int, doors: dict[Channel, Door], desk: Desk, measures: HitlMeasures) -> None:
        self._host, self._wanted_port, self._doors, self._desk = host, port, doors, desk
        self._measures = measures
        self._reading, self._work = _Places(MAX_READING), _Places(MAX_WORK)
        self._background: set[asyncio.Task[None]] = set()
        self._lingering: set[Busy] = set()
        self.port = 0

    async def run(self) -> None:
        """Serves until it is cancelled; then clicks that were taken are decided on, within 5 s.

        Raises:
            SettingsError: the address cannot be bound.
        """
        runner = web.AppRunner(
            self._app(),
            access_log=None,
            keepalive_timeout=_IDLE_S,
            lingering_time=0,
            auto_decompress=False,
            shutdown_timeout=_END_WITHIN.total_seconds(),
        )
        await runner.setup()
        try:
            server = await self._listen(runner)
            try:
                await asyncio.Event().wait()
            finally:
                server.close()
        finally:
            await runner.cleanup()
            await self._end_background()

    async def _listen(self, runner: web.AppRunner) -> asyncio.Server:
        serving = runner.server
        if serving is None:
            raise RuntimeError("the runner is not set up")

        def accept() -> asyncio.Protocol:
            return Busy(self._lingering) if len(serving.connections) >= MAX_CONNECTIONS else serving()

        try:
            server = await asyncio.get_running_loop().create_server(
                accept, self._host, self._wanted_port, backlog=_BACKLOG
            )
        except OSError as error:
            raise SettingsError(
                f"callbacks cannot be served at {self._host}:{self._wanted_port}: {error.strerror}; set "
                "ACGS_HITL_HOST and ACGS_HITL_PORT to an address of this machine that is free"
            ) from error
        self.port = server.sockets[0].getsockname()[1]
        return server

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_get("/healthz", self._guarded("health", self._healthz))
        app.router.add_get("/items/{item_id}", self._guarded("items", self._item))
        for channel, taken in ((Channel.SLACK, self._slack), (Channel.WEBHOOK, self._webhook)):
            if channel in self._doors:
                app.router.add_post(f"/callbacks/{channel}", self._guarded(channel, taken))
        return app

    # Requests

    def _guarded(
        self, name: str, taken: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Coroutine[Any, Any, web.Response]]:
        """A handler that is bounded in time, whose refusals are logged, and whose failures say nothing outside."""

        async def handle(request: web.Request) -> web.Response:
            try:
                async with asyncio.timeout(_WITHIN.total_seconds()):
                    answer = await taken(request)
            except Refusal as refusal:
                answer = self._refused(name, request, refusal)
            except TimeoutError:
                answer = self._refused(name, request, Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "not in time"))
            except Exception:  # noqa: BLE001  # a defect of ours: nothing of it is said outside
                _log.exception("a request to %s failed", name)
                answer = _text(HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong here")
            self._measures.called(name, str(answer.status))
            return answer

        return handle

    async def _slack(self, request: web.Request) -> web.Response:
        admitted = await self._admitted(Channel.SLACK, request)
        self._begin(slack_callback.read(admitted.body), admitted)
        return web.Response(headers=_HEADERS)

    async def _webhook(self, request: web.Request) -> web.Response:
        admitted = await self._admitted(Channel.WEBHOOK, request)
        click = webhook_callback.read(admitted.body)
        with self._work.one():
            self._doors[Channel.WEBHOOK].enter(admitted)
            told = await self._desk.decide(click)
        body = webhook_callback.answer(told).model_dump_json(exclude_none=True)
        status = webhook_callback.STATUSES[told.outcome]
        return web.Response(status=status, text=body, content_type="application/json", headers=_HEADERS)

    async def _item(self, request: web.Request) -> web.Response:
        item_id = request.match_info["item_id"]
        if not self._desk.is_allowed(item_id, request.query.get(TOKEN, "")):
            raise Refusal(HTTPStatus.NOT_FOUND, "there is no such item")
        with self._work.one():
            try:
                return _text(HTTPStatus.OK, await self._desk.page(item_id))
            except ItemUnknownError:
                raise Refusal(HTTPStatus.NOT_FOUND, "there is no such item") from None
            except DeliberationError as error:
                _log.error("item %s is not shown: %s", item_id, error)
                raise Refusal(
                    HTTPStatus.CONFLICT, "the item is not what it says: sign nothing, tell your operator"
                ) from None
            except StreamsError as error:
                _log.warning("item %s cannot be read: %s", item_id, error)
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "it cannot be read now; come again") from None

    async def _healthz(self, request: web.Request) -> web.Response:
        del request
        health = self._desk.readiness()
        status = HTTPStatus.OK if health.ok else HTTPStatus.SERVICE_UNAVAILABLE
        return web.json_response({"ok": health.ok}, status=status, headers=_HEADERS)

    async def _admitted(self, channel: Channel, request: web.Request) -> Admitted:
        with self._reading.one():
            return await self._doors[channel].admit(request)

    def _refused(self, name: str, request: web.Request, refusal: Refusal) -> web.Response:
        _log.warning("%s from %s refused with %d: %s", name, request.remote, refusal.status, refusal.words)
        answer = _text(refusal.status, refusal.words)
        if refusal.status is HTTPStatus.SERVICE_UNAVAILABLE:
            answer.headers["Retry-After"] = _RETRY_AFTER
        answer.force_close()
        return answer

    # Clicks are acknowledged first and decided on afterwards

    def _begin(self, click: SlackClick, admitted: Admitted) -> None:
        self._work.take()
        try:
            self._doors[Channel.SLACK].enter(admitted)
        except Refusal:
            self._work.give()
            raise
        task = asyncio.create_task(self._decided_on_slack(click))
        self._background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        self._work.give()

    async def _decided_on_slack(self, click: SlackClick) -> None:
        try:
            await self._desk.clicked(click)
        except Exception:  # noqa: BLE001  # a defect of ours: the server goes on
            _log.exception("a click on item %s could not be dealt with", click.click.subject.item_id)

    async def _end_background(self) -> None:
        if self._background:
            _, late = await asyncio.wait(self._background, timeout=_END_WITHIN.total_seconds())
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def _text(status: HTTPStatus, words: str) -> web.Response:
    return web.Response(status=status, text=words, content_type="text/plain", charset="utf-8", headers=_HEADERS)
