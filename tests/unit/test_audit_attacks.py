"""Who writes to the log, or hands in a list, so that an audit does not look, or cannot: each is found, none ends it."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas import envelope, topics
from schemas.audit import ErasedRecord
from streams.audit.anchoring import Checkpoints, anchor
from streams.audit.erased import of_records
from streams.audit.findings import Kind, Open
from streams.audit.log import MemoryLog
from streams.audit.report import LaneReport, Window
from streams.audit.verdict import Verdict
from streams.engine import dead_letters
from streams.engine.dead_letters import resolution_headers
from streams.engine.records import InputRecord, Record
from streams.engine.trail import trail_key
from tests.support.deliberated import registry
from tests.support.notarized import KEYS, checkpoints_of, written
from tests.support.notarized import trail as trail_of
from tests.support.product import SAFE_TOOL, UNKNOWN_TOOL, encoded, policy
from tests.support.recorded import NAMING, Recorder, Topics, audited, copy_of, installed

SPINE = (topics.GATEWAY_MESSAGES, topics.TRIAGE)
IN, INSIDE, OUT, HELD, REJECTED, AUDIT = map(
    NAMING.topic,
    (topics.IN_MESSAGES, topics.MESSAGES, topics.DELIVERIES, topics.DELIBERATION, topics.REJECTED, topics.AUDIT),
)
BOX = NAMING.own(topics.TRIAGE).dead_letters
CHANGELOG = NAMING.own(topics.TRIAGE).changelog
KEY = trail_key(topics.TRIAGE, 0)
DEEP = b"[" * 1_000 + b"]" * 1_000


@pytest.fixture(scope="module")
def lanes() -> Recorder:
    recorded = Recorder(*SPINE)
    recorded.publish(policy(1))
    tools = (None, SAFE_TOOL, UNKNOWN_TOOL)
    recorded.send(topics.IN_MESSAGES, *[encoded(n, tool=tools[n % 3]) for n in range(30)], b'{"b":1,"a":' + DEEP + b"}")
    recorded.run()
    return recorded


async def verdict_on(lanes: Recorder, changed: Topics, **options: Any) -> Verdict:  # noqa: ANN401
    return await audited(changed, lanes.agents, **options)


def kinds(verdict: Verdict) -> set[str]:
    return {finding.kind.value for finding in verdict.findings.first.values()}


def plain(changed: Topics, topic: str, partition: int) -> list[InputRecord]:
    return [record for record in changed[topic][partition] if isinstance(record, InputRecord)]


def anchors(lanes: Recorder, file: Path) -> Checkpoints:
    """One checkpoint of everything."""
    return written(file, checkpoints_of(trail_of(lanes), len(trail_of(lanes))))


# Where an audit does not look


def without_a_lane(lanes: Recorder) -> Topics:
    """Triage's lane 0 stands under a key of nobody, and what it wrote and kept is gone: no tree has the keys."""
    changed = copy_of(lanes.topics)
    changed[AUDIT][0] = [r._replace(key=b"nobody") if r.key == KEY else r for r in plain(changed, AUDIT, 0)]
    changed[CHANGELOG][0] = []
    read = {dict(record.headers)[envelope.SOURCE] for record in changed[INSIDE][0]}
    for topic in (OUT, HELD):
        for partition, log in changed[topic].items():
            changed[topic][partition] = [r for r in log if dict(r.headers)[envelope.SOURCE] not in read]
    return changed


async def test_a_lane_that_is_hidden_under_another_key_is_found_with_a_checkpoint_and_without(
    lanes: Recorder, tmp_path: Path
) -> None:
    changed = without_a_lane(lanes)
    given = anchors(lanes, tmp_path / "file")
    assert kinds(await verdict_on(lanes, changed)) == {Kind.CHAIN_BROKEN}
    for options in ({}, {"accounts": False}, {"window": Window(until_ms=lanes.now + 1)}):
        verdict = await verdict_on(lanes, changed, checkpoints=given, **options)
        assert kinds(verdict) == {Kind.CHAIN_BROKEN, Kind.HISTORY_REWRITTEN}
        assert "their keys were changed" in verdict.findings.first[Kind.HISTORY_REWRITTEN].words
        assert (verdict.exit_code, verdict.is_anchored) == (1, False)
        found = verdict.findings.first[Kind.CHAIN_BROKEN]
        assert (found.agent, found.lane, found.seq) == (topics.TRIAGE, 0, 1)


