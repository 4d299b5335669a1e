"""The state machine of workflows, rule by rule."""

import pytest

from compensation.definition import Approval, Compensation, Kind, Node, Retry, RunIf, SignalWait, Timeouts
from compensation.events import Answered, Beat, Call, Operate, Order, Pause, Resume, Signal, Stop, Withdraw
from compensation.status import StepStatus, WorkflowState
from schemas.activity import Direction, Outcome
from tests.support.saga import Saga, definition, node, run_down

HOUR_MS = 3_600_000
ONCE = Retry(attempts=1)


def chain(*ids: str, **changes: object) -> Saga:
    nodes = [node(id_, *ids[:at][-1:], retry=ONCE) for at, id_ in enumerate(ids)]
    return Saga(definition(*nodes, **changes))


def after(*completed: str, of: Saga) -> Saga:
    for id_ in completed:
        of.answer(id_)
    return of


# Forward


def test_a_ready_node_starts_at_once_and_a_join_waits_for_all() -> None:
    saga = Saga(definition(node("a"), node("b"), node("c", "a"), node("join", "b", "c")))
    assert saga.done == ["a", "b"]
    saga.answer("a")
    assert saga.done == ["a", "b", "c"]
    saga.answer("c")
    assert saga.done == ["a", "b", "c"]
    saga.answer("b")
    assert saga.done[-1] == "join"
    saga.answer("join")
    assert saga.state is WorkflowState.COMPLETED


def test_a_retryable_failure_is_tried_again_after_its_pause_until_its_attempts_are_used_up() -> None:
    saga = Saga(definition(node("a", retry=Retry(attempts=3, first_ms=1_000, factor=2))))
    for pause in (1_000, 2_000):
        saga.answer("a", Outcome.FAILED)
        assert saga.status("a") is StepStatus.WAITING
        saga.pass_time(pause - 1)
        assert saga.status("a") is StepStatus.WAITING
        saga.pass_time(1)
        assert saga.status("a") is StepStatus.EXECUTING
    saga.answer("a", Outcome.FAILED)
    assert saga.undone == ["a"]
    assert len(saga.done) == 3


def test_the_pause_between_attempts_has_a_cap() -> None:
    saga = Saga(definition(node("a", retry=Retry(attempts=9, first_ms=1_000, factor=10, cap_ms=5_000))))
    for _ in range(3):
        saga.answer("a", Outcome.FAILED)
        saga.pass_time(5_000)
    assert len(saga.done) == 4


def test_a_final_failure_is_not_tried_again() -> None:
    saga = Saga(definition(node("a")))
    saga.answer("a", Outcome.FINAL)
    assert (saga.done, saga.undone) == (["a"], ["a"])


def test_all_attempts_together_end_with_schedule_to_close() -> None:
    timeouts = Timeouts(schedule_to_close_ms=2_500)
    saga = Saga(definition(node("a", timeouts=timeouts)))
    saga.answer("a", Outcome.FAILED)
    saga.pass_time(1_000)
    saga.answer("a", Outcome.FAILED)
    assert saga.undone == ["a"]


def test_an_attempt_without_an_answer_counts_as_failed_and_its_worker_is_told() -> None:
    timeouts = Timeouts(schedule_to_start_ms=1_000, start_to_close_ms=5_000)
    saga = Saga(definition(node("a", timeouts=timeouts, retry=Retry(attempts=2))))
    saga.pass_time(1_000 + 5_000 + saga.plan.skew_ms)
    assert Stop("a", Direction.DO, 0, 1) in saga.commands
    assert saga.nodes["a"].happened
    saga.pass_time(1_000)
    assert saga.nodes["a"].attempt == 2


def test_silence_beyond_the_heartbeat_ends_an_attempt_and_a_sign_of_life_prolongs_it() -> None:
    timeouts = Timeouts(schedule_to_start_ms=1_000, start_to_close_ms=HOUR_MS, heartbeat_ms=2_000)
    saga = Saga(definition(node("a", timeouts=timeouts)))
    for _ in range(5):
        saga.pass_time(2_500)
        assert saga.send(Beat("a", Direction.DO, 0, 1)).refused is None
    assert saga.status("a") is StepStatus.EXECUTING
    saga.pass_time(2_000 + saga.plan.skew_ms)
    assert saga.status("a") is StepStatus.WAITING


