"""What the orchestrator decides on each kind of record, on the engine's own turns."""

import orjson
import pytest

from compensation.definition import Approval, Compensation, Kind, Retry, SignalWait, Timeouts, WorkflowDefinition
from compensation.durable.rows import Case, Closed, case_key, decode, encode, head_key
from compensation.errors import CompensationError
from schemas import envelope, topics
from schemas.activity import MAX_COMMAND_BYTES, MAX_RESULT_BYTES, Direction, Outcome
from schemas.reasons import Reason
from schemas.workflow import MAX_INPUT_BYTES, EventKind, Step, StepStatus, WorkflowState
from tests.support.orchestrated import DAY_MS, Orchestrated, attempt
from tests.support.saga import definition, node

ACTIVITIES = [f"{kind}_{id_}" for kind in ("do", "undo") for id_ in ("a", "b", "c")]


def running(*nodes_: object, **given: object) -> Orchestrated:
    lane = Orchestrated(*ACTIVITIES)
    lane.start(definition(*(nodes_ or (node("a"), node("b", "a")))), given)
    return lane


def reasons(lane: Orchestrated) -> list[str]:
    return [one.reason for one in lane.rejected]


# Forward and back


def test_a_workflow_goes_on_as_results_come_and_says_so() -> None:
    lane = running(order="7")
    assert (lane.done(), lane.state) == (["a"], WorkflowState.RUNNING)
    assert lane.last("a").input == {"order": "7"}
    lane.answer(lane.last("a"), result={"reserved": 3})
    given = lane.last("b").inputs["a"]
    assert given.value == {"reserved": 3}
    lane.answer(lane.last("b"), result="all")
    status = lane.status()
    assert status.state is WorkflowState.COMPLETED
    assert status.results is not None
    assert status.results["b"].value == "all"
    assert [event.event for event in lane.events] == [EventKind.STARTED, EventKind.ANSWERED, EventKind.ANSWERED]
    assert lane.events[1].statuses == {"a": StepStatus.COMPLETED, "b": StepStatus.EXECUTING}


def test_a_failure_undoes_in_reverse_order_and_each_undo_is_given_the_result_of_what_it_undoes() -> None:
    lane = running(node("a"), node("b", "a"), node("c", "b"))
    lane.answer(lane.last("a"), result=1)
    lane.answer(lane.last("b"), result=2)
    lane.answer(lane.last("c"), Outcome.NO_EFFECT)
    undo = lane.last("b", Direction.UNDO)
    assert (undo.activity, undo.result and undo.result.value) == ("undo_b", 2)
    lane.answer(undo, result="an undo's result is nobody's")
    again = lane.last("a", Direction.UNDO)
    assert again.result is not None
    assert again.result.value == 1
    lane.answer(again)
    assert lane.undone() == ["b", "a"]
    assert [one.compensation for one in lane.compensations] == ["undo_b", "undo_a"]
    assert lane.compensations[0].cause == "c: no_effect"
    assert lane.state is WorkflowState.COMPENSATED


def test_a_node_that_returned_nothing_completed_all_the_same_and_is_among_the_inputs() -> None:
    lane = running()
    lane.answer(lane.last("a"))
    assert lane.last("b").inputs["a"].value is None
    lane.answer(lane.last("a"), result="late twin")
    assert lane.events[-1].event is EventKind.IGNORED


def test_a_timeout_is_a_timer_and_the_next_attempt_is_given_the_details_of_the_last_sign_of_life() -> None:
    timeouts = Timeouts(schedule_to_start_ms=1_000, start_to_close_ms=9_000, heartbeat_ms=2_000)
    lane = running(node("a", timeouts=timeouts))
    for _ in range(4):
        lane.pass_time(1_500)
        lane.beat(lane.last("a"), details={"row": 41})
    version = lane.version()
    lane.beat(lane.last("a"), details={"row": 42})
    assert lane.version() == version
    lane.pass_time(4_100)
    assert [one.attempt for one in lane.sent] == [1, 2]
    assert lane.sent[1].details == {"row": 42}
    assert lane.cancels[0].token == lane.sent[0].token