async def test_a_lanes_last_turns_that_only_the_trees_are_shown_are_found(lanes: Recorder, tmp_path: Path) -> None:
    given, log = anchors(lanes, tmp_path / "file"), MemoryLog(lanes.topics, {})
    verdict = await verdict_on(lanes, lanes.topics, checkpoints=given)
    assert kinds(verdict) == set()
    triage = next(one for one in verdict.lanes if (one.agent, one.lane) == (topics.TRIAGE, 0))
    values = [record.value or b"" for record in lanes.topics[AUDIT][0] if record.key == KEY]
    earlier = replace(triage, last_seq=2, head=sha256(values[1]).hexdigest())
    for shown, words in ((earlier, "ended with turn 2"), (LaneReport(topics.TRIAGE, 0), "ended with turn 0")):
        told = await anchor(log, installed(), [shown], given)
        assert set(told.findings.first) == {Kind.HISTORY_REWRITTEN}
        assert words in told.findings.first[Kind.HISTORY_REWRITTEN].words
        assert not (await anchor(log, installed(), [shown], given, to_the_end=False)).findings.first


async def test_audit_records_of_no_lane_are_found_and_those_of_an_unknown_agent_are_said_to_be_unverified(
    lanes: Recorder,
) -> None:
    first = next(record for record in plain(lanes.topics, AUDIT, 0) if record.key == KEY)
    document = orjson.loads(first.value or b"")
    later = {**document, "agent": "later"}
    beyond = {**document, "lane": 2}
    for key, value, expected, code in (
        (b"nobody/0", b"", Kind.CHAIN_BROKEN, 1),
        (b"nobody/0", first.value, Kind.CHAIN_BROKEN, 1),
        (None, first.value, Kind.CHAIN_BROKEN, 1),
        (b"triage/2", orjson.dumps(beyond), Kind.CHAIN_BROKEN, 1),
        (b"later/0", orjson.dumps(later), Open.OTHER_RELEASE, 3),
    ):
        changed = copy_of(lanes.topics)
        log = plain(changed, AUDIT, 0)
        changed[AUDIT][0] = [*log, log[-1]._replace(key=key, value=value, offset=log[-1].offset + 1)]
        verdict = await verdict_on(lanes, changed)
        assert (kinds(verdict), verdict.exit_code) == ({expected}, code), key


async def test_a_copy_shows_that_the_file_has_lost_its_end_though_half_a_line_is_left(
    lanes: Recorder, tmp_path: Path
) -> None:
    made = [one.line() + b"\n" for one in checkpoints_of(trail_of(lanes), every=3)]
    file, copy = tmp_path / "file", tmp_path / "copy"
    copy.write_bytes(b"".join(made))
    for left in (b"", made[3][:50]):
        file.write_bytes(b"".join(made[:3]) + left)
        verdict = await verdict_on(
            lanes, copy_of(lanes.topics), checkpoints=Checkpoints.as_of_now((file, copy), KEYS), accounts=False
        )
        assert kinds(verdict) == {Kind.CHECKPOINT_BROKEN}
        assert "has lost its end" in verdict.findings.first[Kind.CHECKPOINT_BROKEN].words


async def test_where_nothing_was_verified_nothing_is_said_to_be_consistent(lanes: Recorder) -> None:
    for changed, window in (({AUDIT: {}}, Window()), (lanes.topics, Window(since_ms=lanes.now + 1))):
        verdict = await verdict_on(lanes, changed, window=window)
        assert kinds(verdict) == {Open.NO_TURN}
        assert verdict.exit_code == 3


# Records that nobody decided on


def with_a_forged_delivery(lanes: Recorder) -> tuple[Topics, InputRecord]:
    changed = copy_of(lanes.topics)
    place = 0 if changed[OUT][0] else 1
    last = plain(changed, OUT, place)[-1]
    forged = last._replace(offset=last.offset + 1, value=b'{"content":"forged"}')
    changed[OUT][place] = [*changed[OUT][place], forged]
    return changed, forged


