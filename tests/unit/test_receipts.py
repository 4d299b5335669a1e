"""Receipts: they prove what happened to a message, and show nothing of any other."""

import base64
import io
import json
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson
import pytest
from click.testing import CliRunner

from handlers.deliberation import entitled, voting
from schemas import topics
from schemas.checkpoint import Checkpoint
from schemas.decision import Vote
from schemas.deliberation import CHANGE_POLICY, POLICY_TENANT
from schemas.envelope import SourcePosition
from schemas.receipt import Receipt
from streams.agents import control
from streams.audit.log import MemoryLog
from streams.cli.main import main
from streams.cli.receipt import make
from streams.notary.checkpoint_file import Line, lines
from streams.receipts.anchoring import anchored, read_checkpoints
from streams.receipts.collecting import collect
from streams.receipts.errors import CheckpointsUnreadableError, NotKeptError, UnknownMessageError, UnprovableError
from streams.receipts.finding import find, require
from streams.receipts.findings import Kind, Open
from streams.receipts.turns import content_id
from streams.receipts.verifying import Verdict, verify
from tests.support.deliberated import registry
from tests.support.product import SAFE_TOOL, UNKNOWN_TOOL, encoded
from tests.support.receipted import (
    anchored_receipt,
    checkpoint,
    checkpoint_over,
    id_of,
    item_of,
    lanes_under,
    public_keys,
    receipt_of,
    stranger,
    vote,
)
from tests.support.recorded import NAMING, Recorder, copy_of, installed
from tests.support.signing import approver, decide, owners

DELIVERED, RELEASED, VETOED, WAITING, EXPIRED, REFUSED = 4, 5, 8, 11, 2, 30
DAY = 24 * 3_600_000


def encoded_with_words(number: int, tool: str | None) -> bytes:
    return encoded(number, tool=tool, content={"secret": f"of {number} alone"})


def record_a_day() -> Recorder:
    lanes = lanes_under(registry())
    lanes.send(topics.IN_MESSAGES, *[encoded_with_words(n, UNKNOWN_TOOL) for n in range(4)])
    lanes.run()
    lanes.pass_time(1_000)
    lanes.pass_time(DAY)
    tools = (None, SAFE_TOOL, UNKNOWN_TOOL)
    lanes.send(topics.IN_MESSAGES, *[encoded_with_words(n, tools[n % 3]) for n in range(4, 20)])
    lanes.send(topics.IN_MESSAGES, encoded(REFUSED, constitutional_hash="0" * 16))
    lanes.run()
    lee, cal = decide("lee", item_of(lanes, RELEASED)), decide("cal", item_of(lanes, VETOED))
    vote(lanes, lee, cal, decide("sam", item_of(lanes, VETOED)))
    lanes.publish(registry(2))
    lanes.run()
    vote(lanes, decide("lee", item_of(lanes, RELEASED)), decide("sue", item_of(lanes, RELEASED)))
    vote(lanes, decide("sue", item_of(lanes, VETOED), Vote.VETO, reason="no"))
    return lanes


@pytest.fixture(scope="module")
def day() -> Recorder:
    return record_a_day()


def verdict_on(receipt: Receipt, **options: Any) -> Verdict:  # noqa: ANN401
    return verify(receipt.model_dump_json().encode(), **options)


def file_of(*signed: Checkpoint, end: bytes = b"") -> Iterator[Line]:
    return lines(io.BytesIO(b"".join(one.line() + b"\n" for one in signed) + end))


def told(verdict: Verdict) -> str:
    return "\n".join(moment.words for moment in verdict.moments)


# What is proven


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (DELIVERED, "delivered to executor"),
        (RELEASED, "released to executor, on the signatures of lee, sue"),
        (VETOED, "rejected: vetoed by sue: no"),
        (WAITING, "waits for 2 of lead/security"),
        (EXPIRED, "expired: 2 approvals were asked for; 0 stand at the deadline"),
        (REFUSED, "rejected, hash_unknown"),
    ],
)
async def test_each_story_is_proven_to_its_end(day: Recorder, number: int, says: str) -> None:
    verdict = verdict_on(await receipt_of(day, number))
    assert verdict.findings.every == []
    assert verdict.exit_code == 0
    assert says in told(verdict)
    assert "not anchored" in verdict.words


