"""The audit of recorded turns: it passes over what was decided, and finds and names each way of tampering."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

from handlers import impact
from schemas import envelope, topics
from schemas.audit import ErasedRecord
from streams.audit.cells import Cells
from streams.audit.erased import ErasedError, of_records, read_list
from streams.audit.findings import Kind, Open
from streams.audit.report import Window
from streams.audit.verdict import Verdict
from streams.engine.agent import View
from streams.engine.dead_letters import read, resolution_headers, resolution_of
from streams.engine.records import InputRecord, Put, Record
from tests.support.deliberated import registry
from tests.support.product import SAFE_TOOL, UNKNOWN_TOOL, encoded, policy
from tests.support.recorded import (
    NAMING,
    PARTITIONS,
    T0,
    Recorder,
    Topics,
    audited,
    built,
    copy_of,
    installed,
)
from tests.support.trail import record_hash, turns, verify_states

SPINE = (topics.GATEWAY_MESSAGES, topics.TRIAGE)
IN, INSIDE, OUT, HELD, REJECTED, AUDIT, CONTROL = map(
    NAMING.topic,
    (
        topics.IN_MESSAGES,
        topics.MESSAGES,
        topics.DELIVERIES,
        topics.DELIBERATION,
        topics.REJECTED,
        topics.AUDIT,
        topics.CONTROL,
    ),
)
TOOLS = (None, SAFE_TOOL, UNKNOWN_TOOL)


def record_the_spine() -> Recorder:
    lanes = Recorder(*SPINE)
    lanes.publish(policy(1))
    for begin in range(0, 40, 20):
        lanes.send(topics.IN_MESSAGES, *[encoded(n, tool=TOOLS[n % 3]) for n in range(begin, begin + 20)], b"{", None)
        lanes.run()
    lanes.publish(policy(2))
    lanes.send(topics.IN_MESSAGES, *[encoded(n, tool=TOOLS[n % 3]) for n in range(40, 50)])
    lanes.run()
    return lanes


def record_deliberation() -> Recorder:
    lanes = Recorder(*SPINE, topics.DELIBERATOR)
    lanes.publish(registry())
    lanes.send(topics.IN_MESSAGES, *[encoded(n, tool=UNKNOWN_TOOL) for n in range(6)])
    lanes.run()
    lanes.pass_time(25 * 3_600_000)
    lanes.send(topics.IN_MESSAGES, *[encoded(n, tool=UNKNOWN_TOOL) for n in range(6, 12)])
    lanes.run()
    lanes.pass_time(25 * 3_600_000)
    return lanes


def record_many_turns() -> Recorder:
    """Held items one a turn, and their deadlines: state digests stand in the trail."""
    lanes = Recorder(*SPINE, topics.DELIBERATOR)
    lanes.publish(registry())
    for begin in (0, 40):
        lanes.send(topics.IN_MESSAGES, *[encoded(n, tool=UNKNOWN_TOOL) for n in range(begin, begin + 40)])
        lanes.run(most=1)
        lanes.pass_time(25 * 3_600_000)
    return lanes


@pytest.fixture(scope="module")
def spine() -> Recorder:
    return record_the_spine()


@pytest.fixture(scope="module")
def deliberation() -> Recorder:
    return record_deliberation()


@pytest.fixture(scope="module")
def many_turns() -> Recorder:
    return record_many_turns()


async def verdict_on(lanes: Recorder, changed: Topics | None = None, **options: Any) -> Verdict:  # noqa: ANN401
    return await audited(lanes.topics if changed is None else changed, lanes.agents, **options)


def kinds(verdict: Verdict) -> set[str]:
    return {finding.kind.value for finding in verdict.findings.first.values()}


def words(verdict: Verdict, kind: Kind | Open) -> str:
    return verdict.findings.first[kind].words


def turned(record: Record, **changes: Any) -> InputRecord:  # noqa: ANN401
    fields = ("topic", "partition", "offset", "timestamp", "key", "value", "headers")
    return InputRecord(**{**{name: getattr(record, name) for name in fields}, **changes})


def one_byte(value: bytes | None) -> bytes:
    assert value is not None
    at = len(value) // 2
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]


def trail(changed: Topics, agent: str, lane: int) -> list[int]:
    """Where a lane's audit records stand in their partition."""
    log = changed[AUDIT][lane % PARTITIONS]
    return [index for index, record in enumerate(log) if record.key == f"{agent}/{lane}".encode()]


def compacted(log: list[Record], until: int) -> list[Record]:
    """What compaction leaves: before an offset, of each key the last record there."""
    last = {record.key: record.offset for record in log if record.offset < until}
    return [record for record in log if record.offset >= until or last[record.key] == record.offset]