def test_keys_stay_the_same_at_each_attempt_and_differ_by_direction_and_run() -> None:
    undo = Compensation(name="undo_a", activity="undo_a", idempotency_key="inv_{order_id}")
    lane = Orchestrated(*ACTIVITIES)
    nodes = (node("a", compensation=undo, retry=Retry(attempts=2, first_ms=1)), node("b", "a"))
    lane.start(definition(*nodes), {"order_id": "o-1"})
    first = lane.last("a")
    lane.answer(first, Outcome.FAILED)
    lane.pass_time(10)
    second = lane.last("a")
    assert (second.attempt, second.idempotency_key) == (2, first.idempotency_key)
    assert second.token != first.token
    lane.answer(second)
    lane.answer(lane.last("b"), Outcome.NO_EFFECT)
    back = lane.last("a", Direction.UNDO)
    assert back.idempotency_key == f"{back.run}:undo:0:inv_o-1"
    assert back.effect_key == first.effect_key
    lane.answer(back)
    lane.start(definition(*nodes), {"order_id": "o-1"}, workflow_id="w2")
    assert lane.last("a").idempotency_key != first.idempotency_key


# Starts


def test_the_same_start_again_is_the_same_workflow() -> None:
    lane = running()
    lane.start(definition(node("a"), node("b", "a")))
    assert (lane.done(), lane.rejected) == (["a"], [])
    assert (lane.events[-1].event, lane.events[-1].why) == (EventKind.IGNORED, "it has been started before")
    lane.answer(lane.last("a"))
    lane.answer(lane.last("b"))
    lane.start(definition(node("a"), node("b", "a")))
    assert lane.done() == ["a", "b"]
    assert lane.events[-1].state is WorkflowState.COMPLETED


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.parametrize("changed", ["input", "tags", "definition", "tenant"])
def test_another_start_under_the_same_id_is_refused(changed: str, *, is_closed: bool) -> None:
    lane = running(node("a"))
    if is_closed:
        lane.answer(lane.last("a"))
    given = {"x": 1} if changed == "input" else {}
    more = {"tags": {"tags": ["t"]}, "tenant": {"tenant_id": "globex"}}.get(changed, {})
    lane.start(definition(node("c" if changed == "definition" else "a")), given, **more)
    assert reasons(lane) == [Reason.OTHER_CONTENT]
    assert "take another id" in lane.rejected[0].detail
    assert lane.done() == ["a"]


def test_a_definition_that_cannot_run_is_refused_with_every_problem() -> None:
    lane = Orchestrated(*ACTIVITIES)
    text = orjson.loads(definition(node("a"), node("b", "a")).canonical())
    text["nodes"][0]["dependencies"] = ["b"]
    lane.start(text)
    text["nodes"] = [{"id": "a"}]
    lane.start(text)
    lane.start({"name": "x", "nodes": [{"id": str(n), "name": "n", "activity": 7} for n in range(30)]})
    assert reasons(lane) == [Reason.INVALID_DEFINITION] * 3
    assert "cycle" in lane.rejected[0].detail
    assert "nodes.0.name" in lane.rejected[1].detail
    assert "and 21 more" in lane.rejected[2].detail


def test_what_a_workflow_may_not_be_started_with() -> None:
    lane = Orchestrated(*ACTIVITIES)
    keyed = definition(node("a", idempotency_key="k_{order_id}"))
    lane.start(keyed, {})
    lane.start(keyed, {"order_id": ["no text"]})
    lane.start(definition(node("a")), {"x": "y" * MAX_INPUT_BYTES})
    lane.start(definition(node("a", queue="nowhere")))
    approval = node("x", kind=Kind.APPROVAL, approval=Approval(tier="no such tier", deadline_ms=1_000))
    lane.start(definition(approval))
    huge = definition(*(node(f"n{n}", activity="do_" + "x" * 250) for n in range(1_000)))
    text = orjson.loads(huge.canonical())
    text["nodes"] = [{**one, "name": "x" * 256, "idempotency_key": "k" * 200} for one in text["nodes"]]
    lane.start(text)
    assert reasons(lane) == [
        Reason.INVALID_INPUT,
        Reason.INVALID_INPUT,
        Reason.INVALID_INPUT,
        Reason.UNKNOWN_QUEUE,
        Reason.INVALID_DEFINITION,
        Reason.INVALID_DEFINITION,
    ]
    assert "order_id" in lane.rejected[0].detail
    assert "allowed are" in lane.rejected[5].detail
    assert not lane.driver.state.rows


# False and useless records