async def test_what_does_not_count_is_told_with_its_reason(day: Recorder) -> None:
    words = told(verdict_on(await receipt_of(day, VETOED)))
    assert re.search("cal approves, signed with key [0-9a-f]{16}, rejected, wrong_role: ", words)
    assert re.search("sam approves, signed with key [0-9a-f]{16}, which counts", words)


async def test_a_reopened_item_is_part_of_the_story() -> None:
    lanes = lanes_under(registry())
    lanes.send(topics.IN_MESSAGES, encoded(0, tool=UNKNOWN_TOOL))
    lanes.run()
    lanes.pass_time(1_000)
    lanes.pass_time(DAY)
    vote(lanes, decide("lee", item_of(lanes, 0), Vote.REOPEN))
    again = item_of(lanes, 0, generation=1)
    vote(lanes, decide("lee", again), decide("sam", again))
    verdict = verdict_on(await receipt_of(lanes, 0))
    assert verdict.findings.every == []
    assert "lee reopens it" in told(verdict)
    assert "released to executor" in told(verdict)


async def test_a_change_of_the_policy_is_proven_to_every_partition_that_it_came_to() -> None:
    named = {**owners("ann", "eve"), "approvers": (approver("ann"), approver("eve"))}
    lanes = lanes_under(registry(**named))
    document = orjson.loads(registry(2, **named).canonical())
    action = {"tool": CHANGE_POLICY, "arguments": {"document": document}}
    asks = encoded(0, tenant_id=POLICY_TENANT, from_agent="robot", payload={"action": action})
    lanes.send(topics.IN_MESSAGES, asks)
    lanes.run()
    vote(lanes, decide("ann", item_of(lanes, 0)), decide("eve", item_of(lanes, 0)))
    receipt = await receipt_of(lanes, 0)
    verdict = verdict_on(receipt)
    assert verdict.findings.every == []
    assert "released to" in told(verdict)
    written = [one for turn in receipt.turns for one in turn.outputs if one.topic == NAMING.topic(topics.CONTROL)]
    assert [one.partition for one in written] == [0, 1]


async def test_a_refusal_for_what_others_wait_for_is_said_to_be_unverified() -> None:
    lanes = lanes_under(registry(max_held_per_sender=1))
    lanes.send(topics.IN_MESSAGES, *[encoded(number, tool=UNKNOWN_TOOL) for number in range(4)])
    lanes.run()
    verdicts = [verdict_on(await receipt_of(lanes, number)) for number in range(4)]
    assert [verdict.exit_code for verdict in verdicts].count(3) == 2
    refused = next(verdict for verdict in verdicts if verdict.exit_code == 3)
    assert kinds(refused) == {Open.STATE_UNKNOWN}


async def test_what_a_receipt_cannot_show_is_said() -> None:
    lanes = lanes_under(registry())
    lanes.append((NAMING.topic(topics.IN_MESSAGES), 0), b"", encoded(0), (("\udcff", b"x"),))
    lanes.run()
    with pytest.raises(UnprovableError, match="a header whose name is not UTF-8"):
        await receipt_of(lanes, 0)


async def test_nothing_of_any_other_message_is_in_it(day: Recorder) -> None:
    for number in (DELIVERED, RELEASED, REFUSED):
        text = (await receipt_of(day, number)).model_dump_json()
        texts = [one for one in re.findall(r'"([A-Za-z0-9+/]{4,}={0,2})"', text) if len(one) % 4 == 0]
        seen = b"\n".join([text.encode(), *map(base64.b64decode, texts)])
        assert id_of(number).encode() in seen
        for other in {*range(20), REFUSED} - {number}:
            assert id_of(other).encode() not in seen
            assert f"of {other} alone".encode() not in seen


