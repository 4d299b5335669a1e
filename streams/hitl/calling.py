"""Calls to platforms: one attempt each, bounded in time and in what is read, and never to another address."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, NamedTuple

import aiohttp
from pydantic import SecretStr

from streams.hitl.errors import PlatformBusyError, PlatformRefusedError

CALL_WITHIN: Final = timedelta(seconds=10)
_CONNECT_WITHIN_S: Final = 5.0
_MAX_REPLY: Final = 64 * 1024
_LONGEST_WAIT: Final = timedelta(hours=1)
_JSON: Final = "application/json; charset=utf-8"


class Reply(NamedTuple):
    """What a platform has answered: at most 64 KiB of it."""

    status: int
    body: bytes


class Caller:
    """Posts JSON to platforms. Belongs to one event loop; close it."""

    def __init__(self, proxy: SecretStr | None = None, within: timedelta = CALL_WITHIN) -> None:
        timeout = aiohttp.ClientTimeout(total=within.total_seconds(), connect=_CONNECT_WITHIN_S)
        self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        self._proxy = None if proxy is None else proxy.get_secret_value()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        """One attempt. Redirects are not followed.

        Raises:
            PlatformBusyError: nobody answers in time, or the answer is 408, 429 or 5xx; with what it says to wait.
        """
        sent = {"Content-Type": _JSON, **(headers or {})}
        try:
            async with self._session.post(
                url, data=body, headers=sent, allow_redirects=False, proxy=self._proxy
            ) as answered:
                reply = Reply(answered.status, await _read(answered.content))
                wait = answered.headers.get("Retry-After")
        except TimeoutError:
            raise PlatformBusyError("it has not answered in time") from None
        except (aiohttp.ClientError, OSError) as error:
            # Neither the message nor the error itself goes on: it may hold the address, which may be a secret.
            raise PlatformBusyError(f"it cannot be reached ({type(error).__name__})") from None
        if _is_for_later(reply.status):
            raise PlatformBusyError(f"it answers {reply.status}", retry_after(wait))
        return reply

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._session.close()


async def _read(content: aiohttp.StreamReader) -> bytes:
    """The beginning of an answer."""
    read = b""
    while len(read) < _MAX_REPLY and (chunk := await content.read(_MAX_REPLY - len(read))):
        read += chunk
    return read


def _is_for_later(status: int) -> bool:
    return (
        status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    )


def refusal_of(reply: Reply, advice: str) -> PlatformRefusedError | None:
    """The error that an answer means where no trying again helps, None where it is well."""
    if reply.status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    return PlatformRefusedError(f"status {reply.status}", advice)


def retry_after(text: str | None) -> timedelta | None:
    """How long to wait by the header Retry-After, in seconds or until a time; an hour at most."""
    if not text:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        wanted = float(text.strip()[:9])
    else:
        try:
            until = parsedate_to_datetime(text)
        except ValueError:
            return None
        wanted = (until - datetime.now(UTC)).total_seconds() if until.tzinfo else 0
    return min(_LONGEST_WAIT, timedelta(seconds=max(0, wanted)))