def test_results_that_prove_nothing_are_rejected_with_their_reason() -> None:
    lane = running()
    command = lane.last("a")
    lane.answer(command, said={"token": "0" * 32})
    lane.answer(command, said={"run": "0" * 32})
    lane.answer(command, said={"workflow_id": "nobody"})
    lane.answer(command, said={"round": 1})
    lane.answer(command, said={"outcome": "no such outcome"})
    lane.send(topics.ACTIVITY_RESULTS, b"{")
    lane.send(topics.ACTIVITY_RESULTS, b"[]")
    lane.send(topics.ACTIVITY_RESULTS, None)
    lane.send(topics.HEARTBEATS, b'{"v":1}')
    assert reasons(lane) == [
        Reason.WRONG_TOKEN,
        Reason.UNKNOWN_WORKFLOW,
        Reason.UNKNOWN_WORKFLOW,
        Reason.WRONG_TOKEN,
        Reason.INVALID_VALUE,
        Reason.TRUNCATED,
        Reason.NOT_AN_OBJECT,
        Reason.NULL_VALUE,
        Reason.INVALID_VALUE,
    ]
    assert all(one.detail for one in lane.rejected)
    assert lane.done() == ["a"]


def test_a_result_that_came_before_is_told_of_and_changes_nothing() -> None:
    lane = running()
    lane.answer(lane.last("a"))
    rows = dict(lane.driver.state.rows)
    lane.answer(lane.sent[0])
    assert lane.events[-1].event is EventKind.IGNORED
    assert lane.events[-1].why == "it has been counted: node is completed"
    kept = {key: stored.row for key, stored in lane.driver.state.rows.items()}
    assert kept == {key: stored.row for key, stored in rows.items()}
    lane.answer(lane.last("b"))
    lane.answer(lane.last("b"))
    assert lane.events[-1].why == "the workflow is completed"
    assert lane.rejected == []


def test_a_result_too_large_to_keep_is_a_failure_and_is_undone() -> None:
    lane = running(node("a"))
    lane.answer(lane.last("a"), result="x" * MAX_RESULT_BYTES)
    assert lane.undone() == ["a"]
    assert "claim-check" in (lane.events[-1].why or "")
    claimed = Orchestrated(*ACTIVITIES)
    claimed.start(definition(node("a"), node("b", "a")))
    claim = {"claim": {"sha256": "ab" * 32, "bytes": 100_000}}
    claimed.answer(claimed.last("a"), said={"result": claim})
    given = claimed.last("b").inputs["a"]
    assert given.claim is not None
    assert given.claim.bytes == 100_000


def test_inputs_too_large_for_a_command_fail_the_node_without_an_effect() -> None:
    many = [node(f"n{n}", activity="do_a", undo=False) for n in range(40)]
    lane = running(*many, node("join", *(one.id for one in many), activity="do_b", undo=False))
    for command in list(lane.sent):
        lane.answer(command, result="x" * (MAX_RESULT_BYTES - 20))
    assert lane.state is WorkflowState.COMPENSATED
    assert lane.status().cause is not None
    assert f"allowed are {MAX_COMMAND_BYTES}" in (lane.status().cause or "")
    assert "join" not in lane.done()


def test_commands_for_what_is_not_there_or_does_not_fit_are_refused() -> None:
    lane = running()
    lane.command("cancel", workflow_id="nobody", reason="why not")
    lane.command("cancel", tenant_id="globex", reason="not mine")
    lane.command("retry", node="zz", version=1, reason="typo")
    lane.command("retry", node="a", version=99, reason="stale")
    lane.command("retry", node="a", version=lane.version(), reason="not parked")
    lane.command("signal", node="a", payload=1)
    lane.command("signal", node="a", payload="x" * MAX_RESULT_BYTES)
    lane.command("resume", reason="not paused")
    assert reasons(lane) == [
        Reason.UNKNOWN_WORKFLOW,
        Reason.OTHER_TENANT,
        Reason.NOT_APPLICABLE,
        Reason.NOT_APPLICABLE,
        Reason.NOT_APPLICABLE,
        Reason.NOT_APPLICABLE,
        Reason.RESULT_TOO_LARGE,
        Reason.NOT_APPLICABLE,
    ]
    assert "version" in lane.rejected[3].detail
    lane.answer(lane.last("a"))
    lane.answer(lane.last("b"))
    lane.command("cancel", reason="too late")
    assert lane.rejected[-1].detail == "it is completed"