async def test_a_list_of_erased_records_hides_nothing_that_was_added(lanes: Recorder) -> None:
    changed, forged = with_a_forged_delivery(lanes)
    genuine = plain(changed, OUT, forged.partition)[0]
    image = dead_letters.digest.partition_prefix(OUT, forged.partition)
    hashed = dead_letters.digest.sha256(
        dead_letters.digest.output_image(image, genuine.key, genuine.headers, genuine.value)
    ).hex()
    place = {"topic": OUT, "partition": forged.partition, "offset": forged.offset}
    for given in ({"output_hash": "0" * 64}, {"input_hash": "0" * 64}, {"output_hash": hashed}):
        named = ErasedRecord.model_validate(place | given)
        verdict = await verdict_on(lanes, changed, erased=of_records([named]))
        assert Kind.OUTPUT_ADDED in kinds(verdict), given
        assert verdict.exit_code == 1


async def test_a_list_of_erased_records_hides_nothing_of_a_trail_or_a_changelog(lanes: Recorder) -> None:
    changed = copy_of(lanes.topics)
    last = plain(changed, CHANGELOG, 0)[-1]
    erased = of_records(
        ErasedRecord(topic=record.topic, partition=0, offset=record.offset, output_hash="0" * 64)
        for record in (last, next(r for r in changed[AUDIT][0] if r.key == KEY))
    )
    assert kinds(await verdict_on(lanes, changed, erased=erased)) == set()
    changed[AUDIT][0] = [r for r in plain(changed, AUDIT, 0) if r.key != KEY]
    assert Kind.TRAIL_CUT in kinds(await verdict_on(lanes, changed, erased=erased))


@pytest.mark.parametrize("place", [f"{OUT}/{{}}/-1", f"{OUT}/{{}}/0", f"{INSIDE}/0/2"])
async def test_a_forged_letter_makes_no_record_one_that_was_redriven(lanes: Recorder, place: str) -> None:
    changed, forged = with_a_forged_delivery(lanes)
    source = place.format(forged.partition).encode()
    topic, partition, offset = source.decode().rsplit("/", 2)
    original = next((r for r in changed[topic][int(partition)] if r.offset == int(offset)), forged)
    if original is not forged:  # what is said to have failed stands there: a copy of it is what is added
        changed = copy_of(lanes.topics)
        log = changed[topic][int(partition)]
        log.append(original._replace(offset=log[-1].offset + 1))  # type: ignore[attr-defined]
    letter = dead_letters.letter(
        InputRecord(topic, int(partition), int(offset), 0, original.key, original.value, original.headers),
        dead_letters.Kind.HANDLER_FAILED,
        ValueError("so it is said"),
    )
    changed[BOX] = {0: [], 1: []}
    log = changed[BOX][0]
    log.append(InputRecord(BOX, 0, 0, lanes.now, *letter))
    log.append(InputRecord(BOX, 0, 1, lanes.now, letter[0], None, resolution_headers("redriven by olga")))
    verdict = await verdict_on(lanes, changed)
    assert kinds(verdict) == {Kind.OUTPUT_ADDED}
    assert verdict.findings.first[Kind.OUTPUT_ADDED].at == f"{BOX}/0/0"


async def test_a_worker_that_puts_a_veto_aside_by_a_limit_of_its_own_is_told() -> None:
    """Nothing but the letter says what the limit was: that there was one is not verified."""
    honest = Recorder(topics.TRIAGE)
    lying = Recorder(topics.TRIAGE, limits={HELD: 200})
    for recorded in (honest, lying):
        recorded.publish(registry())
    gateway = Recorder(topics.GATEWAY_MESSAGES)
    gateway.publish(registry())
    gateway.send(topics.IN_MESSAGES, encoded(1, tool=UNKNOWN_TOOL))
    gateway.run()
    for recorded in (honest, lying):
        recorded.topics[INSIDE] = copy_of(gateway.topics)[INSIDE]
        recorded.run()
    assert kinds(await verdict_on(honest, honest.topics, accounts=False)) == set()
    verdict = await verdict_on(lying, lying.topics, accounts=False)
    assert kinds(verdict) == {Open.OTHER_LIMITS}
    assert verdict.exit_code == 3
    assert f"{HELD} took 200 bytes" in verdict.findings.first[Open.OTHER_LIMITS].words


# What an audit cannot read


