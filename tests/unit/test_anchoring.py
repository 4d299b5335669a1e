"""The trail held to checkpoints: what nobody finds inside the log is found, and named."""

import tracemalloc
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas import topics
from schemas.checkpoint import Checkpoint
from streams.audit.anchoring import Anchoring, Checkpoints, compared
from streams.audit.findings import Kind, Open
from streams.audit.log import MemoryLog, Place
from streams.audit.verdict import Verdict
from streams.audit.verifying import verify
from streams.engine.records import InputRecord, Record
from streams.keys import SigningKey
from streams.notary.checkpoint_file import lines
from tests.support.notarized import AUDIT, KEY, KEYS, checkpoints_of, notary, read, signed, trail, written
from tests.support.product import UNKNOWN_TOOL, encoded, policy
from tests.support.recorded import PARTITIONS, Recorder, audited, copy_of, installed

SPINE = (topics.GATEWAY_MESSAGES, topics.TRIAGE)


def recorded(*batches: tuple[int, int], tool: str | None = None) -> Recorder:
    lanes = Recorder(*SPINE)
    lanes.publish(policy(1))
    for first, end in batches:
        lanes.send(topics.IN_MESSAGES, *[encoded(n, tool=tool) for n in range(first, end)])
        lanes.run()
    return lanes


@pytest.fixture(scope="module")
def lanes() -> Recorder:
    return recorded((0, 20), (20, 40))


@pytest.fixture(scope="module")
def made(lanes: Recorder) -> list[Checkpoint]:
    return checkpoints_of(trail(lanes))


async def verdict_on(lanes: Recorder, checkpoints: Checkpoints, **options: Any) -> Verdict:  # noqa: ANN401
    return await audited(lanes.topics, lanes.agents, checkpoints=checkpoints, **options)


def kinds(verdict: Verdict) -> set[str]:
    return {finding.kind.value for finding in verdict.findings.first.values()}


def words(verdict: Verdict, kind: Kind | Open) -> str:
    return verdict.findings.first[kind].words


# What is as it was signed


async def test_decisions_are_anchored_at_the_last_checkpoint_and_what_came_after_is_said(
    lanes: Recorder, made: list[Checkpoint], tmp_path: Path
) -> None:
    records = trail(lanes)
    verdict = await verdict_on(lanes, written(tmp_path / "file", made))
    assert kinds(verdict) == set()
    assert verdict.exit_code == 0
    last = made[-1]
    assert verdict.words == f"consistent, and anchored at checkpoint {last.number} of {last.signed_at}"
    after = len(records) - last.size
    assert 0 < after < 5
    assert verdict.turns_after == after
    late = await verdict_on(lanes, written(tmp_path / "file", made[:1]))
    assert late.turns_after == len(records) - 5
    assert 0 < late.anchored < verdict.anchored < verdict.decisions
    whole = await verdict_on(lanes, written(tmp_path / "file", checkpoints_of(records, len(records))))
    assert (whole.anchored, whole.turns_after) == (whole.decisions, 0)
    document = verdict.document()
    assert document["anchored"] is True
    anchor = document["anchor"]
    assert isinstance(anchor, dict)
    assert (anchor["number"], anchor["signed_at"], anchor["checkpoints"]) == (last.number, last.signed_at, len(made))
    assert (anchor["decisions_anchored"], anchor["turns_after"]) == (verdict.anchored, after)


async def test_some_lanes_are_anchored_by_the_same_checkpoints(
    lanes: Recorder, made: list[Checkpoint], tmp_path: Path
) -> None:
    verdict = await audited(
        lanes.topics, lanes.agents[1:], checkpoints=written(tmp_path / "file", made), accounts=False
    )
    assert kinds(verdict) == set()
    assert verdict.is_anchored
    assert 0 < verdict.anchored <= verdict.decisions


async def test_a_line_that_was_cut_off_while_it_was_copied_does_not_count(
    lanes: Recorder, made: list[Checkpoint], tmp_path: Path
) -> None:
    checkpoints = written(tmp_path / "file", made)
    checkpoints.files[0].write_bytes(checkpoints.files[0].read_bytes()[:-100])
    verdict = await verdict_on(lanes, checkpoints)
    assert kinds(verdict) == set()
    assert verdict.anchor is not None
    assert verdict.anchor.last == made[-2]


