"""A connection too many: what a client hears that was sending at that moment."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streams.hitl.busy import MAX_LINGERING, Busy
from tests.support.eventually import eventually

BODY = b"x" * 60_000


@asynccontextmanager
async def busy(lingering: set[Busy]) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(lambda: Busy(lingering), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_who_still_sends_a_request_is_told_when_to_come_again_and_not_cut_off() -> None:
    loop = asyncio.get_running_loop()
    async with busy(set()) as port:
        with socket.socket() as sending:
            sending.setblocking(False)  # noqa: FBT003  # the standard library's
            await loop.sock_connect(sending, ("127.0.0.1", port))
            answer = await asyncio.wait_for(loop.sock_recv(sending, 1_000), 10)
            for _ in range(5):
                await asyncio.wait_for(loop.sock_sendall(sending, BODY), 10)
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                assert await asyncio.wait_for(reader.readline(), 10)
                writer.close()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in answer


async def test_who_stays_is_closed_and_only_so_many_may() -> None:
    lingering: set[Busy] = set()
    async with busy(lingering) as port:

        async def nobody_stays() -> bool:
            return not lingering

        made = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_LINGERING + 10)]
        answers = [await asyncio.wait_for(reader.read(), 10) for reader, _ in made]
        assert sum(answer.startswith(b"HTTP/1.1 503 ") for answer in answers) == len(lingering) == MAX_LINGERING
        await eventually(nobody_stays)
        for _, writer in made:
            writer.close()
