"""The door of the callback server: only what a platform has signed, lately, and once, comes in."""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Final, NamedTuple

from aiohttp import web

from streams.hitl.signing import MAX_AGE, is_same

MAX_BODY: Final = 64 * 1024
_READ_WITHIN: Final = timedelta(seconds=5)
_MAX_REMEMBERED: Final = 100_000
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


class Refusal(Exception):  # noqa: N818  # what is answered, no failure of this program
    """A request that is refused: the status, and words that say nothing about us."""

    def __init__(self, status: HTTPStatus, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a platform signs: the headers, the content type, and the signature of a timestamp and a body."""

    timestamp: str
    signature: str
    content_type: str
    sign: Callable[[str, bytes], str]


class Admitted(NamedTuple):
    """A request that a platform has signed. `mark` tells it from others."""

    body: bytes
    mark: str
    signed_at: int


class Door:
    """Checks requests of one platform, the cheap things first: nothing is read of what its headers condemn."""

    def __init__(self, scheme: Scheme, clock: Callable[[], float] = time.time) -> None:
        self._scheme, self._clock = scheme, clock
        self._seen: OrderedDict[str, int] = OrderedDict()

    async def admit(self, request: web.Request) -> Admitted:
        """The body, if the platform has signed it within five minutes of now, either way.

        Raises:
            Refusal: 401 unsigned or signed by somebody else, 403 of another time, 408 too slow, 413 larger than 64 KiB,
                415 of another content type.
        """
        scheme = self._scheme
        if request.content_type != scheme.content_type or request.headers.get("Content-Encoding"):
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send {scheme.content_type}")
        timestamp, signature = request.headers.get(scheme.timestamp), request.headers.get(scheme.signature)
        if timestamp is None or signature is None or _TIMESTAMP.fullmatch(timestamp) is None:
            raise Refusal(HTTPStatus.UNAUTHORIZED, "the request is not signed")
        if not self._is_of_now(int(timestamp)):
            raise Refusal(HTTPStatus.FORBIDDEN, "the request was not signed within five minutes of now")
        if request.content_length is not None and request.content_length > MAX_BODY:
            raise _too_large()
        body = await _read(request)
        if not is_same(signature, scheme.sign(timestamp, body)):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "the signature does not fit the request")
        return Admitted(body, signature, int(timestamp))

    def enter(self, admitted: Admitted) -> None:
        """Takes note of a request, which may come in once.

        They are remembered while they would be admitted. A process that starts anew has forgotten them; what they say
        counts once all the same, as an approver has one vote on an item.

        Raises:
            Refusal: 409 it has come in before, 503 too many have.
        """
        self._forget()
        if admitted.mark in self._seen:
            raise Refusal(HTTPStatus.CONFLICT, "the request has come in before")
        if len(self._seen) >= _MAX_REMEMBERED:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests")
        self._seen[admitted.mark] = admitted.signed_at

    def _is_of_now(self, signed_at: int) -> bool:
        return abs(self._clock() - signed_at) <= MAX_AGE.total_seconds()

    def _forget(self) -> None:
        """Forgets what is too old to come in again. Nothing before the oldest that is kept is looked at twice."""
        oldest_allowed = self._clock() - MAX_AGE.total_seconds()
        while self._seen:
            mark, signed_at = next(iter(self._seen.items()))
            if signed_at >= oldest_allowed:
                return
            del self._seen[mark]


async def _read(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(_READ_WITHIN.total_seconds()):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None
    except TimeoutError:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "the body has not come in time") from None
    except (web.HTTPException, web.RequestPayloadError, OSError):
        raise Refusal(HTTPStatus.BAD_REQUEST, "the body cannot be read") from None


def _too_large() -> Refusal:
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY} bytes")
