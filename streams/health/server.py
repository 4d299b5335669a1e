"""Health over HTTP: `GET /health` and `GET /health/{service}`, as JSON, from the rows that this process follows."""

import hmac
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import orjson
from aiohttp import web

from schemas import topics
from schemas.health import ServiceHealth, SystemHealthStatus
from streams.errors import SettingsError
from streams.health.board import HealthBoard, Read, now_ms
from streams.health.settings import HealthSettings

_BEARER: Final = re.compile(r"Bearer +(\S+)", re.IGNORECASE)
_MAX_QUERY: Final = 1_024
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class HealthServer:
    """Serves while it is entered, in the event loop that enters it. Every process serves all services.

    Each row has its `age_ms`, since the health table last weighed it, and its `place` on `health`. `/health` answers
    200 whatever the status is, as it is about others; a service of which nothing has been heard is 404.
    """

    def __init__(self, settings: HealthSettings, board: HealthBoard) -> None:
        self._settings, self._board = settings, board
        self._token = settings.token.get_secret_value().encode() if settings.token else None
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        """Binds the port; 0 takes any.

        Raises:
            SettingsError: the address cannot be bound.
        """
        app = web.Application(client_max_size=_MAX_QUERY, middlewares=[self._guard])
        app.router.add_get("/health", self._all)
        app.router.add_get("/health/{service:.+}", self._one)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.host, self._settings.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise SettingsError(
                f"health cannot be served at {self._settings.host}:{self._settings.port}: {error.strerror}; set "
                "ACGS_HEALTH_HOST and ACGS_HEALTH_PORT to an address of this machine that is free, or the port to 0"
            ) from error
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not self._may(request):
            return _json({"error": "send the token: Authorization: Bearer ..."}, HTTPStatus.UNAUTHORIZED)
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _json({"error": "there are GET /health and GET /health/{service}"}, HTTPStatus(error.status))

    def _may(self, request: web.Request) -> bool:
        if self._token is None:
            return True
        given = _BEARER.fullmatch(request.headers.get("Authorization", ""))
        return given is not None and hmac.compare_digest(given[1].encode("utf-8", "surrogateescape"), self._token)

    async def _all(self, request: web.Request) -> web.Response:
        del request
        now = now_ms()
        system = self._board.system_at(now)
        document = {
            "at": now,
            "system": None if system is None else {**system.model_dump(mode="json"), "age_ms": _age(system.as_of, now)},
            "services": [_document(one, now, with_breakers=False) for one in self._board.services(now)],
        }
        return _json(document)

    async def _one(self, request: web.Request) -> web.Response:
        now, name = now_ms(), request.match_info["service"]
        found = self._board.service(name, now)
        if found is None:
            unknown = {"service": name, "status": SystemHealthStatus.UNKNOWN, "why": "nothing has been heard of it"}
            return _json(unknown, HTTPStatus.NOT_FOUND)
        return _json(_document(found, now, with_breakers=True))


def _document(found: Read, now: int, *, with_breakers: bool) -> dict[str, Any]:
    left_out = set[str]() if with_breakers else {"breakers", "flaps"}
    row: ServiceHealth = found.row
    said = row.model_dump(mode="json", exclude=left_out)
    return {
        **said,
        "recent_flaps": len(row.flaps),
        "age_ms": _age(found.written_ms, now),
        "place": {"topic": topics.HEALTH, "partition": found.partition, "offset": found.offset},
    }


def _age(as_of: int, now: int) -> int:
    return max(0, now - as_of)


def _json(document: object, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json", headers=_HEADERS)