def in_the_trail(**fields: object) -> Callable[[Topics], None]:
    def change(changed: Topics) -> None:
        log = plain(changed, AUDIT, 0)
        at = [index for index, record in enumerate(log) if record.key == KEY][1]
        said = "{" + ",".join(f'"{n}":{v}' for n, v in fields.items())
        document = orjson.loads(log[at].value or b"")
        kept = orjson.dumps({name: value for name, value in document.items() if name not in fields})
        changed[AUDIT][0][at] = log[at]._replace(value=said.encode() + b"," + kept[1:])

    return change


def in_the_changelog(key: bytes, value: bytes, name: str = "row-version") -> Callable[[Topics], None]:
    def change(changed: Topics) -> None:
        last = plain(changed, CHANGELOG, 0)[-1]
        changed[CHANGELOG][0].append(
            last._replace(offset=last.offset + 1, key=key, value=value, headers=((name, b"x"),))
        )

    return change


def of_outputs(topic: str, change_of: Callable[[bytes], bytes]) -> Callable[[Topics], None]:
    def change(changed: Topics) -> None:
        place = 0 if changed[topic][0] else 1
        log = plain(changed, topic, place)
        changed[topic][place] = [*log[:-1], log[-1]._replace(value=change_of(log[-1].value or b""))]

    return change


@pytest.mark.parametrize(
    "change",
    [
        in_the_trail(seq=2**70),
        in_the_trail(clock=2**70),
        in_the_trail(accepted='{"positions":{"x":1180591620717411303424},"operator":"a","reason":"b"}'),
        in_the_trail(inputs=f'[{{"topic":"{INSIDE}","partition":0,"from":0,"to":{2**70},"count":1}}]'),
        *(in_the_changelog(b"position", value) for value in (b"", b"x", b"[]", b"{}", b'{"v":1,"offsets":7}')),
        in_the_changelog(b"position", b'{"v":1,"seq":"a","head":"","clock":0,"offsets":{}}'),
        of_outputs(OUT, lambda _: b'{"a":' + DEEP + b"}"),
        of_outputs(REJECTED, lambda value: value.replace(b'"b":1', b'"b":2')),
    ],
)
async def test_what_is_made_to_end_an_audit_is_told_as_a_difference(
    lanes: Recorder, change: Callable[[Topics], None]
) -> None:
    changed = copy_of(lanes.topics)
    change(changed)
    assert (await verdict_on(lanes, changed)).exit_code == 1


async def test_a_letter_with_a_limit_of_thousands_of_digits_is_none(lanes: Recorder) -> None:
    changed = copy_of(lanes.topics)
    log = plain(changed, INSIDE, 0)
    changed[INSIDE][0][3] = log[3]._replace(value=b"{}")
    about: list[tuple[str, bytes | None]] = [
        (dead_letters.KIND, dead_letters.Kind.OUTPUT_TOO_LARGE.value.encode()),
        (dead_letters.ERROR, b"a record of 1 bytes does not fit x, which takes " + b"9" * 5_000),
        (dead_letters.SOURCE, f"{INSIDE}/0/3".encode()),
        (dead_letters.SOURCE_KEY, b""),
        (dead_letters.NULL_VALUE, b"false"),
    ]
    changed[BOX] = {0: [InputRecord(BOX, 0, 0, lanes.now, b"", b"", tuple(about))], 1: []}
    assert Kind.INPUT_CHANGED in kinds(await verdict_on(lanes, changed))


async def test_rows_that_no_lane_wrote_are_not_taken_for_the_state() -> None:
    recorded = Recorder(*SPINE, topics.DELIBERATOR)
    recorded.publish(registry())
    recorded.send(topics.IN_MESSAGES, *[encoded(n, tool=UNKNOWN_TOOL) for n in range(40)])
    recorded.run(most=1)
    name = NAMING.own(topics.DELIBERATOR).changelog
    for record in ((b"row:x", b"{}", (("\udcff", b"1"),)), (b"position", b"{}", ()), (b"row:\xff", b"", ())):
        changed = copy_of(recorded.topics)
        first: Record = changed[name][0][0]
        changed[name][0].insert(0, InputRecord(name, 0, first.offset, first.timestamp, *record))
        verdict = await verdict_on(recorded, changed, begins={(HELD, 0): 1})
        assert Open.STATE_UNKNOWN in kinds(verdict)
        assert not verdict.findings.differences()