# What was not tampered with


async def test_a_log_as_the_lanes_wrote_it_is_consistent_and_said_to_be_not_anchored(spine: Recorder) -> None:
    verdict = await verdict_on(spine)
    assert kinds(verdict) == set()
    assert (verdict.exit_code, verdict.words) == (0, "consistent, not anchored: nobody outside has signed it")
    assert verdict.verified == verdict.turns == sum(map(len, spine.topics[AUDIT].values()))
    assert verdict.decisions == 2 * 50 + 4 + 2 * PARTITIONS * len(SPINE)
    kept = (INSIDE, OUT, HELD, REJECTED)
    assert verdict.accounted == sum(len(log) for name in kept for log in spine.topics[name].values())
    assert verdict.document()["anchored"] is False


def test_state_digests_are_those_of_the_rows_in_the_changelog(many_turns: Recorder) -> None:
    """By the contract alone: tests.support.trail has no code of the engine."""
    compared = 0
    for lane in range(PARTITIONS):
        read = turns(many_turns.topics, AUDIT, topics.DELIBERATOR, lane)
        assert [turn.seq for turn in read if turn.state_digest] == list(range(16, len(read) + 1, 16))
        compared += verify_states(many_turns.topics[NAMING.own(topics.DELIBERATOR).changelog][lane], read)
    assert compared > 0
    for agent in SPINE:
        assert not any(turn.state_digest for turn in turns(many_turns.topics, AUDIT, agent, 0))


def test_a_turn_of_timers_alone_has_its_record(deliberation: Recorder) -> None:
    read = turns(deliberation.topics, AUDIT, topics.DELIBERATOR, 0)
    alone = [turn for turn in read if not turn.inputs]
    assert alone
    assert all([part.topic for part in turn.outputs] == [HELD] for turn in alone)


async def test_timers_fire_again_as_the_inbox_tells(deliberation: Recorder) -> None:
    verdict = await verdict_on(deliberation)
    assert kinds(verdict) == set()
    assert verdict.verified == verdict.turns
    verdicts = deliberation.topics[NAMING.topic(topics.VERDICTS)]
    ended = [orjson.loads(record.value or b"")["state"] for log in verdicts.values() for record in log]
    assert len(ended) == 12
    assert len(set(ended)) == 1


async def test_it_begins_in_the_middle_of_time_with_the_state_of_that_time(deliberation: Recorder) -> None:
    middle = T0 + 30 * 3_600_000
    verdict = await verdict_on(deliberation, window=Window(since_ms=middle))
    assert kinds(verdict) == set()
    assert 0 < verdict.verified == verdict.turns - verdict.before < verdict.turns
    before = await verdict_on(deliberation, window=Window(until_ms=middle))
    assert kinds(before) == set()
    assert before.turns < verdict.turns
    assert before.accounted is None


# Inputs


