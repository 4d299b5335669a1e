import asyncio
import gzip
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import StreamsError
from streams.lines import STANDARD_INPUT, Line, arriving, opened

CONTENT = b'{"a": 1}\r\n\n   \nsecond\nlast'
NUMBERED = [(1, b'{"a": 1}'), (4, b"second"), (5, b"last")]


def numbered(lines: list[Line]) -> list[tuple[int, bytes]]:
    return [(line.number, line.value) for line in lines]


def read(path: Path, stdin: bytes = b"") -> list[tuple[int, bytes]]:
    with opened(path, io.BytesIO(stdin)) as lines:
        return numbered(list(lines))


async def collected(lines: AsyncIterator[Line]) -> list[Line]:
    return [line async for line in lines]


def test_blank_lines_are_left_out_and_keep_their_numbers(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_bytes(CONTENT)
    assert read(file) == NUMBERED


def test_a_compressed_file_reads_as_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl.gz"
    file.write_bytes(gzip.compress(CONTENT))
    assert read(file) == NUMBERED


def test_standard_input_reads_as_a_file() -> None:
    assert read(STANDARD_INPUT, CONTENT) == NUMBERED


def test_a_damaged_file_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl.gz"
    file.write_bytes(gzip.compress(os.urandom(1_000).hex().encode() + b"\n")[:-20])
    with opened(file, io.BytesIO()) as lines, pytest.raises(StreamsError, match="cannot be read to its end"):
        list(lines)


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_lines_of_a_pipe_are_those_of_a_file(chunks: list[bytes]) -> None:
    content = b"".join(chunks)
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        piped = asyncio.run(collected(arriving(iter(()), cast("BinaryIO", pipe))))
    with opened(STANDARD_INPUT, io.BytesIO(content)) as lines:
        assert numbered(piped) == numbered(list(lines))