async def test_of_two_messages_with_one_id_one_has_to_be_named() -> None:
    topic = NAMING.topic(topics.IN_MESSAGES)
    lanes = lanes_under(registry())
    lanes.send(topics.IN_MESSAGES, encoded(1), encoded(1), encoded(2))
    lanes.run()
    log = MemoryLog(lanes.topics, {})
    with pytest.raises(UnknownMessageError, match=rf"--at {topic}/0/0\. They are {topic}/0/0, {topic}/1/0"):
        await find(log, installed(), id_of(1))
    with pytest.raises(UnknownMessageError, match="no record on"):
        await find(log, installed(), id_of(9))
    await require(log, installed(), id_of(1), SourcePosition(topic, 1, 0))
    for place in (SourcePosition(topic, 0, 1), SourcePosition(topic, 0, 9), SourcePosition("elsewhere", 0, 0)):
        with pytest.raises(UnknownMessageError, match="does not stand at"):
            await require(log, installed(), id_of(1), place)


async def test_where_the_turn_that_read_the_policy_is_not_kept_its_digest_is_proven(day: Recorder) -> None:
    begins = {(NAMING.topic(topics.IN_MESSAGES), lane): 2 for lane in range(2)}
    kept = await receipt_of(day, DELIVERED, begins)
    assert len(kept.policies) == 1
    assert verdict_on(kept).exit_code == 0
    other = registry(1, unknown_tool=9_100).canonical()
    contents = {**kept.contents, content_id(other): other}
    verdict = verdict_on(kept.model_copy(update={"policies": (content_id(other),), "contents": contents}))
    assert kinds(verdict) == {Kind.DECISION_DIFFERS}
    assert "acgs-policy was 1:" in verdict.findings.every[0].words
    with pytest.raises(NotKeptError, match="begins at 3"):
        await receipt_of(day, 6, {(NAMING.topic(topics.IN_MESSAGES), 0): 3})


async def test_a_vote_that_is_not_kept_as_it_came_in_is_proven_by_what_it_did(day: Recorder) -> None:
    place = NAMING.topic(topics.IN_DECISIONS), 0
    votes = [record.offset for record in day.log(place) if item_of(day, RELEASED).item_id.encode() in record.value]
    kept = [turns_of(await receipt_of(day, RELEASED, {place: begin}), topics.GATEWAY_DECISIONS) for begin in votes]
    assert len(kept[0]) > len(kept[-1])
    verdict = verdict_on(await receipt_of(day, RELEASED, {place: votes[-1] + 1}))
    assert verdict.findings.every == []
    assert "released to executor" in told(verdict)


async def test_a_log_that_was_changed_gives_no_receipt(day: Recorder) -> None:
    changed = copy_of(day.topics)
    log = changed[NAMING.topic(topics.IN_MESSAGES)][0]
    at = next(index for index, record in enumerate(log) if id_of(DELIVERED).encode() in (record.value or b""))
    record = log[at]
    log[at] = record._replace(value=(record.value or b"").replace(b"alone", b"aloud"))  # type: ignore[attr-defined]
    source = await find(MemoryLog(changed, {}), installed(), id_of(DELIVERED))
    with pytest.raises(UnprovableError, match="'acgs audit verify' says more"):
        await collect(MemoryLog(changed, {}), installed(), id_of(DELIVERED), source)


# The anchor


async def test_it_is_anchored_at_the_first_checkpoint_that_covers_its_turns(day: Recorder) -> None:
    early = checkpoint(day, 1, sizes=(3, 3))
    late = checkpoint(day, 2, previous=early.digest)
    receipt = await anchored_receipt(day, RELEASED, early, late)
    assert receipt.checkpoint == late
    verdict = verdict_on(receipt, keys=public_keys())
    assert (verdict.exit_code, verdict.document()["anchored"]) == (0, True)
    assert "anchored at checkpoint 2" in verdict.words
    known = verdict_on(receipt, checkpoints=file_of(early, late))
    assert (known.exit_code, known.document()["anchored"]) == (0, True)
    unchecked = verdict_on(receipt)
    assert (unchecked.exit_code, unchecked.document()["anchored"]) == (0, False)
    with pytest.raises(UnprovableError, match="no checkpoint of the file covers"):
        await anchored(await receipt_of(day, RELEASED), MemoryLog(day.topics, {}), installed(), [early])