def test_unknown_sticks_until_an_attempt_succeeds() -> None:
    saga = Saga(definition(node("a", retry=Retry(attempts=2))))
    saga.answer("a", Outcome.FAILED)
    saga.pass_time(1_000)
    saga.answer("a", Outcome.NO_EFFECT)
    assert saga.undone == ["a"]


def test_the_success_of_an_earlier_attempt_counts_and_the_present_one_is_stopped() -> None:
    saga = Saga(definition(node("a"), node("b", "a")))
    saga.answer("a", Outcome.FAILED)
    saga.pass_time(1_000)
    saga.answer("a", attempt=1)
    assert Stop("a", Direction.DO, 0, 2) in saga.commands
    assert saga.done == ["a", "a", "b"]


def test_an_optional_node_fails_alone_and_what_depends_on_it_is_skipped() -> None:
    saga = Saga(definition(node("a", optional=True, undo=False), node("b", "a"), node("c", "b"), node("d")))
    saga.answer("a", Outcome.NO_EFFECT)
    assert saga.statuses() == {
        "a": StepStatus.NO_EFFECT,
        "b": StepStatus.SKIPPED,
        "c": StepStatus.SKIPPED,
        "d": StepStatus.EXECUTING,
    }
    saga.answer("d")
    assert saga.state is WorkflowState.COMPLETED


def test_what_depends_on_a_failed_node_is_skipped_although_others_complete_later() -> None:
    saga = Saga(definition(node("a", optional=True, undo=False), node("b"), node("c", "a", "b")))
    saga.answer("a", Outcome.NO_EFFECT)
    saga.answer("b")
    assert (saga.status("c"), saga.state) == (StepStatus.SKIPPED, WorkflowState.COMPLETED)


def test_an_optional_node_that_may_have_happened_is_undone_alone_before_the_workflow_completes() -> None:
    saga = Saga(definition(node("a", optional=True, retry=ONCE), node("b")))
    saga.answer("a", Outcome.FAILED)
    saga.answer("b")
    assert (saga.undone, saga.state) == (["a"], WorkflowState.RUNNING)
    saga.undo("a")
    assert saga.state is WorkflowState.COMPLETED
    assert saga.status("b") is StepStatus.COMPLETED


def test_a_node_that_runs_if_all_settled_runs_after_a_failed_and_a_skipped_one() -> None:
    saga = Saga(
        definition(
            node("a", optional=True, undo=False), node("b", "a"), node("join", "a", "b", run_if=RunIf.ALL_SETTLED)
        )
    )
    saga.answer("a", Outcome.NO_EFFECT)
    assert saga.done == ["a", "join"]


def test_a_sleep_completes_by_time_alone() -> None:
    saga = Saga(definition(node("nap", kind=Kind.SLEEP, sleep_ms=HOUR_MS), node("b", "nap")))
    saga.pass_time(HOUR_MS - 1)
    assert saga.done == []
    saga.pass_time(1)
    assert saga.done == ["b"]


APPROVAL = Approval(tier="high", deadline_ms=HOUR_MS)


@pytest.mark.parametrize("approved", [True, False])
def test_an_approval_waits_for_its_verdict(approved: bool) -> None:  # noqa: FBT001
    saga = Saga(definition(node("a"), node("ok", "a", kind=Kind.APPROVAL, approval=APPROVAL), node("b", "ok")))
    saga.answer("a")
    assert (saga.asked, saga.done) == (["ok"], ["a"])
    saga.verdict("ok", approved=approved)
    assert (saga.done, saga.undone) == ((["a", "b"], []) if approved else (["a"], ["a"]))


def test_an_approval_that_nobody_gives_in_time_fails() -> None:
    saga = Saga(definition(node("a"), node("ok", "a", kind=Kind.APPROVAL, approval=APPROVAL)))
    saga.answer("a")
    saga.pass_time(HOUR_MS)
    assert saga.undone == ["a"]


@pytest.mark.parametrize("approved", [True, False])
def test_a_dangerous_call_is_not_made_before_it_is_released(approved: bool) -> None:  # noqa: FBT001
    saga = Saga(definition(node("a"), node("danger", "a")), holds=["danger"])
    saga.answer("a")
    assert (saga.asked, saga.done) == (["danger"], ["a"])
    saga.verdict("danger", approved=approved)
    assert (saga.done, saga.undone) == ((["a", "danger"], []) if approved else (["a"], ["a"]))