async def test_what_the_notary_signs_while_an_audit_runs_is_left_to_the_next_one(
    lanes: Recorder, made: list[Checkpoint], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    checkpoints = written(file, made[:2])
    file.write_bytes(file.read_bytes() + b"".join(one.line() + b"\n" for one in made[2:]))
    as_of_then = copy_of(lanes.topics)
    for partition, tree in enumerate(made[1].trees):
        del as_of_then[AUDIT][partition][tree.size :]
    verdict = await audited(as_of_then, lanes.agents, checkpoints=checkpoints, accounts=False)
    assert not {Kind.HISTORY_REWRITTEN, Kind.CHECKPOINT_BROKEN} & kinds(verdict)
    assert verdict.anchor is not None
    assert verdict.anchor.last == made[1]


# Whoever owns broker and workers


async def test_a_whole_history_that_was_written_anew_is_found(made: list[Checkpoint], tmp_path: Path) -> None:
    forged = recorded((0, 20), (20, 40), tool=UNKNOWN_TOOL)
    assert kinds(await audited(forged.topics, forged.agents)) == set()
    verdict = await verdict_on(forged, written(tmp_path / "file", made))
    assert kinds(verdict) == {Kind.HISTORY_REWRITTEN}
    assert (verdict.exit_code, verdict.document()["anchored"], verdict.anchored) == (1, False, 0)
    assert "not those that checkpoint 1 of 2026-05-03T14:00:00.000Z was signed for" in words(
        verdict, Kind.HISTORY_REWRITTEN
    )


async def test_a_history_that_was_written_anew_from_some_turn_on_is_placed_between_two_checkpoints(
    made: list[Checkpoint], tmp_path: Path
) -> None:
    forged = recorded((0, 20), (50, 70))
    assert kinds(await audited(forged.topics, forged.agents)) == set()
    verdict = await verdict_on(forged, written(tmp_path / "file", made))
    assert kinds(verdict) == {Kind.HISTORY_REWRITTEN}
    assert verdict.anchor is not None
    assert verdict.anchor.last is not None
    number = verdict.anchor.last.number
    said = words(verdict, Kind.HISTORY_REWRITTEN)
    assert 1 < number < len(made) - 1
    assert f"that checkpoint {number + 1} of" in said
    assert f"are those of checkpoint {number}; lanes that end otherwise: gateway-messages/" in said


async def test_a_history_that_was_written_anew_with_a_key_of_ones_own_is_found(tmp_path: Path) -> None:
    forged, own = recorded((0, 20), tool=UNKNOWN_TOOL), SigningKey.generate()
    verdict = await verdict_on(forged, written(tmp_path / "file", checkpoints_of(trail(forged), key=own)))
    assert kinds(verdict) == {Kind.CHECKPOINT_BROKEN}
    assert f"signed by key {own.id}, which is not the notary's ({KEY.id})" in words(verdict, Kind.CHECKPOINT_BROKEN)


async def test_a_tail_that_is_cut_everywhere_is_found(made: list[Checkpoint], tmp_path: Path) -> None:
    short = recorded((0, 20))
    assert kinds(await audited(short.topics, short.agents)) == set()
    verdict = await verdict_on(short, written(tmp_path / "file", made))
    assert kinds(verdict) == {Kind.TRAIL_CUT}
    assert "are missing at its end" in words(verdict, Kind.TRAIL_CUT)


async def test_an_audit_record_under_a_key_of_no_lane_is_in_the_trees_too(
    lanes: Recorder, made: list[Checkpoint], tmp_path: Path
) -> None:
    changed = copy_of(lanes.topics)
    changed[AUDIT][0].insert(2, changed[AUDIT][0][2]._replace(key=b"nobody/0"))  # type: ignore[attr-defined]
    assert kinds(await audited(changed, lanes.agents, accounts=False)) == set()
    verdict = await audited(changed, lanes.agents, checkpoints=written(tmp_path / "file", made))
    assert kinds(verdict) == {Kind.HISTORY_REWRITTEN, Kind.CHAIN_BROKEN}


async def test_a_broker_that_shows_the_signed_trail_only_to_who_compares_trees_is_found_out(
    lanes: Recorder, made: list[Checkpoint], tmp_path: Path
) -> None:
    forged = recorded((0, 20), (20, 40), tool=UNKNOWN_TOOL)

    class TwoFaced(MemoryLog):
        """Shows the forged log to the audits of lanes, and the trail that was signed afterwards."""

        shown = 0

        async def read(self, place: Place, since: int) -> AsyncGenerator[Sequence[Record], None]:
            self.shown += place[0] == AUDIT
            is_after = place[0] == AUDIT and self.shown > len(SPINE) * PARTITIONS
            async for records in (signed_log if is_after else super()).read(place, since):
                yield records

    signed_log = MemoryLog(lanes.topics, {})
    verdict = await verify(
        TwoFaced(forged.topics, {}),
        installed(),
        forged.agents,
        lanes=range(PARTITIONS),
        checkpoints=written(tmp_path / "file", made),
    )
    assert kinds(verdict) == {Kind.HISTORY_REWRITTEN}
    assert "it is not the same for everybody" in words(verdict, Kind.HISTORY_REWRITTEN)


# Whoever gets at the file


def without(made: list[Checkpoint], index: int) -> list[bytes]:
    return [one.line() for one in made if one is not made[index]]


def swapped(made: list[Checkpoint]) -> list[bytes]:
    rows = [one.line() for one in made]
    return [rows[0], rows[2], rows[1], *rows[3:]]


def changed(made: list[Checkpoint], old: bytes, new: bytes) -> list[bytes]:
    rows = [one.line() for one in made]
    assert old in rows[2]
    return [*rows[:2], rows[2].replace(old, new, 1), *rows[3:]]


@pytest.mark.parametrize(
    ("tamper", "last", "says"),
    [
        (lambda made: without(made, 0), 0, "checkpoint 1 is missing before checkpoint 2"),
        (lambda made: without(made, 2), 2, "checkpoint 3 is missing before checkpoint 4"),
        (swapped, 1, "checkpoint 2 is missing before checkpoint 3"),
        (lambda made: [one.line() for one in (*made[:3], made[1])], 3, "checkpoint 2 stands after checkpoint 3"),
        (lambda made: [one.line() for one in (*made[:3], made[2])], 3, "checkpoint 3 stands after checkpoint 3"),
        (lambda made: changed(made, b"2026-05-03", b"2026-05-04"), 2, "has not signed it as it stands"),
        (lambda made: changed(made, b'"seq":', b'"seq":1'), 2, "has not signed it as it stands"),
        (lambda made: changed(made, b'{"cluster_id"', b'{ "cluster_id"'), 2, "it is not canonical JSON"),
        (lambda made: [made[0].line(), b"", made[1].line()], 1, "it is no checkpoint"),
        (lambda made: [made[0].line(), b"\xff" * 9, made[1].line()], 1, "it is no checkpoint"),
    ],
)
async def test_a_file_that_was_tampered_with_is_found_and_what_stands_before_still_counts(
    lanes: Recorder,
    made: list[Checkpoint],
    tmp_path: Path,
    *,
    tamper: Callable[[list[Checkpoint]], list[bytes]],
    last: int,
    says: str,
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"".join(line + b"\n" for line in tamper(made)))
    verdict = await verdict_on(lanes, Checkpoints.as_of_now((file,), KEYS))
    assert kinds(verdict) == {Kind.CHECKPOINT_BROKEN}
    assert says in words(verdict, Kind.CHECKPOINT_BROKEN)
    assert verdict.findings.first[Kind.CHECKPOINT_BROKEN].at == f"line {last + 1}"
    assert verdict.anchor is not None
    assert (verdict.anchor.last.number if verdict.anchor.last else 0) == last


async def test_a_checkpoint_with_a_foreign_signature_is_found(
    lanes: Recorder, made: list[Checkpoint], tmp_path: Path
) -> None:
    other = checkpoints_of(trail(lanes), key=SigningKey.generate())
    mixed = [*made[:2], made[2].model_copy(update={"signature": other[2].signature}), *made[3:]]
    verdict = await verdict_on(lanes, written(tmp_path / "file", mixed))
    assert kinds(verdict) == {Kind.CHECKPOINT_BROKEN}
    mixed = [*made[:2], other[2], *made[3:]]
    verdict = await verdict_on(lanes, written(tmp_path / "file", mixed))
    assert "which is not the notary's" in words(verdict, Kind.CHECKPOINT_BROKEN)


async def test_two_forks_in_one_file_are_found(lanes: Recorder, made: list[Checkpoint], tmp_path: Path) -> None:
    fork = checkpoints_of(trail(lanes), every=4)
    verdict = await verdict_on(lanes, written(tmp_path / "file", [*made[:2], fork[1], made[2]]))
    assert kinds(verdict) == {Kind.CHECKPOINT_FORKED}
    assert f"there are two checkpoints 2, and key {KEY.id} has signed both" in words(verdict, Kind.CHECKPOINT_FORKED)
    verdict = await verdict_on(lanes, written(tmp_path / "file", [*made[:2], *fork[2:]]))
    assert kinds(verdict) == {Kind.CHECKPOINT_FORKED}
    assert "signed as one after another checkpoint 2" in words(verdict, Kind.CHECKPOINT_FORKED)


async def test_two_forks_in_two_files_that_both_keep_to_the_log_are_found(
    lanes: Recorder, made: list[Checkpoint], tmp_path: Path
) -> None:
    one = written(tmp_path / "one", made).files[0]
    other = written(tmp_path / "other", [*made[:1], *_continued(lanes, made[0])]).files[0]
    verdict = await verdict_on(lanes, Checkpoints.as_of_now((one, other), KEYS))
    assert kinds(verdict) == {Kind.CHECKPOINT_FORKED}
    assert "have two checkpoints 2" in words(verdict, Kind.CHECKPOINT_FORKED)


def _continued(lanes: Recorder, last: Checkpoint) -> list[Checkpoint]:
    """As a notary would go on that had lost all but its first checkpoint."""
    one = notary(last)
    read(one, trail(lanes)[:12])
    return [signed(one)]


def test_a_copy_that_goes_on_shows_that_the_file_has_lost_its_end(made: list[Checkpoint], tmp_path: Path) -> None:
    whole, short = written(tmp_path / "whole", made).files[0], written(tmp_path / "short", made[:2]).files[0]
    found = compared(Checkpoints.as_of_now((short, whole), KEYS), 1)
    assert "has lost its end" in found.first[Kind.CHECKPOINT_BROKEN].words
    assert compared(Checkpoints.as_of_now((whole, short), KEYS), 1).first == {}


async def test_a_notary_that_lies_about_the_heads_of_its_own_trees_is_found(
    lanes: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = notary()
    read(one, trail(lanes)[:5])
    heads = one.trees.heads()
    monkeypatch.setattr(one.trees, "heads", lambda: heads[1:])
    verdict = await verdict_on(lanes, written(tmp_path / "file", [signed(one)]))
    assert kinds(verdict) == {Kind.CHECKPOINT_BROKEN}
    assert "names heads of lanes that are not those" in words(verdict, Kind.CHECKPOINT_BROKEN)


# What cannot be told


async def test_without_its_beginning_the_trail_cannot_be_held_to_anything(
    lanes: Recorder, made: list[Checkpoint], tmp_path: Path
) -> None:
    changed = copy_of(lanes.topics)
    changed[AUDIT][1] = changed[AUDIT][1][1:]
    checkpoints = written(tmp_path / "file", made)
    verdict = await audited(changed, lanes.agents, begins={(AUDIT, 1): 1}, checkpoints=checkpoints, accounts=False)
    assert Open.TRAIL_DELETED in kinds(verdict)
    assert Kind.HISTORY_REWRITTEN not in kinds(verdict)
    assert verdict.exit_code == 3
    assert not verdict.is_anchored


async def test_a_file_without_a_checkpoint_anchors_nothing(lanes: Recorder, tmp_path: Path) -> None:
    verdict = await verdict_on(lanes, written(tmp_path / "file", []))
    assert kinds(verdict) == {Open.NO_CHECKPOINT}
    assert (verdict.exit_code, verdict.is_anchored) == (3, False)
    assert "not anchored: no checkpoint holds it" in verdict.words


# Memory


class Endless(MemoryLog):
    """A long trail of one lane that nobody keeps."""

    def __init__(self, length: int) -> None:
        super().__init__({}, {})
        self._length = length

    async def read(self, place: Place, since: int) -> AsyncGenerator[Sequence[Record], None]:
        del since
        for begin in range(0, self._length if place[1] == 0 else 0, 100):
            yield [
                InputRecord(AUDIT, 0, at, 0, b"triage/0", b'{"agent":"triage","lane":0,"seq":%d}' % (at + 1))
                for at in range(begin, begin + 100)
            ]


async def test_memory_does_not_grow_with_the_trail_or_the_file(tmp_path: Path) -> None:
    file, one = tmp_path / "file", notary()
    with file.open("wb") as opened:
        async for records in Endless(20_000).read((AUDIT, 0), 0):
            read(one, records)
            opened.write(signed(one).line() + b"\n")

    async def peak(length: int) -> int:
        tracemalloc.start()
        try:
            with file.open("rb") as opened:
                first = (line for line in lines(opened) if line.number <= length // 100)
                anchor = await Anchoring(Endless(length), installed(), KEYS).run(first)
            assert anchor.findings.first == {}
            assert anchor.checkpoints == length // 100
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    await peak(500)
    assert await peak(20_000) < 2 * await peak(2_000)