def test_the_notarys_file_is_read_while_it_is_written_and_said_to_be_none_if_it_is_none(
    day: Recorder, tmp_path: Path
) -> None:
    file, signed = tmp_path / "checkpoints.jsonl", checkpoint(day)
    file.write_bytes(signed.line() + b"\n" + signed.line()[:40])
    assert list(read_checkpoints(file)) == [signed]
    file.write_bytes(signed.line() + b"\n" + signed.line()[:40] + b"\n")
    with pytest.raises(CheckpointsUnreadableError, match=r"line 2, is no checkpoint"):
        list(read_checkpoints(file))
    with pytest.raises(CheckpointsUnreadableError, match="cannot be read"):
        list(read_checkpoints(tmp_path))


async def test_a_checkpoint_by_another_key_or_of_another_file_is_found(day: Recorder) -> None:
    forged = checkpoint(day, signer=stranger())
    receipt = await anchored_receipt(day, DELIVERED, forged)
    assert kinds(verdict_on(receipt, keys=public_keys())) == {Kind.CHECKPOINT_INVALID}
    posing = receipt.model_copy(update={"checkpoint": forged.model_copy(update={"key_id": next(iter(public_keys()))})})
    found = verdict_on(posing, keys=public_keys()).findings.every[0]
    assert found.kind is Kind.CHECKPOINT_INVALID
    assert "has not signed checkpoint 1 as it stands" in found.words
    assert kinds(verdict_on(receipt, checkpoints=file_of(checkpoint(day)))) == {Kind.CHECKPOINT_INVALID}
    later = await anchored_receipt(day, DELIVERED, checkpoint(day, 2, previous=checkpoint(day).digest))
    assert kinds(verdict_on(later, checkpoints=file_of(checkpoint(day)))) == {Open.NOT_ANCHORED}
    assert verdict_on(later, checkpoints=file_of(checkpoint(day))).exit_code == 3
    assert verdict_on(await receipt_of(day, DELIVERED), keys=public_keys()).exit_code == 3
    trails = [log for _, log in sorted(day.topics[NAMING.topic(topics.AUDIT)].items())]
    elsewhere = receipt.model_copy(update={"checkpoint": checkpoint_over(trails, "other.")})
    assert kinds(verdict_on(elsewhere, keys=public_keys())) == {Kind.CHECKPOINT_INVALID}


def row_of(day: Recorder) -> tuple[Checkpoint, ...]:
    first = checkpoint(day, 1, sizes=(1, 1))
    second = checkpoint(day, 2, sizes=(3, 3), previous=first.digest)
    third = checkpoint(day, 3, previous=second.digest)
    return first, second, third, checkpoint(day, 4, previous=third.digest)


async def test_a_file_of_checkpoints_is_held_to_itself_wherever_it_was_changed(day: Recorder) -> None:
    first, second, third, fourth = row_of(day)
    receipt = await anchored_receipt(day, DELIVERED, third)
    earlier = second.model_copy(update={"signed_at": "2026-05-03T13:00:00Z"})
    for keys in ({}, public_keys()):
        assert verdict_on(receipt, keys=keys, checkpoints=file_of(first, second, third, fourth)).exit_code == 0
        cut_off = file_of(first, second, third, end=fourth.line()[:50])
        assert verdict_on(receipt, keys=keys, checkpoints=cut_off).exit_code == 0
        for changed in (
            (first, earlier, third, fourth),
            (first, third, fourth),
            (first, second, third, third, fourth),
            (first, second, third, checkpoint(day, 4, previous=second.digest)),
        ):
            verdict = verdict_on(receipt, keys=keys, checkpoints=file_of(*changed))
            assert (verdict.exit_code, kinds(verdict)) == (1, {Kind.CHECKPOINT_BROKEN})
            assert verdict.words.startswith("NOT PROVEN: your file of checkpoints was changed")
            assert verdict.document()["anchored"] is False
    last = fourth.model_copy(update={"signed_at": "2026-05-03T13:00:00Z"})
    by_signature = verdict_on(receipt, keys=public_keys(), checkpoints=file_of(first, second, third, last))
    assert kinds(by_signature) == {Kind.CHECKPOINT_BROKEN}
    assert "line 4: checkpoint 4 was changed" in by_signature.findings.every[0].words