def test_an_unknown_activity_backs_off_and_is_then_blocked_until_an_operator_acts() -> None:
    saga = Saga(definition(node("a", timeouts=Timeouts(schedule_to_start_ms=5_000), retry=Retry(attempts=1))))
    for _ in range(9):
        if saga.status("a") is StepStatus.EXECUTING:
            saga.answer("a", Outcome.UNKNOWN_ACTIVITY)
        saga.pass_time(1_000)
    assert saga.status("a") is StepStatus.BLOCKED
    saga.order("a", Order.RETRY)
    assert (saga.nodes["a"].round, saga.nodes["a"].attempt) == (1, 1)
    saga.answer("a")
    assert saga.state is WorkflowState.COMPLETED


def test_paused_commands_nothing_takes_answers_and_goes_on_where_it_was() -> None:
    saga = Saga(definition(node("a"), node("b", "a"), node("c")))
    saga.send(Pause())
    saga.answer("a")
    saga.answer("c", Outcome.FAILED)
    saga.pass_time(HOUR_MS)
    assert saga.done == ["a", "c"]
    saga.send(Resume())
    assert sorted(saga.done) == ["a", "b", "c", "c"]


# Failing


def test_undo_runs_one_at_a_time_in_reverse_of_recorded_completions() -> None:
    saga = Saga(definition(node("a"), node("b"), node("c"), node("d", "a", "b", "c", retry=ONCE)))
    after("b", "c", "a", of=saga)
    saga.answer("d", Outcome.NO_EFFECT)
    for expected in (["a"], ["a", "c"], ["a", "c", "b"]):
        assert saga.undone == expected
        saga.undo(expected[-1])
    assert saga.state is WorkflowState.COMPENSATED
    assert saga.status("d") is StepStatus.NO_EFFECT


def test_what_may_have_happened_is_undone_first() -> None:
    saga = after("a", "b", of=chain("a", "b", "c"))
    saga.answer("c", Outcome.FAILED)
    run_down(saga)
    assert saga.undone == ["c", "b", "a"]


def test_of_what_may_have_happened_the_last_commanded_is_undone_first() -> None:
    saga = Saga(definition(node("a", retry=ONCE), node("b", retry=ONCE), node("bad", retry=ONCE)))
    saga.answer("bad", Outcome.NO_EFFECT)
    saga.answer("b", Outcome.FAILED)
    saga.answer("a", Outcome.FAILED)
    run_down(saga)
    assert saga.undone == ["b", "a"]


def test_a_late_success_beside_an_undo_in_flight_is_undone_again_and_ends() -> None:
    saga = Saga(definition(node("a"), node("b", "a"), node("c"), node("bad", "b", "c", retry=ONCE), parallel_undo=True))
    saga.answer("c", Outcome.FAILED)
    saga.pass_time(1_000)
    after("c", "a", "b", of=saga)
    saga.answer("bad", Outcome.NO_EFFECT)
    assert sorted(saga.undone) == ["b", "c"]
    saga.undo("c")
    assert saga.answer("c", attempt=1).refused is None
    run_down(saga)
    assert sorted(saga.undone) == ["a", "b", "c", "c"]
    assert saga.state is WorkflowState.COMPENSATED


def test_a_node_that_was_never_commanded_is_not_undone() -> None:
    saga = after("a", of=chain("a", "b", "c"))
    saga.answer("b", Outcome.NO_EFFECT)
    run_down(saga)
    assert saga.undone == ["a"]
    assert saga.status("c") is StepStatus.SKIPPED


def test_a_failing_workflow_cancels_what_is_in_flight_and_waits_for_it() -> None:
    saga = Saga(definition(node("a"), node("slow"), node("bad", "a", retry=ONCE)))
    saga.answer("a")
    saga.answer("bad", Outcome.NO_EFFECT)
    assert saga.state is WorkflowState.DRAINING
    assert Stop("slow", Direction.DO, 0, 1) in saga.commands
    assert saga.undone == []
    saga.answer("slow")
    run_down(saga)
    assert saga.undone == ["slow", "a"]


def test_what_does_not_end_while_draining_is_unknown() -> None:
    timeouts = Timeouts(schedule_to_start_ms=1_000)
    saga = Saga(definition(node("slow", timeouts=timeouts), node("bad", retry=ONCE), drain_timeout_ms=5_000))
    saga.answer("bad", Outcome.NO_EFFECT)
    saga.pass_time(4_999)
    assert saga.state is WorkflowState.DRAINING
    saga.pass_time(1)
    assert saga.undone == ["slow"]


