"""The lines of a file, of a compressed file, or of standard input, with their numbers. Blank lines are left out."""

import asyncio
import gzip
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from streams.errors import StreamsError

STANDARD_INPUT = Path("-")
_CHUNK_BYTES = 64 * 1024


class Line(NamedTuple):
    """A line without its end, its number from 1, and how many bytes of the file have been read with it."""

    number: int
    value: bytes
    read: int


@contextmanager
def opened(path: Path, stdin: BinaryIO) -> Generator[Iterator[Line], None, None]:
    """The lines of a file (`-`: standard input; a name ending in `.gz`: compressed).

    Raises:
        StreamsError: the file cannot be read; lines before the damage have been given.
    """
    if path == STANDARD_INPUT:
        yield _numbered(stdin, None)
        return
    try:
        with path.open("rb") as raw:
            content = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw
            yield _numbered(_readable(content, path), raw)
    except OSError as error:
        raise StreamsError(f"{path} cannot be read: {error.strerror or error}") from error


def _readable(content: BinaryIO, path: Path) -> Iterator[bytes]:
    try:
        yield from content
    except (OSError, EOFError) as error:
        raise StreamsError(f"{path} cannot be read to its end: {error}") from error


def _numbered(content: Iterable[bytes], raw: BinaryIO | None) -> Iterator[Line]:
    for number, line in enumerate(content, start=1):
        value = line.rstrip(b"\r\n")
        if value.strip():
            yield Line(number, value, 0 if raw is None else raw.tell())


async def arriving(lines: Iterator[Line], stdin: BinaryIO | None) -> AsyncIterator[Line]:
    """The same lines for an event loop: those of a pipe or a terminal as they come, while other tasks go on.

    `stdin` is what the lines are read from if that may make one wait, else None.
    """
    descriptor = None if stdin is None else _waitable(stdin)
    if descriptor is None:
        for line in lines:
            yield line
        return
    number = 0
    async for value in _split(_chunks(descriptor)):
        number += 1
        stripped = value.rstrip(b"\r\n")
        if stripped.strip():
            yield Line(number, stripped, 0)


def _waitable(stdin: BinaryIO) -> int | None:
    try:
        descriptor = stdin.fileno()
    except OSError:
        return None
    return None if stat.S_ISREG(os.fstat(descriptor).st_mode) else descriptor


async def _chunks(descriptor: int) -> AsyncGenerator[bytes, None]:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        while True:
            await ready.wait()
            ready.clear()
            chunk = os.read(descriptor, _CHUNK_BYTES)
            if not chunk:
                return
            yield chunk
    finally:
        loop.remove_reader(descriptor)


async def _split(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines from chunks; a long line costs no more than its length."""
    begun: list[bytes] = []
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        begun.append(first)
        for other in others:
            yield b"".join(begun)
            begun = [other]
    if last := b"".join(begun):
        yield last