async def test_a_file_of_checkpoints_is_not_held_in_memory(day: Recorder) -> None:
    receipt = await anchored_receipt(day, DELIVERED, checkpoint(day))
    peaks: list[int] = []
    for count in (20, 400):
        made = [checkpoint(day)]
        for number in range(2, count + 1):
            made.append(checkpoint(day, number, previous=made[-1].digest))
        content = io.BytesIO(b"".join(one.line() + b"\n" for one in made))
        del made
        tracemalloc.start()
        try:
            assert verdict_on(receipt, checkpoints=lines(content)).exit_code == 0
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000


async def test_what_is_no_file_of_checkpoints_is_wrong_usage_and_a_changed_one_is_a_difference(
    day: Recorder, tmp_path: Path
) -> None:
    first, second, third, fourth = row_of(day)
    receipt, file = tmp_path / "receipt.json", tmp_path / "file"
    receipt.write_text((await anchored_receipt(day, DELIVERED, third)).model_dump_json(indent=1))
    whole = b"".join(one.line() + b"\n" for one in (first, second, third, fourth))
    for content, code, words in (
        (whole, 0, "which your file of checkpoints has"),
        (whole.replace(b"14:00", b"13:00", 1), 1, "checkpoint-broken"),
        (b"x" + whole, 1, "checkpoint-broken"),
        (b"", 3, "not-anchored"),
        (first.line()[:70], 3, "not-anchored"),
        (b"my notes", 2, "is no file of checkpoints"),
        (b"my notes\nof today\n", 2, "is no file of checkpoints"),
        (receipt.read_bytes(), 2, "is no file of checkpoints"),
    ):
        file.write_bytes(content)
        result = CliRunner().invoke(main, ["receipt", "verify", str(receipt), "--checkpoint", str(file)])
        assert (result.exit_code, words in " ".join(result.output.split())) == (code, True), result.output


async def test_a_proof_for_another_tree_is_found(day: Recorder) -> None:
    receipt = await anchored_receipt(day, DELIVERED)
    first, second, *rest = receipt.turns
    crossed = (
        first.model_copy(update={"proof": second.proof}),
        second.model_copy(update={"proof": first.proof}),
        *rest,
    )
    assert kinds(verdict_on(receipt.model_copy(update={"turns": crossed}), keys=public_keys())) == {Kind.NOT_IN_TREE}
    bare = receipt.model_copy(update={"turns": tuple(one.model_copy(update={"proof": None}) for one in receipt.turns)})
    assert kinds(verdict_on(bare, keys=public_keys())) == {Kind.NOT_IN_TREE}
    other = receipt.model_copy(update={"checkpoint": checkpoint(day, sizes=(5, 5))})
    assert kinds(verdict_on(other, keys=public_keys())) == {Kind.NOT_IN_TREE}


# Attacks


def kinds(verdict: Verdict) -> set[object]:
    return {finding.kind for finding in verdict.findings.every}


def swapped(receipt: Receipt, old: bytes, new: bytes) -> Receipt:
    """The same with another content wherever the old one is."""
    name, other = map(content_id, (old, new))
    document = receipt.model_dump_json().replace(name, other)
    made = json.loads(document)
    made["contents"][other] = base64.b64encode(new).decode()
    return Receipt.model_validate_json(orjson.dumps(made))