def test_draining_tries_nothing_again() -> None:
    saga = Saga(definition(node("a"), node("bad", retry=ONCE)))
    saga.answer("bad", Outcome.NO_EFFECT)
    saga.answer("a", Outcome.FAILED)
    assert (saga.done, saga.undone) == (["a", "bad"], ["a"])


def test_the_undo_of_unknown_waits_until_the_forward_call_cannot_start_any_more() -> None:
    timeouts = Timeouts(schedule_to_start_ms=60_000)
    saga = Saga(definition(node("charge", timeouts=timeouts), node("bad", retry=ONCE), drain_timeout_ms=1_000))
    saga.answer("bad", Outcome.NO_EFFECT)
    saga.pass_time(1_000)
    assert (saga.status("charge"), saga.undone) == (StepStatus.UNKNOWN, [])
    saga.pass_time(59_000 + saga.plan.skew_ms)
    assert saga.undone == ["charge"]


def test_an_answer_of_any_kind_ends_that_wait() -> None:
    saga = Saga(definition(node("charge"), node("bad", retry=ONCE), drain_timeout_ms=1_000))
    saga.answer("bad", Outcome.NO_EFFECT)
    saga.pass_time(1_000)
    saga.answer("charge", Outcome.FAILED)
    assert saga.undone == ["charge"]


def test_parallel_undo_keeps_dependents_before_what_they_depend_on() -> None:
    saga = Saga(
        definition(
            node("root"),
            node("left", "root"),
            node("right", "root"),
            node("bad", "left", "right", retry=ONCE),
            parallel_undo=True,
        )
    )
    after("root", "left", "right", of=saga)
    saga.answer("bad", Outcome.NO_EFFECT)
    assert sorted(saga.undone) == ["left", "right"]
    saga.undo("left")
    assert sorted(saga.undone) == ["left", "right"]
    saga.undo("right")
    assert saga.undone[-1] == "root"


def test_parallel_undo_sees_dependence_through_nodes_that_need_no_undo() -> None:
    saga = Saga(
        definition(
            node("first"),
            node("between", "first", undo=False),
            node("last", "between"),
            node("bad", "last", retry=ONCE),
            parallel_undo=True,
        )
    )
    after("first", "between", "last", of=saga)
    saga.answer("bad", Outcome.NO_EFFECT)
    assert saga.undone == ["last"]


def test_cancelling_undoes_like_failing_and_withdraws_what_waits() -> None:
    saga = Saga(definition(node("a"), node("ok", "a", kind=Kind.APPROVAL, approval=APPROVAL)))
    saga.answer("a")
    saga.cancel()
    assert Withdraw("ok") in saga.commands
    assert saga.status("ok") is StepStatus.SKIPPED
    run_down(saga)
    assert saga.state is WorkflowState.COMPENSATED


def test_a_cancel_during_compensation_changes_nothing() -> None:
    saga = after("a", of=chain("a", "b"))
    saga.answer("b", Outcome.NO_EFFECT)
    refused = saga.cancel()
    assert (refused.refused, refused.nodes, refused.commands) == (
        "it is compensating: everything is undone already",
        {},
        (),
    )


def test_a_deadline_cancels_what_runs_but_no_compensation() -> None:
    saga = Saga(definition(node("a"), node("b", "a"), deadline_ms=HOUR_MS, drain_timeout_ms=1_000))
    saga.answer("a")
    saga.answer("b", Outcome.NO_EFFECT)
    saga.pass_time(2 * HOUR_MS)
    assert saga.state is WorkflowState.COMPENSATING
    late = Saga(definition(node("a", timeouts=Timeouts(start_to_close_ms=2 * HOUR_MS)), deadline_ms=HOUR_MS))
    late.pass_time(HOUR_MS)
    assert late.state is WorkflowState.DRAINING


# Compensations that fail


