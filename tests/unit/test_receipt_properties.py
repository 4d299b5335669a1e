"""Whatever is changed in a receipt: it is not proven any more, but for times that are in no hash."""

import asyncio
import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas import envelope, topics
from schemas.receipt import Receipt, ShownTurn
from streams.engine import digest
from streams.engine.records import InputRecord
from streams.receipts.findings import Kind
from streams.receipts.turns import content_id
from streams.receipts.verifying import Verdict, verify
from tests.support.deliberated import registry
from tests.support.product import UNKNOWN_TOOL, encoded
from tests.support.receipted import anchored_receipt, item_of, lanes_under, public_keys, receipt_of, vote
from tests.support.recorded import NAMING
from tests.support.signing import decide

NOT_COVERED = {"time", "clock"}
PARTS = ("value", "headers", "trail")
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


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 2**16), at=st.integers(0, 2**20), bit=st.integers(0, 7), part=st.sampled_from(PARTS))
def test_whatever_a_forger_makes_fit_is_judged_and_no_error(
    receipt: dict[str, Any], which: int, at: int, bit: int, part: str
) -> None:
    """Without a checkpoint a forger can write hashes and audit records anew: the rules are what is left."""
    assert judged_alone(fitted(flipped_record(receipt, which, at, bit, part))).exit_code in {0, 1, 3}


def judged_alone(receipt: Receipt) -> Verdict:
    return verify(receipt.model_dump_json().encode())


def flipped_record(document: dict[str, Any], which: int, at: int, bit: int, part: str) -> Receipt:
    """One bit of a record, or of an audit record, changed, wherever it is shown."""
    receipt = Receipt.model_validate_json(json.dumps(document))
    if part == "value":
        name = sorted(receipt.contents)[which % len(receipt.contents)]
        contents = {**receipt.contents, name: one_bit(receipt.contents[name], at, bit)}
        return receipt.model_copy(update={"contents": contents})
    turns = list(receipt.turns)
    fit = [index for index, turn in enumerate(turns) if part == "trail" or turn.inputs[-1].headers]
    place = fit[which % len(fit)]
    turn = turns[place]
    if part == "trail":
        turns[place] = turn.model_copy(update={"record": one_bit(turn.record, at, bit)})
    else:
        *more, last = turn.inputs
        number = at % len(last.headers)
        name, content = last.headers[number]
        headers = (*last.headers[:number], (name, one_bit(content or b"", at, bit)), *last.headers[number + 1 :])
        turns[place] = turn.model_copy(update={"inputs": (*more, last.model_copy(update={"headers": headers}))})
    return receipt.model_copy(update={"turns": tuple(turns)})


def one_bit(content: bytes, at: int, bit: int) -> bytes:
    raw = bytearray(content)
    if raw:
        raw[at % len(raw)] ^= 1 << bit
    return bytes(raw)


def fitted(receipt: Receipt) -> Receipt:
    """The receipt with names, hashes and digests as they have to be."""
    names = {name: content_id(content) for name, content in receipt.contents.items()}
    turns = [fitted_turn(turn, receipt.contents, names) for turn in receipt.turns]
    contents = {names[name]: content for name, content in receipt.contents.items()}
    return receipt.model_copy(update={"turns": tuple(turns), "contents": contents, "checkpoint": None})


def fitted_turn(turn: ShownTurn, contents: dict[str, bytes], names: dict[str, str]) -> ShownTurn:
    read, wrote = bytearray(turn.input_hashes), bytearray(turn.output_hashes or b"")
    for one in turn.inputs:
        value = contents.get(one.value or "")
        record = InputRecord(one.topic, one.partition, one.offset, 0, one.key, value, one.headers)
        hashed = digest.input_hash(digest.partition_prefix(one.topic, one.partition), record)
        read[one.index * 32 : one.index * 32 + 32] = hashed
    for other in turn.outputs:
        prefix = digest.partition_prefix(other.topic, other.partition)
        image = digest.output_image(prefix, other.key, other.headers, contents.get(other.value or ""))
        wrote[other.index * 32 : other.index * 32 + 32] = digest.sha256(image)
    said = turn.record
    try:
        digests = {"input_digest": digest.of_bytes(bytes(read))}
        if turn.output_hashes is not None:
            digests["output_digest"] = digest.of_bytes(bytes(wrote))
        said = json.dumps({**json.loads(said), **digests}).encode()
    except ValueError:
        pass
    return turn.model_copy(
        update={
            "record": said,
            "input_hashes": bytes(read),
            "output_hashes": None if turn.output_hashes is None else bytes(wrote),
            "inputs": tuple(o.model_copy(update={"value": names.get(o.value or "")}) for o in turn.inputs),
            "outputs": tuple(o.model_copy(update={"value": names.get(o.value or "")}) for o in turn.outputs),
            "proof": None,
        }
    )


def test_what_a_forger_puts_before_our_own_headers_is_judged_and_no_error(receipt: dict[str, Any]) -> None:
    made = Receipt.model_validate_json(json.dumps(receipt))
    for name in (envelope.CARD, envelope.ITEM, envelope.REASON, envelope.DETAIL, envelope.WITHDRAWN, "lane-timer"):

        def with_it(one: Any, name: str = name) -> Any:  # noqa: ANN401
            return one.model_copy(update={"headers": ((name, b"x"), *one.headers)})

        turns = tuple(
            turn.model_copy(
                update={"inputs": tuple(map(with_it, turn.inputs)), "outputs": tuple(map(with_it, turn.outputs))}
            )
            for turn in made.turns
        )
        assert judged_alone(fitted(made.model_copy(update={"turns": turns}))).exit_code == 1, name


def test_a_delivery_beside_a_refusal_is_not_passed_over_with_it() -> None:
    """That an item was refused for what others did cannot be told; that something else was done is to be explained."""
    lanes = lanes_under(registry(max_held_per_sender=1))
    lanes.send(topics.IN_MESSAGES, *[encoded(number, tool=UNKNOWN_TOOL) for number in range(4)])
    lanes.run()
    receipts = [asyncio.run(receipt_of(lanes, number)) for number in range(4)]
    refused = next(one for one in receipts if judged_alone(one).exit_code == 3)
    place = len(refused.turns) - 1
    turn = refused.turns[place]
    record, hashes = json.loads(turn.record), turn.output_hashes or b""
    assert record["agent"] == topics.DELIBERATOR
    count = len(hashes) // 32
    (rejection,) = turn.outputs
    delivered = rejection.model_copy(update={"index": count, "topic": NAMING.topic(topics.DELIVERIES)})
    record["outputs"].append({"topic": delivered.topic, "partition": delivered.partition, "count": 1})
    beside = turn.model_copy(
        update={
            "record": json.dumps(record).encode(),
            "output_hashes": hashes + bytes(32),
            "outputs": (rejection, delivered),
        }
    )
    forged = fitted(refused.model_copy(update={"turns": (*refused.turns[:place], beside)}))
    assert {one.kind for one in judged_alone(forged).findings.every} == {Kind.DECISION_DIFFERS}