async def test_one_byte_of_the_message_is_found_and_named(day: Recorder) -> None:
    receipt = await receipt_of(day, DELIVERED)
    value = next(content for content in receipt.contents.values() if id_of(DELIVERED).encode() in content)
    verdict = verdict_on(swapped(receipt, value, value.replace(b"alone", b"aloud")))
    assert kinds(verdict) == {Kind.RECORD_CHANGED}
    assert "in.messages/0/" in verdict.findings.every[0].words
    silent = receipt.model_copy(
        update={"contents": {n: c.replace(b"alone", b"aloud") for n, c in receipt.contents.items()}}
    )
    assert kinds(verdict_on(silent)) == {Kind.DAMAGED, Kind.RECORD_CHANGED}


async def test_another_policy_is_found(day: Recorder) -> None:
    receipt = await receipt_of(day, RELEASED)
    document = next(content for content in receipt.contents.values() if content == registry(2).canonical())
    verdict = verdict_on(swapped(receipt, document, registry(2, unknown_tool=9_100).canonical()))
    assert kinds(verdict) == {Kind.RECORD_CHANGED}
    assert any(f"{topics.CONTROL}/" in finding.words for finding in verdict.findings.every)


async def test_another_messages_turn_or_audit_record_is_found(day: Recorder) -> None:
    receipt, other = await receipt_of(day, DELIVERED), await receipt_of(day, 7)
    mine, theirs = receipt.turns[1], other.turns[1]
    taken = mine.model_copy(update={"record": theirs.record, "previous": theirs.previous})
    assert Kind.TURN_CHANGED in kinds(verdict_on(with_turn(receipt, 1, taken)))
    foreign = other.model_copy(update={"message_id": receipt.message_id, "source": receipt.source})
    verdict = verdict_on(foreign)
    assert kinds(verdict) == {Kind.STORY_BROKEN}
    assert "is not about message" in verdict.findings.every[0].words


async def test_a_removed_vote_is_found(day: Recorder) -> None:
    receipt = await receipt_of(day, RELEASED)
    votes = [
        index
        for index in turns_of(receipt, topics.DELIBERATOR)
        if any(b"decision_id" in receipt.contents.get(one.value or "", b"") for one in receipt.turns[index].inputs)
    ]
    assert len(votes) >= 2
    verdict = verdict_on(without(receipt, votes[0]))
    assert kinds(verdict) == {Kind.DECISION_DIFFERS}
    assert "what follows is" in verdict.findings.every[0].words


async def test_a_time_that_the_audit_records_do_not_allow_is_found(day: Recorder) -> None:
    receipt = await receipt_of(day, EXPIRED)
    turn = receipt.turns[-1]
    for late in (-2 * DAY, DAY):
        moved = [one.model_copy(update={"time": one.time + late, "clock": one.clock + late}) for one in turn.inputs]
        verdict = verdict_on(with_turn(receipt, -1, turn.model_copy(update={"inputs": tuple(moved)})))
        assert kinds(verdict) == {Kind.TIME_IMPOSSIBLE}


async def test_a_turn_with_a_link_or_the_message_missing_is_found(day: Recorder) -> None:
    receipt = await receipt_of(day, DELIVERED)
    reading = [index for index, turn in enumerate(receipt.turns) if turn.outputs]
    for gone, words in ((reading[0], "no turn that is shown wrote"), (reading[1], None)):
        verdict = verdict_on(without(receipt, gone))
        if words is None:
            assert verdict.exit_code == 0  # a shorter story is a true one, and says so
            assert "delivered" not in told(verdict)
        else:
            assert kinds(verdict) == {Kind.STORY_BROKEN}
            assert words in verdict.findings.every[0].words


def with_turn(receipt: Receipt, index: int, turn: Any) -> Receipt:  # noqa: ANN401
    turns = [*receipt.turns]
    turns[index] = turn
    return receipt.model_copy(update={"turns": tuple(turns)})


def only_used(receipt: Receipt) -> Receipt:
    used = {one.value for turn in receipt.turns for one in (*turn.inputs, *turn.outputs)} | set(receipt.policies)
    return receipt.model_copy(update={"contents": {n: c for n, c in receipt.contents.items() if n in used}})