def test_a_failing_compensation_is_tried_quickly_then_slowly_for_a_day_then_parked_with_its_stack() -> None:
    saga = after("a", "b", of=chain("a", "b", "c"))
    saga.answer("c", Outcome.NO_EFFECT)
    attempts_by_hour: list[int] = []
    for _ in range(26):
        for _ in range(60):
            if saga.in_flight(Direction.UNDO):
                saga.undo("b", Outcome.FAILED)
            saga.pass_time(60_000)
        attempts_by_hour.append(saga.undone.count("b"))
    assert attempts_by_hour[0] >= 4 + 3
    assert saga.state is WorkflowState.COMPENSATION_FAILED
    assert saga.statuses() == {
        "a": StepStatus.COMPLETED,
        "b": StepStatus.COMPENSATION_FAILED,
        "c": StepStatus.NO_EFFECT,
    }


def parked() -> Saga:
    saga = after("a", "b", of=chain("a", "b", "c"))
    saga.answer("c", Outcome.NO_EFFECT)
    while saga.state is not WorkflowState.COMPENSATION_FAILED:
        if saga.nodes["b"].awaits is not None:
            saga.undo("b", Outcome.FAILED)
        saga.pass_time(HOUR_MS)
    return saga


def test_a_late_success_of_a_parked_compensation_goes_on_with_the_others() -> None:
    saga = parked()
    saga.undo("b")
    assert saga.state is WorkflowState.COMPENSATING
    run_down(saga)
    assert saga.state is WorkflowState.COMPENSATED


def test_an_operators_retry_is_a_new_round() -> None:
    saga = parked()
    saga.order("b", Order.RETRY)
    assert (saga.nodes["b"].undo_round, saga.nodes["b"].undo_attempt) == (1, 1)
    run_down(saga)
    assert saga.state is WorkflowState.COMPENSATED


@pytest.mark.parametrize("order", [Order.SKIP, Order.MARK_DONE])
def test_what_operators_skip_or_mark_ends_with_exceptions(order: Order) -> None:
    saga = parked()
    saga.order("b", order)
    run_down(saga)
    assert (saga.undone[-1], saga.state) == ("a", WorkflowState.COMPENSATED_WITH_EXCEPTIONS)


def test_an_order_that_names_another_version_is_refused() -> None:
    saga = parked()
    seen = saga.row.version
    saga.undo("b")
    refused = saga.send(Operate("b", Order.SKIP, seen))
    assert refused.refused == f"the workflow is at version {saga.row.version}, not {seen}: look again"


def test_a_late_success_after_its_undo_is_undone_again_in_another_round() -> None:
    saga = Saga(definition(node("charge"), node("bad", retry=ONCE), drain_timeout_ms=1_000))
    saga.answer("bad", Outcome.NO_EFFECT)
    saga.pass_time(120_000)
    saga.undo("charge")
    assert saga.state is WorkflowState.COMPENSATED
    saga.answer("charge")
    assert saga.state is WorkflowState.COMPENSATING
    assert saga.commands[-1][:4] == ("charge", Direction.UNDO, 1, 1)
    saga.undo("charge")
    assert saga.state is WorkflowState.COMPENSATED


def test_a_late_success_during_its_undo_is_undone_again_after_it() -> None:
    saga = Saga(definition(node("charge"), node("bad", retry=ONCE), drain_timeout_ms=1_000))
    saga.answer("bad", Outcome.NO_EFFECT)
    saga.pass_time(120_000)
    saga.answer("charge")
    saga.undo("charge")
    assert saga.in_flight(Direction.UNDO)[0].round == 1
    saga.undo("charge")
    assert saga.state is WorkflowState.COMPENSATED


# Pivots


def pivoted() -> Saga:
    nodes = (node("a"), node("pivot", "a", undo=False, pivot=True), node("b", "pivot", retry=ONCE))
    return after("a", "pivot", of=Saga(definition(*nodes)))


def test_past_a_pivot_nothing_is_undone_and_a_failed_node_is_parked() -> None:
    saga = pivoted()
    saga.answer("b", Outcome.FAILED)
    assert (saga.state, saga.undone) == (WorkflowState.PARKED_FORWARD, [])
    assert saga.cancel().refused == "it is past its pivot: there is no way back"


@pytest.mark.parametrize(
    ("order", "status"), [(Order.SKIP, StepStatus.SKIPPED), (Order.MARK_DONE, StepStatus.COMPLETED)]
)
def test_operators_unpark_what_is_past_its_pivot(order: Order, status: StepStatus) -> None:
    saga = pivoted()
    saga.answer("b", Outcome.FAILED)
    saga.order("b", order)
    assert (saga.status("b"), saga.state) == (status, WorkflowState.COMPLETED)


