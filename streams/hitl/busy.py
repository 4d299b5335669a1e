"""A connection too many: answered with 503 at once, and closed so that the answer arrives."""

import asyncio
from typing import Final

LINGER_S: Final = 2.0
MAX_LINGERING: Final = 200
_BUSY: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Busy(asyncio.Protocol):
    """Says 503 with Retry-After, without looking at the request.

    A connection that is closed while something of the request is unread is reset, and the answer lost. So only our half
    is closed, and what comes is thrown away, for 2 s at most and of 200 connections at once; beyond, they are reset.
    """

    def __init__(self, lingering: set["Busy"]) -> None:
        self._lingering = lingering
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Says it."""
        if not isinstance(transport, asyncio.Transport) or len(self._lingering) >= MAX_LINGERING:
            transport.close()
            return
        transport.write(_BUSY)
        transport.write_eof()
        self._lingering.add(self)
        self._end = asyncio.get_running_loop().call_later(LINGER_S, transport.abort)

    def eof_received(self) -> None:
        """The other side has heard it: the connection is closed."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Makes room."""
        del exc
        self._lingering.discard(self)
        if self._end is not None:
            self._end.cancel()