def turns_of(receipt: Receipt, agent: str) -> list[int]:
    return [index for index, turn in enumerate(receipt.turns) if f'"agent":"{agent}"'.encode() in turn.record]


def without(receipt: Receipt, *gone: int) -> Receipt:
    left = tuple(turn for index, turn in enumerate(receipt.turns) if index not in gone)
    return only_used(receipt.model_copy(update={"turns": left}))


async def test_a_policy_that_is_not_shown_as_the_lane_read_it_does_not_count(day: Recorder) -> None:
    receipt = await receipt_of(day, RELEASED)
    second = registry(2).canonical()
    bringing = next(
        index
        for index in turns_of(receipt, topics.DELIBERATOR)
        if any(receipt.contents.get(one.value or "") == second for one in receipt.turns[index].inputs)
    )
    bare = without(receipt, bringing)
    assert kinds(verdict_on(bare)) == {Kind.POLICY_DIFFERS}
    contents = {**bare.contents, content_id(second): second}
    by_itself = bare.model_copy(update={"policies": (content_id(second),), "contents": contents})
    assert kinds(verdict_on(by_itself)) == {Kind.POLICY_DIFFERS}


async def test_every_policy_that_a_turn_read_is_shown() -> None:
    lanes = lanes_under(registry())
    lanes.publish(registry(2))
    lanes.send(topics.IN_MESSAGES, encoded(0))
    lanes.run()
    receipt = await receipt_of(lanes, 0)
    turn = receipt.turns[0]
    assert verdict_on(receipt).exit_code == 0
    hidden = only_used(with_turn(receipt, 0, turn.model_copy(update={"inputs": turn.inputs[1:]})))
    assert kinds(verdict_on(hidden)) == {Kind.STORY_BROKEN}
    assert "the turn read 2 policies, 1 are shown" in verdict_on(hidden).findings.every[0].words


async def test_a_policy_that_came_into_force_out_of_turn_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that puts in force what is not the next epoch, and says so in its trail."""
    follow = control.follow
    with monkeypatch.context() as patched:
        patched.setattr(control, "follow", lambda document, _current: follow(document, None))
        lanes = lanes_under(registry())
        lanes.publish(registry(3))
        lanes.send(topics.IN_MESSAGES, encoded(0))
        lanes.run()
        receipt = await receipt_of(lanes, 0)
    assert kinds(verdict_on(receipt)) == {Kind.POLICY_DIFFERS}


async def test_more_than_the_story_or_less_than_the_message_is_found(day: Recorder) -> None:
    receipt = await receipt_of(day, REFUSED)
    stray = receipt.model_copy(update={"contents": {**receipt.contents, content_id(b"more"): b"more"}})
    assert kinds(verdict_on(stray)) == {Kind.DAMAGED}
    reading = next(index for index, turn in enumerate(receipt.turns) if turn.outputs)
    verdict = verdict_on(without(receipt, reading))
    assert kinds(verdict) == {Kind.STORY_BROKEN}
    assert "the message itself" in verdict.findings.every[0].words
    renamed = receipt.model_copy(update={"message_id": id_of(DELIVERED)})
    assert kinds(verdict_on(renamed)) == {Kind.STORY_BROKEN}
    text = receipt.model_dump_json()
    name, content = next((n, c) for n, c in receipt.contents.items() if len(c) % 3 == 1)
    whole = base64.b64encode(content).decode()
    other = whole[:-3] + chr(ord(whole[-3]) + 1) + "=="
    assert base64.b64decode(other) == content
    assert kinds(verify(text.replace(f'"{name}":"{whole}"', f'"{name}":"{other}"').encode())) == {Kind.DAMAGED}


async def test_a_release_on_a_vote_of_somebody_not_entitled_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that counts what it must not, with a trail that says so in all honesty."""
    with monkeypatch.context() as patched:
        patched.setattr(voting, "check_approver", lambda *_: None)
        patched.setattr(entitled, "check_approver", lambda *_: None)
        patched.setattr(entitled, "roles", lambda *_: frozenset({"lead", "security"}))
        lanes = lanes_under(registry())
        lanes.send(topics.IN_MESSAGES, encoded(0, tool=UNKNOWN_TOOL))
        lanes.run()
        vote(lanes, decide("lee", item_of(lanes, 0)), decide("cal", item_of(lanes, 0)))
        receipt = await receipt_of(lanes, 0)
    verdict = verdict_on(receipt)
    assert {Kind.SIGNATURE_INVALID, Kind.DECISION_DIFFERS} <= kinds(verdict)
    found = next(one for one in verdict.findings.every if one.kind is Kind.SIGNATURE_INVALID)
    assert "the approval of 'cal' does not stand, wrong_role" in found.words


