"""Stories of recorded turns: what happened, in order and in words, with the place of each record and its turn."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
import pytest

from compensation.definition import Retry
from schemas import envelope, topics
from schemas.activity import ActivityCommand
from streams.engine import dead_letters
from streams.engine.dead_letters import Kind, resolution_headers
from streams.engine.records import Headers, InputRecord, Record
from streams.search.explaining import Story
from tests.support.deliberated import registry
from tests.support.orchestrated import DAY_MS, attempt, workflow_policy
from tests.support.product import HASH, SAFE_TOOL, encoded, message
from tests.support.recorded import NAMING, PARTITIONS, T0, Recorder
from tests.support.saga import definition, node
from tests.support.searched import indexed, told
from tests.unit.test_search import held_items, traffic

ORDER = "9f3c2f5e-0000-4000-8000-000000000001"


def steps(story: Story) -> list[str]:
    return [line.step for line in story.lines]


def words(story: Story) -> str:
    return "\n".join(part for line in story.lines for part in (line.says, *line.details))


def place(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


async def test_a_message_that_was_delivered(tmp_path: Path) -> None:
    lanes = traffic()
    with indexed(tmp_path, lanes.topics) as file:
        story = await told(file, lanes.topics, message(3)["message_id"])
    assert steps(story) == ["received", "accepted", "scored", "delivered"]
    assert (story.kind, story.id) == ("message", message(3)["message_id"])
    received, accepted, scored, delivered = story.lines
    assert received.says.startswith(f"planner -> executor  {SAFE_TOOL}, ")
    assert received.place == "t.in.messages/1/1"
    assert received.turn is not None
    assert received.turn == accepted.turn
    assert received.turn.words == "gateway-messages/1 turn 1"
    assert received.turn.at.startswith("t.audit/1/")
    assert scored.says.startswith(f"0.1000  {SAFE_TOOL} (read)")
    assert delivered.turn is not None
    assert delivered.turn.agent == topics.TRIAGE
    assert [line.at_ms for line in story.lines] == sorted(line.at_ms or 0 for line in story.lines)


async def test_a_held_message_with_its_votes_and_what_they_came_to(tmp_path: Path) -> None:
    lanes = traffic()
    released, vetoed, expired = held_items(lanes)
    with indexed(tmp_path, lanes.topics) as file:
        story = await told(file, lanes.topics, released.message_id)
        assert await told(file, lanes.topics, released.item_id[:20]) == Story("item", released.item_id, story.lines)
        denied, over = [await told(file, lanes.topics, one.item_id) for one in (vetoed, expired)]
    assert steps(story) == [
        *("received", "accepted", "scored", "held"),
        *("received", "vote", "received", "vote", "released", "delivered"),
        *("received", "vote", "rejected"),
    ]
    assert "lee says approve" in words(story)
    assert re.search(r"signed with key [0-9a-f]{16} at .*Z, on item", words(story))
    assert "approved by lee, sam" in words(story)
    assert "sam: approve, its signature stands" in words(story)
    refused = story.lines[-1]
    assert refused.says.startswith("the vote of lee: replayed: ")
    turns = {line.step: line.turn.agent for line in story.lines if line.turn is not None}
    assert turns["held"] == topics.TRIAGE
    assert turns["vote"] == topics.GATEWAY_DECISIONS
    assert turns["released"] == turns["delivered"] == turns["rejected"] == topics.DELIBERATOR
    last_vote = [line for line in story.lines if line.step == "vote"][1]
    released_line = next(line for line in story.lines if line.step == "released")
    assert released_line.turn is not None
    assert (released_line.at_ms or 0) > (last_vote.at_ms or 0)
    assert steps(denied)[-3:] == ["received", "vote", "denied"]
    assert "vetoed by sam: no" in words(denied)
    assert steps(over)[-2:] == ["timer", "expired"]
    assert over.lines[-1].turn == over.lines[-2].turn is not None


@pytest.mark.parametrize("is_later", [topics.VERDICTS, topics.DELIVERIES])
async def test_within_one_turn_lines_stand_as_one_follows_from_the_other_whatever_the_brokers_times(
    tmp_path: Path, is_later: str
) -> None:
    lanes = traffic()
    released = held_items(lanes)[0]
    for partition in range(PARTITIONS):
        log = lanes.log((NAMING.topic(is_later), partition))
        log[:] = [InputRecord(*place(one), one.timestamp + 1, one.key, one.value, tuple(one.headers)) for one in log]
    with indexed(tmp_path, lanes.topics) as file:
        story = await told(file, lanes.topics, released.item_id)
    told_steps = steps(story)
    assert told_steps.index("released") == told_steps.index("delivered") - 1
    by_step = {line.step: line for line in story.lines}
    assert by_step["released"].turn == by_step["delivered"].turn is not None
    assert by_step["released"].at_ms != by_step["delivered"].at_ms, "the times are the broker's"
    assert told_steps[-3:] == ["received", "vote", "rejected"], "another turn's stay where they were"


async def test_a_refused_record_is_explained_by_its_place_even_if_it_has_no_id(tmp_path: Path) -> None:
    lanes = traffic()
    with indexed(tmp_path, lanes.topics) as file:
        story = await told(file, lanes.topics, "t.in.messages/0/4")
        other = await told(file, lanes.topics, message(8)["message_id"])
    assert steps(story) == ["received", "rejected"]
    assert story.lines[1].says == "truncated: the JSON text ends before it is complete"
    assert story.lines[0].turn == story.lines[1].turn is not None
    assert steps(other) == ["received", "rejected"]
    assert other.lines[1].details[0].startswith("colour: ")


async def test_a_message_that_was_sent_twice_is_told_twice(tmp_path: Path) -> None:
    lanes = Recorder(topics.GATEWAY_MESSAGES, topics.TRIAGE)
    lanes.publish(registry())
    lanes.send(topics.IN_MESSAGES, encoded(1), encoded(2), encoded(1))
    lanes.run()
    with indexed(tmp_path, lanes.topics) as file:
        story = await told(file, lanes.topics, message(1)["message_id"])
    assert sorted(steps(story)) == sorted(["received", "accepted", "scored", "delivered"] * 2)
    assert "(the same bytes for the 2. time)" in words(story)


async def test_what_retention_has_deleted_is_said_in_its_place(tmp_path: Path) -> None:
    lanes = traffic()
    inside = NAMING.topic(topics.IN_MESSAGES), 1
    id_ = message(3)["message_id"]
    with indexed(tmp_path / "before", lanes.topics) as file:
        story = await told(file, lanes.topics, id_, {inside: 100})
    assert steps(story) == ["received", "accepted", "scored", "delivered"]
    assert story.lines[0].says == "deleted by retention; the index remembers: received"
    assert story.lines[0].at_ms is not None
    del lanes.topics[inside[0]][1]
    with indexed(tmp_path / "after", lanes.topics) as file:
        story = await told(file, lanes.topics, id_, {inside: 100})
    assert steps(story) == ["received", "accepted", "scored", "delivered"]
    assert (story.lines[0].says, story.lines[0].at_ms) == ("deleted by retention", None)
    assert story.lines[1].turn is None, "which turn read it cannot be told without its record"


async def test_a_record_that_is_another_than_was_indexed_is_said_to_be(tmp_path: Path) -> None:
    lanes = traffic()
    with indexed(tmp_path, lanes.topics) as file:
        log = lanes.log((NAMING.topic(topics.DELIVERIES), 0))
        for number, record in enumerate(log):
            value = (record.value or b"").replace(b'"planner"', b'"somebody"')
            log[number] = InputRecord(*place(record), record.timestamp, record.key, value, tuple(record.headers))
        id_ = orjson.loads(log[0].value or b"")["message_id"]
        story = await told(file, lanes.topics, id_)
    assert steps(story)[-1] == "changed"


@pytest.mark.parametrize(
    ("said", "instead"), [(b'"seq":1,', b'"seq":9,'), (b'"from":0,', b'"from":5,'), (b'"lane":1,', b'"lane":0,')]
)
async def test_an_audit_record_that_does_not_name_the_record_is_not_told_as_its_turn(
    tmp_path: Path, said: bytes, instead: bytes
) -> None:
    lanes = traffic()
    with indexed(tmp_path, lanes.topics) as file:
        for partition in (0, 1):
            log = lanes.log((NAMING.topic(topics.AUDIT), partition))
            for number, record in enumerate(log):
                value = (record.value or b"").replace(said, instead)
                log[number] = InputRecord(*place(record), record.timestamp, record.key, value, tuple(record.headers))
        story = await told(file, lanes.topics, message(3)["message_id"])
    assert story.lines[0].turn is None


# Dead letters


async def test_a_dead_letter_and_how_it_was_resolved_belong_to_their_message(tmp_path: Path) -> None:
    lanes = Recorder(topics.GATEWAY_MESSAGES, topics.TRIAGE)
    lanes.publish(registry())
    lanes.send(topics.IN_MESSAGES, encoded(1))
    lanes.run()
    box = NAMING.topic(topics.dead_letters(topics.TRIAGE)), 0
    inside = next(log[0] for log in lanes.topics[NAMING.topic(topics.MESSAGES)].values() if log)
    lanes.now += 5
    full = dead_letters.letter(inside, Kind.HANDLER_FAILED, ValueError("odd"))
    lanes.append(box, *dead_letters.without_value(full))
    lanes.append(box, full[0], None, tuple(resolution_headers("discarded by olga: test")))
    with indexed(tmp_path, lanes.topics) as file:
        story = await told(file, lanes.topics, message(1)["message_id"])
    assert steps(story)[-2:] == ["dead letter", "resolved"]
    letter = story.lines[-2]
    assert letter.says == "handler-failed: ValueError: odd"
    assert letter.turn is not None
    assert letter.turn.agent == topics.TRIAGE


# Workflows


def started(lanes: Recorder, workflow_id: str, *nodes: Any) -> None:  # noqa: ANN401
    command = {
        "command": "start",
        "command_id": ORDER,
        "workflow_id": workflow_id,
        "tenant_id": "acme",
        "requested_by": "ada",
        "constitutional_hash": HASH,
        "created_at": "2026-01-31T09:30:00Z",
        "definition": orjson.loads(definition(*nodes).canonical()),
        "input": {"order": 7},
    }
    lanes.send(topics.IN_WORKFLOWS, orjson.dumps(command))
    lanes.run()


def answered(lanes: Recorder, workflow_id: str, outcome: str, error: str | None = None) -> None:
    """A worker answers the last call."""
    partition = crc32(workflow_id.encode()) % PARTITIONS
    calls = lanes.log((NAMING.topic(topics.activities_of(topics.DEFAULT_QUEUE)), partition))
    call = ActivityCommand.model_validate_json(calls[-1].value or b"")
    made = {**attempt(call), "outcome": outcome, "worker": "worker-1", "error": error}
    made |= {"result": {"value": 1}} if outcome == "completed" else {}
    lanes.now += 10
    lanes.append((NAMING.topic(topics.ACTIVITY_RESULTS), partition), workflow_id.encode(), orjson.dumps(made))
    lanes.run()


async def test_a_workflow_that_is_undone_in_order(tmp_path: Path) -> None:
    lanes = Recorder(topics.GATEWAY_WORKFLOWS, topics.ORCHESTRATOR)
    lanes.publish(workflow_policy(1, "do_a", "undo_a", "do_b", "undo_b", "do_c", "undo_c"))
    started(lanes, "order-7", node("a"), node("b", "a"), node("c", "b"))
    for outcome in ("completed", "completed", "no_effect", "completed", "completed"):
        answered(lanes, "order-7", outcome, "no stock" if outcome == "no_effect" else None)
    with indexed(tmp_path, lanes.topics) as file:
        story = await told(file, lanes.topics, "order-")
        by_place = await told(file, lanes.topics, "t.in.workflows/0/0")
    assert (story.kind, story.id) == ("workflow", "order-7")
    assert by_place.lines == story.lines
    one = ["event", "called", "answered"]
    undone = ["event", "compensation", "undo", "answered"]
    assert steps(story) == ["received", "accepted", *one * 3, *undone * 2, "event"]
    compensations = [line.says for line in story.lines if line.step == "compensation"]
    assert [re.match(r"\d\. in order: (\w)", one)[1] for one in compensations] == ["b", "a"]  # type: ignore[index]
    assert "c: worker-1 says no_effect of do, attempt 1: no stock" in words(story)
    assert "the workflow is compensated" in story.lines[-1].details[-1]
    without = [line.step for line in story.lines if line.turn is None]
    assert without == [], "every record of a workflow has its turn"
    events: Sequence[Any] = [line for line in story.lines if line.step in {"event", "called"}]
    assert events[0].turn == events[1].turn != events[2].turn


async def test_what_comes_twice_is_told_as_the_turn_that_read_it_each_time(tmp_path: Path) -> None:
    lanes = Recorder(topics.GATEWAY_WORKFLOWS, topics.ORCHESTRATOR)
    lanes.publish(workflow_policy(1, "do_a", "undo_a", "do_b", "undo_b"))
    started(lanes, "order-7", node("a"), node("b", "a"))
    answered(lanes, "order-7", "completed")
    answers = lanes.log((NAMING.topic(topics.ACTIVITY_RESULTS), crc32(b"order-7") % PARTITIONS))
    lanes.append((answers[0].topic, answers[0].partition), answers[0].key, answers[0].value)
    lanes.run()
    started(lanes, "order-7", node("a"), node("b", "a"))
    with indexed(tmp_path, lanes.topics) as file:
        story = await told(file, lanes.topics, "order-7")
    events, answers_, calls = (
        [line.turn.seq for line in story.lines if line.step == step and line.turn is not None]
        for step in ("event", "answered", "called")
    )
    assert len(events) == 4, "started, completed, and two that were ignored"
    assert events == sorted({*events}), "each in a turn of its own, one after the other"
    assert answers_ == events[1:3]
    assert calls == events[:2]


async def test_a_command_that_is_refused_does_not_take_the_turn_of_the_one_before_it(tmp_path: Path) -> None:
    lanes = Recorder(topics.GATEWAY_WORKFLOWS, topics.ORCHESTRATOR)
    lanes.publish(workflow_policy(1, "do_a", "undo_a", "do_b", "undo_b"))
    started(lanes, "order-7", node("a"))
    lanes.now += 10
    started(lanes, "order-7", node("a"), node("b", "a"))
    with indexed(tmp_path, lanes.topics) as file:
        story = await told(file, lanes.topics, "order-7")
    (event,) = (line.turn for line in story.lines if line.step == "event")
    (refused,) = (line.turn for line in story.lines if line.step == "rejected")
    assert event is not None
    assert refused is not None
    assert event.seq < refused.seq


async def test_a_header_that_names_somebody_elses_record_brings_nothing_into_the_story(tmp_path: Path) -> None:
    lanes = Recorder(topics.GATEWAY_MESSAGES, topics.TRIAGE)
    lanes.publish(registry())
    lanes.send(topics.IN_MESSAGES, encoded(1), encoded(2, tenant_id="victim"))
    lanes.now += 5
    claims = ((envelope.SOURCE, b"t.in.messages/1/0"),)
    lanes.append((NAMING.topic(topics.IN_MESSAGES), 0), b"", encoded(3), claims)
    lanes.append((NAMING.topic(topics.IN_MESSAGES), 0), b"", encoded(4), (*claims, ("\udcff", b"")))
    lanes.run()
    with indexed(tmp_path, lanes.topics) as file:
        for number, steps_ in ((3, ["received", "rejected"]), (4, ["received", "dead letter"])):
            story = await told(file, lanes.topics, message(number)["message_id"])
            assert steps(story) == steps_
            assert {line.turn.agent for line in story.lines if line.turn} == {topics.GATEWAY_MESSAGES}


async def test_of_records_of_one_time_each_comes_after_what_it_follows_from(tmp_path: Path) -> None:
    lanes = Recorder(topics.GATEWAY_WORKFLOWS, topics.ORCHESTRATOR)
    lanes.publish(workflow_policy(1, "do_a", "undo_a", "do_b", "undo_b"))
    started(lanes, "order-7", node("a"), node("b", "a"))
    for outcome in ("completed", "no_effect", "completed"):
        answered(lanes, "order-7", outcome, "no stock" if outcome == "no_effect" else None)
    for parts in lanes.topics.values():
        for log in parts.values():
            log[:] = [InputRecord(*place(one), T0, *rest(one)) for one in log]
    with indexed(tmp_path, lanes.topics) as file:
        story = await told(file, lanes.topics, "order-7")
    assert list(dict.fromkeys(steps(story))) == [
        *("received", "accepted", "answered", "event", "compensation", "called", "undo")
    ]


def rest(record: Record) -> tuple[bytes | None, bytes | None, Headers]:
    return record.key, record.value, tuple(record.headers)


async def test_a_call_that_no_worker_takes_ends_by_its_timer(tmp_path: Path) -> None:
    lanes = Recorder(topics.GATEWAY_WORKFLOWS, topics.ORCHESTRATOR)
    lanes.publish(workflow_policy(1, "do_a"))
    started(lanes, "order-9", node("a", undo=False, retry=Retry(attempts=1)))
    for _ in range(3):
        lanes.pass_time(DAY_MS)
    with indexed(tmp_path, lanes.topics) as file:
        story = await told(file, lanes.topics, "order-9")
    timed = [line for line in story.lines if line.step == "event"][1:]
    assert timed
    assert all(line.turn is not None for line in timed)


async def test_a_call_that_waits_for_approvals_and_is_denied_by_time(tmp_path: Path) -> None:
    lanes = Recorder(topics.GATEWAY_WORKFLOWS, topics.ORCHESTRATOR, topics.DELIBERATOR)
    lanes.publish(workflow_policy(1, "do_a", "undo_a"))
    started(lanes, "order-8", node("a"), node("z", "a", activity="grave", undo=False))
    answered(lanes, "order-8", "completed")
    (item,) = held_items(lanes)
    for _ in range(2):
        lanes.pass_time(25 * 3_600_000)
    answered(lanes, "order-8", "completed")
    with indexed(tmp_path, lanes.topics) as file:
        story = await told(file, lanes.topics, "order-8")
        alone = await told(file, lanes.topics, item.item_id)
    assert "held" in steps(story)
    held = steps(story).index("held")
    assert steps(story)[held - 1] == "scored"
    assert {"expired", "answer"} <= set(steps(story)[held:])
    answer = next(line for line in story.lines if line.step == "answer")
    assert answer.says.startswith("denied by deliberation")
    expired = next(line for line in story.lines if line.step == "expired")
    assert answer.turn == expired.turn is not None
    assert story.lines[held].turn is not None
    assert story.lines[held].turn.agent == topics.ORCHESTRATOR
    assert set(steps(alone)) == {"scored", "held", "timer", "expired", "answer"}
    assert envelope.ITEM not in words(story)