# People


def test_a_cancel_undoes_and_says_who_and_why() -> None:
    lane = running()
    lane.answer(lane.last("a"))
    command_id = lane.command("cancel", reason="the customer left")
    assert lane.cancels[0].node == "b"
    assert (lane.events[-1].event, lane.events[-1].by, lane.events[-1].verified) == (EventKind.CANCELLED, "ada", False)
    assert lane.events[-1].command_id == command_id
    lane.answer(lane.last("b"), Outcome.NEVER_STARTED)
    lane.answer(lane.last("a", Direction.UNDO))
    assert lane.status().cause == "cancelled by ada: the customer left"
    assert lane.state is WorkflowState.COMPENSATED


def test_an_operator_retries_skips_or_marks_what_is_blocked() -> None:
    timeouts = Timeouts(schedule_to_start_ms=1_000)
    for order, after in (("retry", ["a", "a"]), ("mark_done", ["a", "b"])):
        lane = running(node("a", timeouts=timeouts), node("b", "a"))
        lane.answer(lane.last("a"), Outcome.UNKNOWN_ACTIVITY)
        lane.pass_time(5_000)
        status = lane.status()
        assert [one.status for one in status.attention] == [StepStatus.BLOCKED]
        assert status.attention_count == 1
        payload = {"payload": {"by hand": True}} if order == "mark_done" else {}
        is_signed = order == "retry"
        lane.command(order, node="a", version=lane.version(), reason="deployed", verified=is_signed, **payload)
        (told,) = [event for event in lane.events if event.event is EventKind.ORDERED]
        assert (told.by, told.verified) == ("ada", is_signed)
        assert lane.done() == after
        assert lane.status().attention == ()
    assert lane.last("b").inputs["a"].value == {"by hand": True}


def test_a_parked_compensation_is_listed_and_skipped_with_an_exception() -> None:
    lane = running(
        node("a", compensation=Compensation(name="undo_a", activity="undo_a", max_retries=0)), node("b", "a")
    )
    lane.answer(lane.last("a"))
    lane.answer(lane.last("b"), Outcome.NO_EFFECT)
    while lane.state is not WorkflowState.COMPENSATION_FAILED:
        lane.answer(lane.last("a", Direction.UNDO), Outcome.FAILED)
        lane.pass_time(3_600_000)
    assert lane.status().attention[0].node == "a"
    lane.command("skip", node="a", version=lane.version(), reason="refunded by hand")
    assert lane.state is WorkflowState.COMPENSATED_WITH_EXCEPTIONS


def test_a_signal_completes_its_node_with_its_payload_even_if_it_comes_first() -> None:
    waits = node("s", "a", kind=Kind.SIGNAL, signal=SignalWait(deadline_ms=10_000))
    for early in (True, False):
        lane = running(node("a"), waits, node("b", "s"))
        if early:
            lane.command("signal", node="s", payload={"ok": 1})
            lane.answer(lane.last("a"))
        else:
            lane.answer(lane.last("a"))
            assert lane.status().attention[0].why == "it waits for a signal"
            lane.command("signal", node="s", payload={"ok": 1})
        lane.pass_time(1)
        assert lane.last("b").inputs["s"].value == {"ok": 1}
        lane.command("signal", node="s", payload={"ok": 2})
        assert reasons(lane) == [Reason.NOT_APPLICABLE]


def test_a_signal_that_does_not_come_fails_its_node() -> None:
    lane = running(node("a"), node("s", "a", kind=Kind.SIGNAL, signal=SignalWait(deadline_ms=10_000)))
    lane.answer(lane.last("a"))
    lane.pass_time(10_001)
    assert lane.undone() == ["a"]
    assert lane.status().cause == "s: no signal in time"


# Approvals


def test_a_dangerous_command_waits_bound_to_what_it_would_do_and_goes_on_when_approved() -> None:
    lane = running(node("a"), node("b", "a", activity="grave_deed"))
    lane.answer(lane.last("a"), result=5)
    assert lane.done() == ["a"]
    (held,) = lane.held
    assert held.value["activity"] == "grave_deed"
    assert held.value["inputs"] == {"a": {"value": 5}}
    assert held.value["compensation"] == "undo_b"
    assert held.item.tier == "high"
    assert envelope.CARD in held.headers
    assert lane.status().attention[0].node == "b"
    assert "too dangerous" in lane.status().attention[0].why
    asked = lane.events[-1].asked[0]
    assert (asked.step, asked.score) == (Step.ASK, 8_000)
    lane.verdict(approved=True)
    assert lane.done() == ["a", "b"]
    assert lane.status().attention == ()