def test_a_retry_past_a_pivot_and_a_late_success_unpark_too() -> None:
    retried, late = pivoted(), pivoted()
    for saga in (retried, late):
        saga.answer("b", Outcome.FAILED)
    retried.order("b", Order.RETRY)
    retried.answer("b")
    late.answer("b")
    assert retried.state is late.state is WorkflowState.COMPLETED


def test_what_fails_past_a_pivot_while_paused_is_parked_on_resuming() -> None:
    saga = pivoted()
    saga.send(Pause())
    saga.answer("b", Outcome.FAILED)
    assert saga.state is WorkflowState.PAUSED
    saga.send(Resume())
    assert saga.state is WorkflowState.PARKED_FORWARD


def test_a_pivot_that_had_no_effect_is_no_point_of_no_return() -> None:
    nodes = (node("a"), node("pivot", "a", undo=False, pivot=True))
    saga = after("a", of=Saga(definition(*nodes)))
    assert saga.cancel().refused is not None
    saga.answer("pivot", Outcome.NO_EFFECT)
    assert saga.undone == ["a"]


def test_a_failure_beside_a_pivot_in_flight_waits_for_what_becomes_of_it() -> None:
    nodes = (node("a"), node("pivot", "a", undo=False, pivot=True), node("b", "a", retry=ONCE))
    saga = after("a", of=Saga(definition(*nodes)))
    saga.answer("b", Outcome.NO_EFFECT)
    assert saga.state is WorkflowState.PARKED_FORWARD
    saga.answer("pivot", Outcome.NO_EFFECT)
    assert saga.undone == ["a"]


# What does not fit


@pytest.mark.parametrize(
    "event",
    [
        Answered("nobody", Direction.DO, 0, 1, Outcome.COMPLETED),
        Answered("a", Direction.DO, 0, 2, Outcome.COMPLETED),
        Answered("a", Direction.DO, 0, 0, Outcome.COMPLETED),
        Answered("a", Direction.UNDO, 0, 1, Outcome.COMPLETED),
        Answered("b", Direction.DO, 0, 1, Outcome.COMPLETED),
        Beat("a", Direction.DO, 0, 1),
        Resume(),
    ],
)
def test_an_event_that_does_not_fit_is_refused_and_changes_nothing(event: Answered) -> None:
    saga = Saga(definition(node("a"), node("b", "a")))
    before = (saga.row, dict(saga.nodes), list(saga.commands))
    assert saga.send(event).refused
    assert (saga.row, saga.nodes, saga.commands) == before


def test_the_same_answer_twice_counts_once() -> None:
    saga = Saga(definition(node("a"), node("b", "a")))
    saga.answer("a")
    assert saga.answer("a").refused == "it has been counted: node is completed"
    assert saga.done == ["a", "b"]


def test_a_success_that_was_counted_is_no_late_one_during_its_undo_or_after() -> None:
    saga = after("a", of=chain("a", "b"))
    saga.answer("b", Outcome.NO_EFFECT)
    assert saga.answer("a").refused == "it has been counted: node is compensating"
    saga.undo("a")
    assert saga.answer("a").refused == "it has been counted: node is compensated"
    assert (saga.undone, saga.state) == (["a"], WorkflowState.COMPENSATED)


def test_a_success_that_was_counted_is_known_again_after_that_of_another_attempt() -> None:
    saga = Saga(definition(node("a", retry=Retry(attempts=2)), node("b", "a")))
    saga.pass_time(200_000)
    saga.answer("a", attempt=2)
    saga.answer("b", Outcome.NO_EFFECT)
    saga.undo("a")
    saga.answer("a", attempt=1)
    saga.undo("a")
    for attempt in (1, 2):
        assert saga.answer("a", attempt=attempt).refused == "it has been counted: node is compensated"
    assert (saga.undone, saga.state) == (["a", "a"], WorkflowState.COMPENSATED)


def test_a_chain_of_skipped_nodes_needs_no_stack() -> None:
    nodes = [node("n0", optional=True, undo=False)]
    nodes += [node(f"n{at}", f"n{at - 1}") for at in range(1, 3_000)]
    saga = Saga(definition(*nodes))
    saga.answer("n0", Outcome.NO_EFFECT)
    assert saga.state is WorkflowState.COMPLETED
    assert saga.status("n2999") is StepStatus.SKIPPED