async def test_one_byte_of_an_input_is_found(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    log = changed[IN][1]
    log[5] = turned(log[5], value=one_byte(log[5].value))
    verdict = await verdict_on(spine, changed)
    assert kinds(verdict) == {Kind.INPUT_CHANGED}
    found = verdict.findings.first[Kind.INPUT_CHANGED]
    assert (found.agent, found.lane, found.seq) == (topics.GATEWAY_MESSAGES, 1, 2)
    assert verdict.exit_code == 1


async def test_one_byte_of_what_one_lane_wrote_and_another_read_is_found_at_both(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    log = changed[INSIDE][0]
    log[3] = turned(log[3], value=one_byte(log[3].value))
    assert kinds(await verdict_on(spine, changed)) == {Kind.INPUT_CHANGED, Kind.OUTPUT_CHANGED}


async def test_a_removed_and_an_added_input_are_found(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    del changed[IN][0][4]
    verdict = await verdict_on(spine, changed)
    assert kinds(verdict) == {Kind.INPUT_REMOVED}
    assert words(verdict, Kind.INPUT_REMOVED) == "4 records were read there, 3 are left"
    changed = copy_of(spine.topics)
    changed[IN][0].insert(4, changed[IN][0][4])
    assert kinds(await verdict_on(spine, changed)) == {Kind.INPUT_ADDED}


async def test_an_input_put_in_between_so_that_all_others_move_up_is_found(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    log = changed[IN][0]
    log.insert(4, log[4])
    changed[IN][0] = [turned(record, offset=offset) for offset, record in enumerate(log)]
    verdict = await verdict_on(spine, changed)
    assert kinds(verdict) == {Kind.INPUT_CHANGED}
    assert verdict.findings.first[Kind.INPUT_CHANGED].seq == 2


async def test_inputs_that_changed_places_are_named(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    log = changed[IN][0]
    log[4], log[6] = turned(log[6], offset=4), turned(log[4], offset=6)
    verdict = await verdict_on(spine, changed)
    assert kinds(verdict) == {Kind.INPUT_REORDERED}
    assert words(verdict, Kind.INPUT_REORDERED) == "the records at offsets 4 and 6 have changed places"


async def test_inputs_cut_off_at_the_end_are_found(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    del changed[IN][1][-1]
    verdict = await verdict_on(spine, changed)
    assert kinds(verdict) == {Kind.INPUT_REMOVED}
    last = trail(changed, topics.GATEWAY_MESSAGES, 1)
    assert verdict.findings.first[Kind.INPUT_REMOVED].seq == len(last)


async def test_another_time_of_an_input_is_found_where_it_is_the_lanes_time(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    log = changed[IN][0]
    log[-1] = turned(log[-1], timestamp=log[-1].timestamp + 1)
    verdict = await verdict_on(spine, changed)
    assert kinds(verdict) == {Kind.INPUT_CHANGED}
    assert "times" in words(verdict, Kind.INPUT_CHANGED)


async def test_a_changed_policy_is_found_as_a_changed_input(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    control = changed[CONTROL][0]
    control[1] = turned(control[1], value=policy(2, unknown_tool=9_100).canonical())
    assert Kind.INPUT_CHANGED in kinds(await verdict_on(spine, changed))


# Outputs


async def test_one_byte_of_an_output_is_found_and_shown(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    log = changed[OUT][0] or changed[OUT][1]
    log[2] = turned(log[2], value=(log[2].value or b"").replace(b"planner", b"plannes"))
    verdict = await verdict_on(spine, changed)
    assert kinds(verdict) == {Kind.OUTPUT_CHANGED}
    found = verdict.findings.first[Kind.OUTPUT_CHANGED]
    assert 'value.from_agent is "plannes", was written as "planner"' in found.words
    assert found.at == f"{OUT}/{log[2].partition}/{log[2].offset}"


async def test_a_removed_output_is_found(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    log = changed[OUT][0] or changed[OUT][1]
    del log[3]
    verdict = await verdict_on(spine, changed)
    assert kinds(verdict) == {Kind.OUTPUT_REMOVED}
    assert "key executor" in words(verdict, Kind.OUTPUT_REMOVED)


async def test_outputs_cut_off_at_the_end_are_found(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    del (changed[OUT][0] or changed[OUT][1])[-1]
    assert kinds(await verdict_on(spine, changed)) == {Kind.OUTPUT_REMOVED}


async def test_outputs_that_changed_places_are_found(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    log = changed[INSIDE][0]
    log[0], log[1] = turned(log[1], offset=0), turned(log[0], offset=1)
    assert Kind.OUTPUT_REORDERED in kinds(await verdict_on(spine, changed))


async def test_an_added_output_that_no_turn_wrote_is_found(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    log = changed[OUT][0] or changed[OUT][1]
    end = log[-1].offset + 1
    log.append(turned(log[-1], offset=end, value=b'{"content":"forged"}'))
    verdict = await verdict_on(spine, changed)
    assert kinds(verdict) == {Kind.OUTPUT_ADDED}
    assert verdict.findings.first[Kind.OUTPUT_ADDED].at == f"{OUT}/{log[-1].partition}/{end}"


async def test_a_doubled_output_is_found_and_its_original_named(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    log = changed[OUT][0] or changed[OUT][1]
    log.insert(4, log[4])
    moved = [turned(record, offset=offset) for offset, record in enumerate(log)]
    changed[OUT][log[0].partition] = moved
    verdict = await verdict_on(spine, changed)
    assert kinds(verdict) == {Kind.OUTPUT_ADDED}
    assert "it is the same as the record at offset 4" in words(verdict, Kind.OUTPUT_ADDED)


# The trail


async def test_one_byte_of_an_audit_record_is_found_and_named(spine: Recorder) -> None:
    for old, new in (
        (b'"clock":18', b'"clock":19'),
        (b'"decision_version":1', b'"decision_version":2'),
        (b'"v":1', b'"v":2'),
    ):
        changed = copy_of(spine.topics)
        log = changed[AUDIT][0]
        at = trail(changed, topics.TRIAGE, 0)[2]
        log[at] = turned(log[at], value=(log[at].value or b"").replace(old, new, 1))
        assert log[at].value != spine.topics[AUDIT][0][at].value
        verdict = await verdict_on(spine, changed)
        assert kinds(verdict) == {Kind.CHAIN_BROKEN}, (old, kinds(verdict))
        assert verdict.findings.first[Kind.CHAIN_BROKEN].seq == 3
        if b"clock" in old:
            assert "turn 3 was changed in clock" in words(verdict, Kind.CHAIN_BROKEN)


async def test_any_single_byte_of_any_audit_record_is_found(spine: Recorder) -> None:
    at = trail(spine.topics, topics.GATEWAY_MESSAGES, 1)
    for index in (at[1], at[-1]):
        length = len(spine.topics[AUDIT][1][index].value or b"")
        for position in range(0, length, 23):
            changed = copy_of(spine.topics)
            value = bytearray(changed[AUDIT][1][index].value or b"")
            value[position] ^= 1
            changed[AUDIT][1][index] = turned(changed[AUDIT][1][index], value=bytes(value))
            verdict = await audited(changed, built([topics.GATEWAY_MESSAGES]), accounts=False)
            assert {Kind.CHAIN_BROKEN, Kind.TRAIL_CUT} & kinds(verdict), (index, position)


async def test_a_removed_a_doubled_and_a_moved_audit_record_break_the_chain(spine: Recorder) -> None:
    removed, doubled, moved = (copy_of(spine.topics) for _ in range(3))
    at = trail(removed, topics.TRIAGE, 0)
    del removed[AUDIT][0][at[2]]
    verdict = await verdict_on(spine, removed)
    assert kinds(verdict) == {Kind.CHAIN_BROKEN, Kind.OUTPUT_ADDED}
    assert "those of audit records that are missing" in words(verdict, Kind.OUTPUT_ADDED)
    assert words(verdict, Kind.CHAIN_BROKEN) == "turn 3 is missing before turn 4"
    doubled[AUDIT][0].insert(at[2], doubled[AUDIT][0][at[2]])
    verdict = await verdict_on(spine, doubled)
    assert kinds(verdict) == {Kind.CHAIN_BROKEN}
    assert words(verdict, Kind.CHAIN_BROKEN) == "turn 3 stands in the trail again, after turn 3"
    log = moved[AUDIT][0]
    log[at[2]], log[at[3]] = turned(log[at[3]], offset=log[at[2]].offset), turned(log[at[2]], offset=log[at[3]].offset)
    assert Kind.CHAIN_BROKEN in kinds(await verdict_on(spine, moved))


async def test_a_forged_audit_record_put_in_between_is_found_wherever_it_stands(spine: Recorder) -> None:
    original = spine.topics[AUDIT][0]
    at = trail(spine.topics, topics.TRIAGE, 0)[2]
    document = orjson.loads(original[at].value or b"")
    forgeries = (
        {"seq": document["seq"], "entropy": "f" * 64},
        {"seq": document["seq"] + 1, "previous": sha256(original[at].value or b"").hexdigest()},
        {"seq": document["seq"], "agent": topics.GATEWAY_MESSAGES},
    )
    for where in (at, at + 1):
        for forged in forgeries:
            changed = copy_of(spine.topics)
            value = orjson.dumps({**document, **forged})
            changed[AUDIT][0].insert(where, turned(original[at], value=value))
            assert Kind.CHAIN_BROKEN in kinds(await verdict_on(spine, changed)), (where, forged)


async def test_a_changed_position_in_the_changelog_is_found(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    changelog = changed[NAMING.own(topics.TRIAGE).changelog][0]
    at = max(index for index, record in enumerate(changelog) if record.key == b"position")
    document = orjson.loads(changelog[at].value or b"")
    changelog[at] = turned(changelog[at], value=orjson.dumps({**document, "head": "f" * 64}))
    verdict = await verdict_on(spine, changed)
    assert kinds(verdict) == {Kind.CHAIN_BROKEN}


async def test_a_cut_tail_is_found_by_the_changelog_or_by_what_the_turns_wrote(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    del changed[AUDIT][0][trail(changed, topics.TRIAGE, 0)[-1]]
    verdict = await verdict_on(spine, changed)
    assert Kind.TRAIL_CUT in kinds(verdict)
    changelog = changed[NAMING.own(topics.TRIAGE).changelog][0]
    positions = [index for index, record in enumerate(changelog) if record.key == b"position"]
    del changelog[positions[-1]]
    assert kinds(await verdict_on(spine, changed)) == {Kind.OUTPUT_ADDED}


async def test_a_tail_that_is_cut_everywhere_is_not_noticed_without_a_checkpoint(spine: Recorder) -> None:
    """What the notary is for: whoever cuts trail, changelog and outputs alike leaves a consistent, shorter history."""
    short = Recorder(*SPINE)
    short.publish(policy(1))
    short.send(topics.IN_MESSAGES, *[encoded(n, tool=TOOLS[n % 3]) for n in range(20)], b"{", None)
    short.run()
    changed = copy_of(short.topics)
    changed[IN] = copy_of(spine.topics)[IN]
    assert kinds(await verdict_on(short, changed)) == set()


# The rules


async def test_a_handler_changed_by_one_constant_is_found_with_what_it_decides_otherwise(
    spine: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = impact.encode_card

    monkeypatch.setattr(impact, "encode_card", lambda card: original(card).replace(b'"score":0', b'"score":1'))
    verdict = await verdict_on(spine)
    assert kinds(verdict) == {Kind.DECISION_DIFFERS}
    found = verdict.findings.first[Kind.DECISION_DIFFERS]
    assert found.agent == topics.TRIAGE
    assert f"{envelope.CARD}.score was 0, is now 1" in found.words


async def test_a_constant_of_the_rules_that_changed_is_found_where_it_decides(
    spine: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(impact, "_UNKNOWN", "it is not known")
    verdict = await verdict_on(spine)
    assert kinds(verdict) == {Kind.DECISION_DIFFERS}
    assert f"{envelope.CARD}.factors was" in words(verdict, Kind.DECISION_DIFFERS)


async def test_a_changed_rule_that_shows_in_rows_alone_is_found_by_the_state_digest(many_turns: Recorder) -> None:
    deliberator = many_turns.agents[2]
    handler = deliberator.handler

    def later(view: View[Any, Any], record: Record) -> Any:  # noqa: ANN401
        return [
            effect._replace(due_ms=effect.due_ms + 1) if isinstance(effect, Put) and effect.due_ms else effect
            for effect in handler(view, record)
        ]

    agents = [*many_turns.agents[:2], replace(deliberator, handler=later)]
    verdict = await audited(many_turns.topics, agents)
    assert Kind.DECISION_DIFFERS in kinds(verdict)
    found = verdict.findings.first[Kind.DECISION_DIFFERS]
    assert (found.agent, found.seq) == (topics.DELIBERATOR, 16)
    assert found.words == "turn 16 comes out otherwise in state_digest"


async def test_other_bytes_of_the_same_decision_are_told_apart(
    spine: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = impact.encode_card
    monkeypatch.setattr(impact, "encode_card", lambda card: original(card).replace(b":", b": ", 1))
    verdict = await verdict_on(spine)
    assert kinds(verdict) == {Kind.ENCODING_DIFFERS}


async def test_a_message_that_goes_elsewhere_is_another_decision(spine: Recorder) -> None:
    triage = spine.agents[1]
    handler = triage.handler

    def delivers_all(view: View[Any, Any], record: Record) -> Any:  # noqa: ANN401
        return [one._replace(topic=OUT) for one in handler(view, record)]  # type: ignore[union-attr]

    verdict = await audited(spine.topics, [spine.agents[0], replace(triage, handler=delivers_all)])
    assert kinds(verdict) == {Kind.DECISION_DIFFERS}
    assert f"{HELD}/" in words(verdict, Kind.DECISION_DIFFERS)


# What cannot be verified


async def test_another_decision_version_is_said_and_what_follows_goes_on(spine: Recorder) -> None:
    later = replace(spine.agents[1], decision_version=99)
    verdict = await audited(spine.topics, [spine.agents[0], later])
    assert kinds(verdict) == {Open.OTHER_RELEASE}
    assert verdict.exit_code == 3


async def test_inputs_that_retention_deleted_are_said_and_a_lane_without_rows_goes_on(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    changed[INSIDE][0] = changed[INSIDE][0][6:]
    verdict = await verdict_on(spine, changed, begins={(INSIDE, 0): 6})
    assert kinds(verdict) == {Open.INPUTS_DELETED, Open.OUTPUTS_DELETED}
    assert verdict.exit_code == 3
    assert 0 < verdict.verified < verdict.turns
    log = changed[OUT][0] or changed[OUT][1]
    log[-1] = turned(log[-1], value=b"{}")
    assert Kind.OUTPUT_CHANGED in kinds(await verdict_on(spine, changed, begins={(INSIDE, 0): 6}))


async def test_after_deleted_inputs_a_lane_with_rows_is_not_taken_for_verified(deliberation: Recorder) -> None:
    changed = copy_of(deliberation.topics)
    lane = 0 if changed[HELD][0] else 1
    changed[HELD][lane] = changed[HELD][lane][2:]
    verdict = await verdict_on(deliberation, changed, begins={(HELD, lane): 2})
    assert {Open.INPUTS_DELETED, Open.STATE_UNKNOWN} <= kinds(verdict)
    assert not verdict.findings.differences()


async def test_after_deleted_inputs_it_goes_on_from_the_next_state_digest(many_turns: Recorder) -> None:
    verdict = await verdict_on(many_turns, begins=(gone := {(HELD, 0): 3}))
    assert kinds(verdict) == {Open.INPUTS_DELETED, Open.OUTPUTS_DELETED, Open.STATE_UNKNOWN}
    unknown = verdict.findings.count[Open.INPUTS_DELETED] + verdict.findings.count[Open.STATE_UNKNOWN]
    assert unknown == 16 - verdict.findings.first[Open.INPUTS_DELETED].seq + 1  # type: ignore[operator]
    changed = copy_of(many_turns.topics)
    verdicts = changed[NAMING.topic(topics.VERDICTS)]
    log = verdicts[0] or verdicts[1]
    log[-1] = turned(log[-1], value=b"{}")
    verdict = await verdict_on(many_turns, changed, begins=gone)
    assert Kind.OUTPUT_CHANGED in kinds(verdict)


async def test_after_a_deleted_trail_it_goes_on_from_the_next_state_digest(many_turns: Recorder) -> None:
    changed = copy_of(many_turns.topics)
    begin = changed[AUDIT][0][trail(changed, topics.DELIBERATOR, 0)[20]].offset
    changed[AUDIT][0] = [record for record in changed[AUDIT][0] if record.offset >= begin]
    verdict = await verdict_on(many_turns, changed, begins={(AUDIT, 0): begin}, accounts=False)
    assert not verdict.findings.differences()
    lane = next(one for one in verdict.lanes if (one.agent, one.lane) == (topics.DELIBERATOR, 0))
    assert set(lane.findings.first) == {Open.TRAIL_DELETED, Open.STATE_UNKNOWN}
    assert lane.findings.count[Open.STATE_UNKNOWN] == 32 - 20
    assert lane.verified == lane.turns - (32 - 20) > 0


async def test_rows_that_compaction_has_taken_are_known_from_a_later_digest(many_turns: Recorder) -> None:
    changed = copy_of(many_turns.topics)
    name = NAMING.own(topics.DELIBERATOR).changelog
    positions = [r.offset for r in changed[name][0] if r.key == b"position"]
    changed[name][0] = compacted(changed[name][0], until=positions[16])
    verdict = await verdict_on(many_turns, changed, begins={(HELD, 0): 3})
    lane = next(one for one in verdict.lanes if (one.agent, one.lane) == (topics.DELIBERATOR, 0))
    first = lane.findings.first[Open.INPUTS_DELETED].seq
    unknown = lane.findings.count[Open.INPUTS_DELETED] + lane.findings.count[Open.STATE_UNKNOWN]
    assert not verdict.findings.differences()
    assert unknown == 32 - (first or 0) + 1


async def test_changed_rows_of_the_changelog_are_not_taken_for_the_state(many_turns: Recorder) -> None:
    changed = copy_of(many_turns.topics)
    log = changed[NAMING.own(topics.DELIBERATOR).changelog][0]
    at = next(index for index, record in enumerate(log) if record.key and record.key.startswith(b"row:"))
    log[at] = turned(log[at], value=one_byte(log[at].value))
    verdict = await verdict_on(many_turns, changed, begins={(HELD, 0): 3})
    lane = next(one for one in verdict.lanes if (one.agent, one.lane) == (topics.DELIBERATOR, 0))
    first = lane.findings.first[Open.INPUTS_DELETED].seq
    assert lane.findings.count[Open.INPUTS_DELETED] + lane.findings.count[Open.STATE_UNKNOWN] > 16 - (first or 0) + 1
    assert not verdict.findings.differences()


async def test_a_window_begins_at_the_last_state_digest_before_it(many_turns: Recorder) -> None:
    """What stands before is not even read: without it nothing is missing."""
    log = many_turns.topics[AUDIT][0]
    at = log[trail(many_turns.topics, topics.DELIBERATOR, 0)[40]].timestamp
    before = turns(many_turns.topics, AUDIT, topics.DELIBERATOR, 0)[31]
    reached = max(part.to for part in before.inputs if part.topic == HELD)
    deliberator = [many_turns.agents[2]]
    window = Window(since_ms=at)
    verdict = await audited(many_turns.topics, deliberator, begins={(HELD, 0): reached}, window=window)
    lane = verdict.lanes[0]
    assert lane.findings.first == {}
    assert lane.verified == sum(
        1 for index in trail(many_turns.topics, topics.DELIBERATOR, 0) if log[index].timestamp >= at
    )
    verdict = await audited(many_turns.topics, deliberator, begins={(HELD, 0): reached + 1}, window=window)
    assert Open.INPUTS_DELETED in verdict.lanes[0].findings.first


async def test_a_window_of_a_lane_without_rows_begins_where_it_begins(spine: Recorder) -> None:
    at = trail(spine.topics, topics.TRIAGE, 0)
    since = spine.topics[AUDIT][0][at[5]].timestamp
    first = turns(spine.topics, AUDIT, topics.TRIAGE, 0)[5]
    begins = {(INSIDE, 0): min(part.from_ for part in first.inputs if part.topic == INSIDE)}
    verdict = await audited(spine.topics, [spine.agents[1]], begins=begins, window=Window(since_ms=since))
    assert kinds(verdict) == set()
    assert (verdict.lanes[0].before, verdict.lanes[0].verified) == (5, len(at) - 5)


async def test_a_position_that_an_operator_accepted_is_told_apart_and_the_lane_goes_on() -> None:
    lanes = Recorder(*SPINE)
    lanes.publish(policy(1))
    lanes.send(topics.IN_MESSAGES, *[encoded(n) for n in range(12)])
    lanes.run()
    lanes.send(topics.IN_MESSAGES, *[encoded(n) for n in range(12, 24)])
    lanes.accept(topics.GATEWAY_MESSAGES, 0, {IN: 8})
    lanes.accept(topics.GATEWAY_MESSAGES, 1, {IN: 2})
    lanes.run()
    verdict = await verdict_on(lanes)
    assert kinds(verdict) == {Open.ACCEPTED}
    assert verdict.exit_code == 3
    assert "olga put the lane from" in words(verdict, Open.ACCEPTED)
    assert verdict.verified == verdict.turns


async def test_a_lane_that_left_out_inputs_by_itself_is_found() -> None:
    lanes = Recorder(*SPINE)
    lanes.publish(policy(1))
    lanes.send(topics.IN_MESSAGES, *[encoded(n) for n in range(12)])
    lanes.run()
    lanes.send(topics.IN_MESSAGES, *[encoded(n) for n in range(12, 24)])
    lanes.skip(topics.GATEWAY_MESSAGES, 0, {IN: 8})
    lanes.run()
    assert kinds(await verdict_on(lanes)) == {Kind.INPUT_GAP}


async def test_a_limit_that_has_changed_since_is_read_from_the_dead_letters() -> None:
    lanes = Recorder(*SPINE, limits={INSIDE: 10_000})
    lanes.publish(policy(1))
    lanes.send(topics.IN_MESSAGES, encoded(1), encoded(2), encoded(3, metadata={"fill": "x" * 20_000}), encoded(4))
    lanes.run()
    letters = lanes.topics[NAMING.own(topics.GATEWAY_MESSAGES).dead_letters]
    assert sum(map(len, letters.values())) == 1
    verdict = await verdict_on(lanes)
    assert kinds(verdict) == {Open.OTHER_LIMITS}
    assert verdict.verified == verdict.turns
    assert kinds(await verdict_on(lanes, facts=installed(limits={INSIDE: 10_000}))) == set()


async def test_a_removed_timer_is_found_as_what_was_written_and_what_was_read(deliberation: Recorder) -> None:
    changed = copy_of(deliberation.topics)
    lane, at = next(
        (lane, index)
        for lane, log in changed[HELD].items()
        for index, record in enumerate(log)
        if record.headers and record.headers[0][0] == "lane-timer"
    )
    del changed[HELD][lane][at]
    expected = {Kind.INPUT_REMOVED, Kind.OUTPUT_REMOVED, Open.STATE_UNKNOWN}
    assert kinds(await verdict_on(deliberation, changed)) == expected


async def test_erased_records_that_left_their_hashes_are_no_difference(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    log = changed[INSIDE][0]
    gone, replaced = log[3], log[5]
    erased = of_records(erasure(record) for record in (gone, replaced))
    log[5] = turned(replaced, value=None, headers=())
    del log[3]
    assert kinds(await verdict_on(spine, changed)) >= {Kind.INPUT_REMOVED, Kind.OUTPUT_REMOVED}
    verdict = await verdict_on(spine, changed, erased=erased)
    assert kinds(verdict) == {Open.ERASED}
    assert verdict.exit_code == 3
    unverified = {(lane.agent, lane.lane): lane.turns - lane.verified for lane in verdict.lanes}
    assert unverified[topics.TRIAGE, 0] > 0
    assert sum(unverified.values()) <= 2 * 2
    del log[7]
    assert Kind.INPUT_REMOVED in kinds(await verdict_on(spine, changed, erased=erased))


async def test_a_wrong_hash_of_an_erased_record_explains_nothing(spine: Recorder) -> None:
    changed = copy_of(spine.topics)
    erased = of_records([erasure(changed[IN][0][4]).model_copy(update={"input_hash": "0" * 64})])
    del changed[IN][0][4]
    assert kinds(await verdict_on(spine, changed, erased=erased)) == {Kind.INPUT_REMOVED}


async def test_after_erased_inputs_a_lane_with_rows_goes_on_from_the_next_state_digest(many_turns: Recorder) -> None:
    changed = copy_of(many_turns.topics)
    log = changed[HELD][0]
    erased = of_records([erasure(log[1])])
    del log[1]
    verdict = await verdict_on(many_turns, changed, erased=erased)
    assert kinds(verdict) == {Open.ERASED, Open.STATE_UNKNOWN}
    assert 0 < verdict.findings.count[Open.STATE_UNKNOWN] < 16


def test_a_list_of_erased_records_says_which_line_is_wrong(tmp_path: Path) -> None:
    listed = tmp_path / "erased.jsonl"
    record = ErasedRecord(topic="t", partition=0, offset=7, input_hash="a" * 64)
    listed.write_text(f"{record.model_dump_json()}\n\n")
    assert read_list(listed).has(("t", 0), 7)
    listed.write_text(f'{record.model_dump_json()}\n{{"topic": "t"}}\n')
    with pytest.raises(ErasedError, match=r"line 2 of .* is no erased record: partition: Field required"):
        read_list(listed)
    listed.write_text('{"topic": "t", "partition": 0, "offset": 7}')
    with pytest.raises(ErasedError, match=r"line 1 of .* it has left no hash"):
        read_list(listed)


def erasure(record: Record) -> ErasedRecord:
    """What is noted of a record before it is erased, by the contract alone."""
    return ErasedRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        input_hash=record_hash(record, with_offset=True).hex(),
        output_hash=record_hash(record, with_offset=False).hex(),
    )


async def test_a_redriven_letter_is_no_added_record_but_a_copy_beside_it_is() -> None:
    lanes = Recorder(*SPINE, limits={OUT: 10_000})
    lanes.publish(policy(1))
    lanes.send(topics.IN_MESSAGES, encoded(1), encoded(2), encoded(3, metadata={"fill": "x" * 20_000}), encoded(4))
    lanes.run()
    for _ in range(2):  # what was redriven fails again, and is redriven once more
        redrive(lanes)
        lanes.run()
    facts = installed(limits={OUT: 10_000})
    assert kinds(await verdict_on(lanes, facts=facts)) == set()
    changed = copy_of(lanes.topics)
    name = NAMING.own(topics.TRIAGE).dead_letters
    place = next(record.partition for log in changed[name].values() for record in log)
    log = changed[INSIDE][place]
    log.append(turned(log[-1], offset=log[-1].offset + 1))
    assert kinds(await verdict_on(lanes, changed, facts=facts)) == {Kind.OUTPUT_ADDED}
    changed = copy_of(lanes.topics)
    letters = changed[name][place]
    letters[:] = [record for record in letters if resolution_of(record.headers) is None]
    verdict = await verdict_on(lanes, changed, facts=facts)
    assert kinds(verdict) == {Kind.OUTPUT_ADDED}
    assert words(verdict, Kind.OUTPUT_ADDED).startswith("2 records that no turn")


def redrive(lanes: Recorder) -> None:
    """Writes the last letter of triage again, as `acgs dead-letters redrive` does."""
    name = NAMING.own(topics.TRIAGE).dead_letters
    letter = [record for log in lanes.topics[name].values() for record in log][-1]
    read_letter = read(letter)
    place = read_letter.topic, read_letter.partition
    lanes.append(place, read_letter.key, read_letter.value, read_letter.headers)
    lanes.append((name, letter.partition), letter.key, None, resolution_headers("redriven by olga"))


# Parts


def test_cells_tell_the_offsets_nobody_claims() -> None:
    cells, others = Cells(), Cells()
    cells.add(range(10_000))
    for offset in range(10_000):
        if offset not in {17, 4_711}:
            others.remove(offset)
    cells.take(others)
    assert (cells.left, cells.alone()) == (2, [17, 4_711])


def test_what_the_verifier_knows_of_topics_comes_from_the_catalogue() -> None:
    facts = installed()
    assert {OUT, INSIDE, HELD, REJECTED} <= facts.lanes_alone
    assert not {IN, CONTROL, AUDIT, NAMING.topic(topics.ACTIVITY_RESULTS)} & facts.lanes_alone
    assert not facts.is_kept(NAMING.topic(topics.DELIBERATION_STATUS))