@pytest.mark.parametrize("said", [{}, {"verified": False}, {"verified": True}, {"ours": True}])
def test_whose_start_is_not_proven_has_every_action_held_where_messages_must_be_signed(said: dict[str, bool]) -> None:
    lane = Orchestrated(*ACTIVITIES, signed_tenants=("acme",))
    lane.start(definition(node("a"), node("b", "a")), verified=said.get("verified"), ours=said.get("ours", False))
    is_proven = bool(said.get("verified") or said.get("ours"))
    if not is_proven:
        assert lane.sent == []
        (held,) = lane.held
        assert not held.item.sender_verified
        lane.verdict(approved=True, item=held)
    lane.answer(lane.last("a"))
    assert (lane.done(), len(lane.held)) == ((["a", "b"], 0) if is_proven else (["a"], 2))
    assert lane.events[0].verified is is_proven


def test_a_row_of_the_version_before_is_read_as_of_a_start_that_is_not_proven() -> None:
    lane = Orchestrated(*ACTIVITIES)
    lane.start(definition(node("a")), verified=True)
    case = lane.driver.state.rows[case_key("w")].row
    assert isinstance(case, Case)
    _, *written, proven = orjson.loads(encode(case))
    assert (proven, decode(encode(case))) == (True, case)
    assert decode(orjson.dumps([1, *written])) == case._replace(verified=False)
    with pytest.raises(CompensationError, match="run a release that knows it"):
        decode(orjson.dumps([3, *written, proven]))


def test_a_dangerous_command_that_is_not_approved_is_not_done_and_what_was_done_is_undone() -> None:
    lane = running(node("a"), node("b", "a", activity="grave_deed"))
    lane.answer(lane.last("a"))
    lane.verdict(approved=False)
    assert (lane.done(), lane.undone()) == (["a"], ["a"])
    assert lane.status().cause == "b: said so"


def test_a_verdict_for_another_item_run_or_node_counts_for_nothing() -> None:
    lane = running(node("a"), node("b", "a", activity="grave_deed"))
    lane.answer(lane.last("a"))
    lane.verdict(approved=True, item_id="11111111-1111-1111-1111-111111111111")
    lane.verdict(approved=True, run="0" * 32)
    lane.verdict(approved=True, node="a")
    lane.verdict(approved=True, node="zz")
    lane.verdict(approved=True, node=None)
    assert reasons(lane) == [
        Reason.NOT_APPLICABLE,
        Reason.UNKNOWN_WORKFLOW,
        Reason.NOT_APPLICABLE,
        Reason.NOT_APPLICABLE,
        Reason.NOT_APPLICABLE,
    ]
    assert lane.done() == ["a"]


def test_what_is_of_no_use_any_more_is_withdrawn() -> None:
    lane = running(node("a"), node("b", "a", activity="grave_deed"))
    lane.answer(lane.last("a"))
    lane.command("cancel", reason="enough")
    assert lane.withdrawn == [lane.held[0].item.item_id]
    lane.verdict(approved=True, item=lane.held[0])
    assert reasons(lane) == [Reason.NOT_APPLICABLE]
    assert lane.done() == ["a"]


def test_an_approval_node_waits_for_its_tier_and_its_result_says_who_said_what() -> None:
    approval = node("ok", "a", kind=Kind.APPROVAL, approval=Approval(tier="severe", deadline_ms=60_000))
    lane = running(node("a"), approval, node("b", "ok"))
    lane.answer(lane.last("a"))
    (held,) = lane.held
    assert (held.item.tier, held.item.deadline_s) == ("severe", 60)
    lane.verdict(approved=True)
    assert lane.last("b").inputs["ok"].value == {"approved": True, "why": "said so"}