def test_a_call_says_until_when_it_may_begin() -> None:
    timeouts = Timeouts(schedule_to_start_ms=7_000)
    undo = Compensation(name="undo", activity="undo", timeouts=Timeouts(schedule_to_start_ms=3_000))
    saga = Saga(definition(node("a", timeouts=timeouts, compensation=undo), node("b", "a")))
    assert saga.commands == [Call("a", Direction.DO, 0, 1, saga.now + 7_000)]
    saga.answer("a")
    saga.answer("b", Outcome.NO_EFFECT)
    assert saga.commands[-1] == Call("a", Direction.UNDO, 0, 1, saga.now + 3_000)


# Signals, holds


def waiting(*dependencies: str) -> Node:
    return node("s", *dependencies, kind=Kind.SIGNAL, signal=SignalWait(deadline_ms=5_000))


def test_a_signal_completes_the_node_that_waits_for_it() -> None:
    saga = Saga(definition(waiting(), node("b", "s")))
    assert saga.status("s") is StepStatus.WAITING
    saga.send(Signal("s"))
    assert (saga.status("s"), saga.done) == (StepStatus.COMPLETED, ["b"])


def test_a_signal_that_comes_first_completes_its_node_as_soon_as_it_begins() -> None:
    saga = Saga(definition(node("a"), waiting("a"), node("b", "s")))
    saga.send(Signal("s"))
    assert saga.send(Signal("s")).refused == "nobody waits for it: node is pending, it has come before"
    saga.answer("a")
    saga.pass_time(0)
    assert saga.done == ["a", "b"]


def test_a_signal_that_does_not_come_in_time_fails_its_node() -> None:
    saga = after("a", of=Saga(definition(node("a"), waiting("a"))))
    saga.pass_time(4_999)
    assert saga.status("s") is StepStatus.WAITING
    saga.pass_time(1)
    assert (saga.row.cause, saga.undone) == ("s: no signal in time", ["a"])


def test_a_signal_for_a_node_of_another_kind_is_refused() -> None:
    assert Saga(definition(node("a"))).send(Signal("a")).refused == "node 'a' waits for no signal"


def test_a_held_start_commands_nothing_before_its_approval() -> None:
    saga = Saga(definition(node("a")), start_is_held=True)
    assert (saga.done, saga.asked, saga.state) == ([], [None], WorkflowState.PAUSED)
    assert saga.send(Resume()).refused == "its start waits for an approval"
    saga.verdict(None, approved=True)
    assert (saga.done, saga.state) == (["a"], WorkflowState.RUNNING)
    assert saga.verdict(None, approved=True).refused == "nobody waits for it: the start is not held"


def test_a_held_start_that_is_not_approved_or_is_cancelled_does_nothing() -> None:
    for approved in (False, None):
        saga = Saga(definition(node("a")), start_is_held=True)
        if approved is None:
            saga.cancel()
            assert Withdraw(None) in saga.commands
        else:
            saga.verdict(None, approved=approved)
        assert (saga.done, saga.state) == ([], WorkflowState.COMPENSATED)


def test_every_attempt_is_weighed_and_one_that_may_have_happened_stays_so_while_it_waits_for_its_release() -> None:
    saga = Saga(definition(node("a", retry=Retry(attempts=2, first_ms=1))))
    saga.answer("a", Outcome.FAILED)
    saga.held = frozenset({"a"})
    saga.pass_time(1)
    assert (saga.done, saga.asked) == (["a"], ["a"])
    saga.cancel()
    assert saga.undone == ["a"]


def test_a_sign_of_life_leaves_the_version_that_operators_name() -> None:
    saga = Saga(definition(node("a", timeouts=Timeouts(heartbeat_ms=1_000))))
    version, due = saga.row.version, saga.nodes["a"].due
    saga.now += 500
    saga.send(Beat("a", Direction.DO, 0, 1))
    assert saga.row.version == version
    assert saga.nodes["a"].due != due


def test_an_attempt_given_up_before_it_answered_is_remembered() -> None:
    saga = Saga(definition(node("a", timeouts=Timeouts(schedule_to_start_ms=10, start_to_close_ms=10))))
    saga.pass_time(1_020)
    assert saga.nodes["a"].lost
    answered = after("a", of=Saga(definition(node("a"))))
    assert not answered.nodes["a"].lost
