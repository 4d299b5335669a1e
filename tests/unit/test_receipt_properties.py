"""Whatever is changed in a receipt: it is not proven any more, but for times that are in no hash."""

import asyncio
import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas import topics
from streams.receipts.verifying import Verdict, verify
from tests.support.deliberated import registry
from tests.support.product import UNKNOWN_TOOL, encoded
from tests.support.receipted import anchored_receipt, item_of, lanes_under, public_keys, vote
from tests.support.signing import decide

NOT_COVERED = {"time", "clock"}
Path = tuple[str | int, ...]
Mutation = tuple[Path, str | int]


@pytest.fixture(scope="module")
def receipt() -> dict[str, Any]:
    """A message that was released, anchored."""
    lanes = lanes_under(registry())
    lanes.send(topics.IN_MESSAGES, *[encoded(n, tool=UNKNOWN_TOOL) for n in range(3)])
    lanes.run()
    lanes.pass_time(1_000)
    item = item_of(lanes, 1)
    vote(lanes, decide("lee", item), decide("sam", item))
    found: dict[str, Any] = json.loads(asyncio.run(anchored_receipt(lanes, 1)).model_dump_json())
    return found


def leaves(document: object, path: Path = ()) -> Iterator[tuple[Path, str | int]]:
    """Every text and number in it, and every key of `contents`."""
    match document:
        case dict():
            for name, content in document.items():
                if path == ("contents",):
                    yield (*path, name, "its name"), name
                if name not in NOT_COVERED:
                    yield from leaves(content, (*path, name))
        case list():
            for index, content in enumerate(document):
                yield from leaves(content, (*path, index))
        case str() | int():
            yield path, document
        case _:
            pass


def flipped(content: str | int, at: int, bit: int) -> str | int:
    """A number that is off by a power of two; a text with one bit of what it means changed."""
    if isinstance(content, int):
        return content ^ (1 << bit)
    try:
        raw = bytearray(base64.b64decode(content, validate=True))
        is_base64 = bool(raw) and base64.b64encode(raw).decode() == content
    except ValueError:
        is_base64 = False
    if is_base64:
        raw[at % len(raw)] ^= 1 << bit
        return base64.b64encode(raw).decode()
    at %= max(1, len(content))
    return content[:at] + chr(ord(content[at : at + 1] or "a") ^ 1) + content[at + 1 :]


def changed(document: Any, path: Path, content: str | int) -> Any:  # noqa: ANN401
    copy = json.loads(json.dumps(document))
    if path[-1] == "its name":
        copy["contents"][content] = copy["contents"].pop(path[-2])
        return copy
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = content
    return copy


def judged(document: object) -> Verdict:
    return verify(json.dumps(document).encode(), public_keys())


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(place=0.0, at=0, bit=0)
@given(place=st.floats(0, 1, exclude_max=True), at=st.integers(0, 2**20), bit=st.integers(0, 7))
def test_no_bit_of_what_it_holds_can_be_changed(receipt: dict[str, Any], place: float, at: int, bit: int) -> None:
    every = list(leaves(receipt))
    path, content = every[int(place * len(every))]
    new = flipped(content, at, bit)
    assert judged(changed(receipt, path, new)).exit_code == 1, (path, content, new)


def test_of_what_is_left_out_or_doubled_only_a_shorter_story_is_proven(receipt: dict[str, Any]) -> None:
    whole = judged(receipt)
    assert (whole.exit_code, whole.document()["anchored"]) == (0, True)
    for path in sequences(receipt):
        for index, one in enumerate(at_path(receipt, path)):
            doubled, shorter = (json.loads(json.dumps(receipt)) for _ in range(2))
            at_path(doubled, path).insert(index, one)
            assert judged(doubled).exit_code == 1, (path, index)
            del at_path(shorter, path)[index]
            left = judged(shorter)
            assert left.exit_code == 1 or set(left.moments) < set(whole.moments) or tells_nothing(one), (path, index)


def tells_nothing(turn: dict[str, Any]) -> bool:
    """How a vote came in, and when deliberation began on a lane, make no line of the story."""
    agent = json.loads(base64.b64decode(turn["record"]))["agent"]
    return agent == topics.GATEWAY_DECISIONS or not turn["outputs"]


def sequences(document: object, path: Path = ()) -> Iterator[Path]:
    match document:
        case dict():
            for name, content in document.items():
                yield from sequences(content, (*path, name))
        case list():
            yield path
            for index, content in enumerate(document):
                yield from sequences(content, (*path, index))
        case _:
            pass


def at_path(document: Any, path: Sequence[str | int]) -> Any:  # noqa: ANN401
    for step in path:
        document = document[step]
    return document