def test_a_compensation_that_is_dangerous_holds_the_start() -> None:
    grave = Compensation(name="undo_a", activity="grave_undo")
    lane = running(node("a", compensation=grave))
    assert (lane.done(), lane.state) == ([], WorkflowState.PAUSED)
    assert lane.status().attention[0].node is None
    lane.command("resume", reason="go")
    assert reasons(lane) == [Reason.NOT_APPLICABLE]
    lane.verdict(approved=True)
    assert (lane.done(), lane.state) == (["a"], WorkflowState.RUNNING)
    refused = running(node("a", compensation=grave))
    refused.verdict(approved=False)
    assert (refused.done(), refused.state) == ([], WorkflowState.COMPENSATED)
    cancelled = running(node("a", compensation=grave))
    cancelled.command("cancel", reason="enough")
    assert (len(cancelled.withdrawn), cancelled.state) == (1, WorkflowState.COMPENSATED)


# Policies that change


def test_a_retry_is_weighed_by_the_policy_of_its_moment() -> None:
    lane = running(node("a", retry=Retry(attempts=3, first_ms=100)))
    lane.publish(2)
    lane.answer(lane.last("a"), Outcome.FAILED)
    lane.pass_time(100)
    assert (len(lane.sent), len(lane.held)) == (1, 1)
    lane.verdict(approved=True)
    assert [one.attempt for one in lane.sent] == [1, 2]


def test_a_queue_that_a_policy_takes_away_blocks_its_nodes_and_loses_nothing() -> None:
    lane = Orchestrated(*ACTIVITIES, queues=("default", "other"))
    lane.start(definition(node("a"), node("b", "a", queue="other", timeouts=Timeouts(schedule_to_start_ms=1_000))))
    lane.publish(2, *ACTIVITIES, queues=("default",))
    lane.answer(lane.last("a"))
    lane.pass_time(5_000)
    assert lane.status().attention[0].status is StepStatus.BLOCKED
    assert "no queue 'other'" in lane.status().attention[0].why
    lane.publish(3, *ACTIVITIES, queues=("default", "other"))
    lane.command("retry", node="b", version=lane.version(), reason="it is back")
    assert lane.done() == ["a", "b"]


# The end


def test_a_closed_workflow_is_one_small_row_and_is_forgotten_in_time() -> None:
    lane = running(node("a"))
    lane.answer(lane.last("a"))
    assert list(lane.driver.state.rows) == [head_key("w")]
    assert isinstance(lane.driver.state.rows[head_key("w")].row, Closed)
    lane.pass_time(30 * DAY_MS)
    assert not lane.driver.state.rows
    assert not lane.statuses
    lane.start(definition(node("b")))
    assert lane.done() == ["a", "b"]


def test_a_workflow_with_an_attempt_that_never_answered_is_kept_whole_and_a_late_success_is_undone() -> None:
    timeouts = Timeouts(schedule_to_start_ms=1_000, start_to_close_ms=1_000)
    lane = running(node("a", timeouts=timeouts, retry=Retry(attempts=1)))
    lane.pass_time(20_000)
    lane.answer(lane.last("a", Direction.UNDO))
    assert lane.state is WorkflowState.COMPENSATED
    assert len(lane.driver.state.rows) == 3
    lane.answer(lane.sent[0], result="it happened after all")
    again = lane.last("a", Direction.UNDO)
    assert (again.round, lane.state) == (1, WorkflowState.COMPENSATING)
    assert again.result is not None
    assert again.result.value == "it happened after all"
    lane.answer(again)
    assert lane.state is WorkflowState.COMPENSATED
    lane.pass_time(30 * DAY_MS)
    assert not lane.driver.state.rows


def test_every_attempt_has_a_token_of_its_own() -> None:
    lane = running(node("a", retry=Retry(attempts=9, first_ms=1)), node("b"))
    lane.answer(lane.last("b"))
    for _ in range(5):
        lane.answer(lane.last("a"), Outcome.FAILED)
        lane.pass_time(40_000)
    tokens = [one.token for one in lane.sent]
    assert len(set(tokens)) == len(tokens) == 7
    assert attempt(lane.sent[0])["token"] == tokens[0]


def test_a_definition_travels_by_value_so_that_a_running_workflow_keeps_its_own() -> None:
    lane = running()
    other = WorkflowDefinition.parse(definition(node("a"), node("c", "a")).canonical())
    lane.start(other, workflow_id="w2")
    lane.answer(lane.sent[0])
    lane.answer(lane.sent[1])
    assert lane.done() == ["a", "a", "b", "c"]