async def test_decisions_of_another_release_are_said_to_be_unverified(
    day: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = await receipt_of(day, DELIVERED)
    monkeypatch.setattr("streams.agents.triage.triage.DECISION_VERSION", 2)
    verdict = verdict_on(receipt)
    assert verdict.exit_code == 3
    assert kinds(verdict) == {Open.OTHER_RELEASE}


async def test_what_is_no_receipt_is_said_to_be_none(day: Recorder) -> None:
    whole = (await receipt_of(day, DELIVERED)).model_dump_json().encode()
    for content in (b"", b"{}", b"\xff", whole[:-10], whole.replace(b'{"v":1', b'{"v":2', 1), b"[" * 9_000):
        verdict = verify(content)
        assert kinds(verdict) == {Kind.DAMAGED}
        assert verdict.exit_code == 1


async def test_a_turn_that_somebody_put_into_the_trail_is_not_anchored_by_being_in_the_tree() -> None:
    """A tree holds whatever stands on the topic; the notary signs how much of it continues no lane's chain."""
    forged = lanes_under(registry())
    forged.send(topics.IN_MESSAGES, encoded(0, tool=SAFE_TOOL))
    forged.run()
    genuine = lanes_under(registry())
    genuine.send(topics.IN_MESSAGES, encoded(1, tool=SAFE_TOOL))
    genuine.run()
    audit = NAMING.topic(topics.AUDIT)
    for partition, log in forged.topics[audit].items():
        for record in log:
            genuine.append((audit, partition), b"nobody", record.value)
    receipt, log = await receipt_of(forged, 0), MemoryLog(genuine.topics, {})
    made = await anchored(receipt, log, installed(), [checkpoint(genuine)])
    verdict = verdict_on(made, keys=public_keys())
    assert kinds(verdict) == {Open.NOT_ONE_CHAIN}
    assert verdict.exit_code == 3


async def test_a_lane_that_the_checkpoint_has_no_partition_for_is_in_no_tree(day: Recorder) -> None:
    receipt = await anchored_receipt(day, DELIVERED)
    trails = [log for _, log in sorted(day.topics[NAMING.topic(topics.AUDIT)].items())]
    lanes = {orjson.loads(turn.record)["lane"] for turn in receipt.turns}
    assert max(lanes) > 0
    one = receipt.model_copy(update={"checkpoint": checkpoint_over([trails[0]], NAMING.prefix)})
    assert Kind.NOT_IN_TREE in kinds(verdict_on(one, keys=public_keys()))


async def test_an_id_is_looked_for_as_it_was_written() -> None:
    written = id_of(0).upper()
    lanes = lanes_under(registry())
    lanes.send(topics.IN_MESSAGES, encoded(0, message_id=written))
    lanes.run()
    asked = make.make_context("make", [written]).params["message_id"]
    log = MemoryLog(lanes.topics, {})
    receipt = await collect(log, installed(), asked, await find(log, installed(), asked))
    assert (verdict_on(receipt).exit_code, receipt.message_id) == (0, written)
    with pytest.raises(click.BadParameter, match="is no message_id"):
        make.make_context("make", [written.replace("-", "")])
