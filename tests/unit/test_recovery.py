"""Recoveries of services on one lane: what begins them, when attempts come, and how they end."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from handlers.health import MAX_BREAKERS
from handlers.recovery.delays import delay_ms
from handlers.recovery.machine import Task, TransitionError, become
from handlers.recovery.records import workflow_id
from handlers.recovery.rows import OPENING, PLACES, Places, Service, breaker_key, decode, timer_key, waiting_key
from handlers.recovery.transitions import TRANSITIONS, UNDER_WAY
from schemas import envelope, topics
from schemas import policy as policies
from schemas.errors import PolicyError
from schemas.policy import AcceptedHash, from_toml
from schemas.recovery import RecoveryCause, RecoveryState, RecoveryStrategy
from streams import policies as policy_files
from tests.support.product import HASH, NEXT_HASH
from tests.support.recovered import (
    ATTEMPT_MS,
    CHECKED,
    CLOSING_MS,
    PROBE,
    RESTART,
    T0,
    UNCHECKED,
    Recovered,
    rule,
)

S = RecoveryState
DEFAULT = Path(policy_files.__file__).parent / "default.toml"
FAILED = {"state": "compensated", "cause": "recover: it broke"}


# What begins and ends by breakers


def test_an_opened_breaker_schedules_a_recovery_and_says_why() -> None:
    lane = Recovered()
    lane.breaker(reason="10 failures")
    (event,) = lane.events
    assert (event.before, event.state, event.cause) == (S.IDLE, S.SCHEDULED, RecoveryCause.OPENED)
    assert event.why == "breaker calls opened at shop-1 (10 failures)"
    assert (event.due, event.version, event.attempt) == (T0 + 1_000, 1, 0)
    status = lane.statuses["payments"]
    assert (status.state, status.due, status.open_breakers, status.max_attempts) == (S.SCHEDULED, T0 + 1_000, 1, 5)


def test_without_a_rule_nothing_is_done_nor_remembered() -> None:
    lane = Recovered(recoveries={"orders": CHECKED})
    lane.breaker("payments")
    assert (lane.events, lane.driver.state.rows) == ([], {})
    lane.breaker("orders")
    assert lane.state("orders") is S.SCHEDULED


def test_a_services_own_rule_comes_before_the_one_for_every_service() -> None:
    lane = Recovered(recoveries={"*": CHECKED, "payments": rule(priority=7, initial_delay="PT9S")})
    lane.breaker("payments")
    lane.breaker("orders")
    assert [lane.task("payments").priority, lane.task("orders").priority] == [7, 1]
    assert lane.task("payments").due == T0 + 9_000


def test_a_tick_of_the_health_table_is_no_breaker_event() -> None:
    lane = Recovered()
    lane.send(topics.BREAKERS, "payments", b"whatever")
    lane.send(topics.BREAKERS, "payments", None)
    assert (lane.events, lane.rejected, lane.driver.state.rows) == ([], [], {})


def test_one_recovery_is_under_way_however_many_breakers_open() -> None:
    lane = Recovered()
    for instance in ("shop-1", "shop-2", "shop-1"):
        lane.breaker(instance=instance)
    assert lane.states() == ["scheduled"]
    assert lane.statuses["payments"].open_breakers == 2


def test_it_ends_once_the_last_breaker_has_closed_by_itself() -> None:
    lane = Recovered()
    lane.breaker(instance="shop-1")
    lane.breaker(instance="shop-2")
    lane.breaker(instance="shop-1", state="closed")
    assert lane.state() is S.SCHEDULED
    lane.breaker(instance="shop-2", state="half-open")
    assert lane.state() is S.SCHEDULED
    lane.breaker(instance="shop-2", state="closed")
    assert (lane.state(), lane.events[-1].why) == (S.IDLE, "its breakers have closed by themselves")
    lane.pass_time(60_000)
    assert lane.attempts == []


def test_an_event_that_was_overtaken_changes_nothing() -> None:
    lane = Recovered()
    lane.breaker(sequence=5)
    lane.breaker(sequence=7, state="closed")
    lane.breaker(sequence=6)
    assert lane.states() == ["scheduled", "idle"]


def test_a_closing_that_overtakes_its_opening_is_remembered() -> None:
    lane = Recovered()
    lane.breaker(sequence=6, state="closed", ttl_s=30)
    lane.breaker(sequence=5)
    assert lane.events == []
    lane.pass_time(31_000)
    assert lane.driver.state.rows == {}


def test_silence_and_retirement_say_nothing_of_the_service() -> None:
    lane = Recovered(recoveries={"*": rule(initial_delay="PT1M")})
    lane.breaker(instance="shop-1", ttl_s=5)
    lane.breaker(instance="shop-2")
    lane.breaker(instance="shop-2", kind="retired")
    lane.pass_time(6_000)
    assert (lane.state(), lane.row().known, lane.row().not_closed) == (S.SCHEDULED, 1, 0)
    lane.pass_time(60_000)
    assert lane.attempts == ["payments"]


def test_an_opening_that_a_retirement_has_overtaken_begins_nothing() -> None:
    lane = Recovered()
    lane.breaker(sequence=5, ttl_s=60)
    lane.breaker(sequence=7, kind="retired", ttl_s=60)
    lane.order("cancel")
    lane.breaker("payments", "closed", kind="heartbeat", instance="shop-2")
    assert lane.state() is S.IDLE
    lane.breaker(sequence=6)
    assert lane.state() is S.IDLE
    lane.pass_time(60_000)
    assert lane.row().known == 0


@pytest.mark.parametrize("strategy", ["exponential_backoff", "manual"])
@pytest.mark.parametrize("is_retired", [False, True])
def test_a_breaker_whose_opening_is_forgotten_ends_a_recovery_by_closing(strategy: str, *, is_retired: bool) -> None:
    lane = Recovered(recoveries={"*": rule(strategy=strategy, initial_delay="PT1M")})
    lane.breaker(ttl_s=5)
    if is_retired:
        lane.breaker(kind="retired")
    lane.pass_time(6_000)
    lane.breaker(kind="heartbeat", state="closed", instance="shop-2")
    assert lane.state() is not S.IDLE
    lane.breaker(state="closed")
    assert (lane.state(), lane.events[-1].why) == (S.IDLE, "its breakers have closed by themselves")


def test_a_breaker_whose_opening_is_forgotten_ends_nothing_while_another_is_open() -> None:
    lane = Recovered(recoveries={"*": rule(initial_delay="PT1M")})
    lane.breaker(ttl_s=5)
    lane.breaker(instance="shop-2")
    lane.pass_time(6_000)
    lane.breaker(state="closed")
    assert lane.state() is S.SCHEDULED


def test_heartbeats_keep_an_open_breaker_known() -> None:
    lane = Recovered()
    for _ in range(4):
        lane.breaker(kind="heartbeat", ttl_s=5)
        lane.pass_time(4_000)
    assert lane.row().not_closed == 1


def test_heartbeats_of_closed_breakers_keep_no_row() -> None:
    lane = Recovered()
    lane.breaker(kind="heartbeat", state="closed")
    assert lane.driver.state.rows == {}


def test_a_healthy_service_that_says_so_has_no_timer_but_its_breakers() -> None:
    lane = Recovered()
    lane.changed_rows.clear()
    lane.breaker(state="closed")
    timed = [key for key, stored in lane.driver.state.rows.items() if stored.due_ms is not None]
    assert timed == [breaker_key("payments", "shop-1", "calls")]
    assert len(lane.changed_rows) == 1


def test_no_more_breakers_of_a_service_are_known_than_its_row_may_count() -> None:
    lane = Recovered()
    for number in range(MAX_BREAKERS + 3):
        lane.breaker(instance=f"shop-{number}")
    assert (lane.row().known, lane.row().not_closed) == (MAX_BREAKERS, MAX_BREAKERS)
    lane.breaker(instance="shop-0", state="closed")
    assert lane.row().not_closed == MAX_BREAKERS - 1


# Attempts


def test_an_attempt_is_a_workflow_that_comes_when_it_is_due_and_not_before() -> None:
    lane = Recovered()
    lane.breaker()
    lane.pass_time(999)
    assert lane.started == []
    lane.pass_time(1)
    (command,) = lane.started
    assert command.workflow_id == f"recovery.payments.{T0}.1"
    assert command.constitutional_hash == HASH
    assert command.input == {
        "service": "payments",
        "run": T0,
        "attempt": 1,
        "strategy": "exponential_backoff",
    }
    nodes = (command.definition or {})["nodes"]
    assert isinstance(nodes, list)
    assert [(node["id"], node["activity"]) for node in nodes if isinstance(node, dict)] == [
        ("recover", RESTART),
        ("check", PROBE),
    ]
    assert lane.events[-1].workflow_id == command.workflow_id
    assert (lane.state(), lane.task().due) == (S.IN_PROGRESS, T0 + 1_000 + ATTEMPT_MS)


@pytest.mark.parametrize(
    ("value", "state"), [(True, S.SUCCEEDED), (False, S.SCHEDULED), ("true", S.SCHEDULED), (1, S.SCHEDULED)]
)
def test_only_a_health_check_that_says_true_is_success(value: object, state: RecoveryState) -> None:
    lane = Recovered()
    lane.breaker()
    lane.pass_time(1_000)
    lane.answer(results={"check": {"value": value}})
    assert lane.state() is state


def test_failed_attempts_come_again_with_growing_delays_until_they_are_used_up() -> None:
    lane = Recovered(recoveries={"*": rule(max_retry_attempts=4, max_delay="PT3S")})
    lane.breaker()
    delays: list[int] = []
    while lane.state() is not S.FAILED:
        due = lane.task().due
        delays.append(due - lane.now)
        lane.pass_time(due - lane.now)
        lane.answer(**FAILED)
    assert delays == [1_000, 2_000, 3_000, 3_000]
    assert lane.events[-1].why == "attempt 4 failed: recover: it broke; it was the last of 4"
    assert len(set(lane.attempts)) == 1
    assert [command.workflow_id.rsplit(".", 1)[1] for command in lane.started] == ["1", "2", "3", "4"]


def test_after_failing_it_begins_anew_only_once_the_breakers_have_been_closed() -> None:
    lane = Recovered(recoveries={"*": rule(max_retry_attempts=1)})
    lane.breaker()
    lane.pass_time(1_000)
    lane.answer(**FAILED)
    lane.breaker(kind="heartbeat")
    lane.breaker(state="half_open")
    lane.breaker()
    assert lane.state() is S.FAILED
    lane.breaker(state="closed")
    assert (lane.state(), lane.events[-1].why) == (S.IDLE, "its breakers are closed")
    lane.breaker()
    assert lane.state() is S.SCHEDULED
    assert lane.events[-1].run > lane.events[0].run


def test_after_succeeding_it_begins_anew_when_a_breaker_opens_again_and_not_by_a_heartbeat() -> None:
    lane = Recovered()
    lane.breaker()
    lane.pass_time(1_000)
    lane.answer()
    lane.breaker(kind="heartbeat")
    assert lane.state() is S.SUCCEEDED
    lane.breaker(state="half_open")
    lane.breaker()
    assert lane.state() is S.SCHEDULED


def test_a_breaker_that_stays_open_though_the_health_check_said_true_begins_anew_after_the_longest_delay() -> None:
    lane = Recovered(recoveries={"*": rule(max_delay="PT20S")})
    lane.breaker()
    lane.pass_time(1_000)
    lane.answer()
    lane.pass_time(19_999)
    lane.breaker(kind="heartbeat")
    assert lane.state() is S.SUCCEEDED
    lane.pass_time(1)
    lane.breaker(kind="heartbeat")
    assert (lane.state(), lane.events[-1].why) == (S.SCHEDULED, "breaker calls is still open at shop-1")


def test_without_a_health_check_the_breakers_closing_is_what_makes_it_a_success() -> None:
    lane = Recovered(recoveries={"*": UNCHECKED})
    lane.breaker()
    lane.pass_time(1_000)
    lane.answer(results={"recover": {"value": None}})
    assert (lane.state(), lane.task().due) == (S.IN_PROGRESS, lane.now + CLOSING_MS)
    lane.breaker(state="half_open")
    lane.breaker(state="closed")
    assert (lane.state(), lane.events[-1].why) == (S.SUCCEEDED, "its breakers have closed")


def test_breakers_that_closed_while_the_activity_ran_count_and_not_if_one_opened_again() -> None:
    for reopens, state in ((False, S.SUCCEEDED), (True, S.IN_PROGRESS)):
        lane = Recovered(recoveries={"*": UNCHECKED})
        lane.breaker()
        lane.pass_time(1_000)
        lane.breaker(state="closed")
        if reopens:
            lane.breaker()
        lane.answer(results=None)
        assert lane.state() is state


def test_without_a_health_check_breakers_that_stay_open_fail_the_attempt() -> None:
    lane = Recovered(recoveries={"*": UNCHECKED})
    lane.breaker()
    lane.pass_time(1_000)
    lane.answer(results=None)
    lane.pass_time(CLOSING_MS)
    assert lane.states() == ["scheduled", "in_progress", "scheduled"]
    assert lane.events[-1].why == "attempt 1 failed: its breakers have not closed"
    assert lane.cancelled == []


def test_an_answer_that_comes_twice_gives_the_breakers_no_more_time() -> None:
    lane = Recovered(recoveries={"*": UNCHECKED})
    lane.breaker()
    lane.pass_time(1_000)
    lane.answer(results=None)
    due = lane.task().due
    lane.pass_time(1_000)
    lane.answer(results=None)
    assert lane.task().due == due


def test_an_attempt_that_never_answers_ends_by_its_deadline_and_its_workflow_is_cancelled() -> None:
    lane = Recovered()
    lane.breaker()
    lane.pass_time(1_000 + ATTEMPT_MS)
    assert lane.states() == ["scheduled", "in_progress", "scheduled"]
    assert lane.events[-1].cause is RecoveryCause.DEADLINE
    assert lane.cancelled == [lane.started[0].workflow_id]


def test_an_answer_about_another_attempt_changes_nothing() -> None:
    lane = Recovered()
    lane.breaker()
    lane.pass_time(1_000 + ATTEMPT_MS)
    late = lane.started[0].workflow_id
    lane.answer(workflow_id=late)
    lane.pass_time(2_000)
    lane.answer(workflow_id=late)
    assert lane.states() == ["scheduled", "in_progress", "scheduled", "in_progress"]


def test_after_a_deadline_the_next_attempt_waits_for_the_end_of_the_one_before() -> None:
    lane = Recovered()
    lane.breaker()
    lane.pass_time(1_000 + ATTEMPT_MS)
    (old,) = lane.cancelled
    lane.pass_time(2_000)
    assert (lane.state(), len(lane.started), lane.task().due) == (S.SCHEDULED, 1, T0 + 1_000 + ATTEMPT_MS + 30_000)
    assert f"it waits for the end of {old}," in lane.task().why
    lane.answer(workflow_id=old, state="draining")
    assert len(lane.started) == 1
    lane.answer(workflow_id=old, state="compensated")
    assert (lane.state(), len(lane.started)) == (S.IN_PROGRESS, 2)


def test_the_end_of_the_attempt_before_is_not_waited_for_for_ever() -> None:
    lane = Recovered()
    lane.breaker()
    lane.pass_time(1_000 + ATTEMPT_MS + 30_000)
    assert len(lane.started) == 2


@pytest.mark.parametrize("strategy", ["immediate", "manual"])
def test_what_is_ordered_after_cancelling_an_attempt_waits_for_its_end(strategy: str) -> None:
    lane = Recovered()
    lane.breaker()
    lane.pass_time(1_000)
    lane.order("cancel")
    lane.order("schedule", strategy=strategy)
    if strategy == "manual":
        lane.order("approve")
    assert (lane.state(), len(lane.started)) == (S.SCHEDULED, 1)
    lane.answer(workflow_id=lane.cancelled[0], state="compensated")
    assert (lane.state(), len(lane.started)) == (S.IN_PROGRESS, 2)


def test_what_has_ended_before_the_next_attempt_is_due_puts_nothing_off() -> None:
    lane = Recovered()
    lane.breaker()
    lane.pass_time(1_000)
    lane.order("cancel")
    lane.answer(workflow_id=lane.cancelled[0], state="compensated")
    lane.order("schedule", strategy="immediate")
    assert len(lane.started) == 2


@pytest.mark.parametrize("is_attempted", [False, True])
def test_breakers_that_come_and_go_do_not_put_off_what_is_due(*, is_attempted: bool) -> None:
    lane = Recovered(recoveries={"*": UNCHECKED})
    lane.breaker()
    lane.pass_time(1_000 * is_attempted)
    due, version = lane.task().due, lane.driver.state.rows[timer_key("payments")].version
    lane.now = due
    lane.stands_still = True
    for _ in range(3):
        lane.breaker(instance="shop-2")
        lane.breaker(instance="shop-2", state="closed")
    stored = lane.driver.state.rows[timer_key("payments")]
    assert (stored.version, stored.due_ms) == (version, due)
    lane.pass_time(0)
    assert len(lane.events) == 2 + is_attempted


# What asks for a person


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"state": "compensated", "taken": False, "cause": "late"}, "no worker took attempt 1: late"),
        (
            {"state": "compensated", "commanded": False, "taken": False, "cause": "vetoed by ann"},
            "attempt 1 was not allowed: vetoed by ann",
        ),
        (
            {"state": "running", "attention": [{"node": "recover", "status": "blocked", "why": "unknown"}]},
            "attempt 1 cannot go on, recover: unknown",
        ),
        (
            {"state": None, "refused": "unknown_queue: none"},
            "the workflow of attempt 1 was refused: unknown_queue: none",
        ),
    ],
)
def test_an_attempt_that_nobody_takes_or_allows_awaits_a_person(answer: dict[str, object], why: str) -> None:
    lane = Recovered()
    lane.breaker()
    lane.pass_time(1_000)
    lane.answer(**answer)  # type: ignore[arg-type]  # fields of the answer
    assert (lane.state(), lane.events[-1].why) == (S.AWAITING_MANUAL, why)
    assert lane.task().due is None
    assert bool(lane.cancelled) == ("attention" in answer)


def test_a_manual_recovery_awaits_a_person_before_each_attempt() -> None:
    lane = Recovered(recoveries={"*": rule(strategy="manual", max_retry_attempts=2)})
    lane.breaker()
    assert lane.state() is S.AWAITING_MANUAL
    for state in (S.AWAITING_MANUAL, S.FAILED):
        lane.order("approve")
        assert lane.state() is S.IN_PROGRESS
        lane.answer(**FAILED)
        assert lane.state() is state
    run = lane.task().run
    lane.order("approve")
    assert (lane.state(), lane.task().attempt) == (S.IN_PROGRESS, 1)
    assert lane.task().run > run


def test_a_manual_recovery_ends_when_the_breakers_close_by_themselves() -> None:
    lane = Recovered(recoveries={"*": rule(strategy="manual")})
    lane.breaker()
    lane.breaker(state="closed")
    assert lane.state() is S.IDLE


def test_a_hash_that_is_withdrawn_before_it_is_due_awaits_a_person_who_accepts_the_new_one() -> None:
    lane = Recovered()
    lane.breaker()
    lane.publish(hashes=(NEXT_HASH,))
    lane.pass_time(1_000)
    assert (lane.state(), lane.started) == (S.AWAITING_MANUAL, [])
    assert lane.events[-1].why == "epoch 2 does not accept constitutional_hash cdd01ef0..."
    lane.order("approve", constitutional_hash=NEXT_HASH)
    assert [command.constitutional_hash for command in lane.started] == [NEXT_HASH]


def test_a_hash_is_not_accepted_from_the_moment_on_that_the_policy_says() -> None:
    until = datetime.fromtimestamp((T0 + 1_000) / 1_000, UTC)
    lane = Recovered()
    lane.publish(accepted_hashes=(AcceptedHash(hash=HASH, until=until), AcceptedHash(hash=NEXT_HASH)))
    lane.breaker()
    lane.pass_time(1_000)
    assert lane.state() is S.AWAITING_MANUAL


def test_a_recovery_whose_rule_is_taken_out_is_not_attempted() -> None:
    lane = Recovered()
    lane.breaker()
    lane.publish(recoveries={})
    lane.pass_time(1_000)
    assert (lane.state(), lane.events[-1].why) == (S.IDLE, "epoch 2 has no rule for it any more")


def test_an_attempt_whose_rule_is_taken_out_meanwhile_is_the_last() -> None:
    lane = Recovered()
    lane.breaker()
    lane.pass_time(1_000)
    lane.publish(recoveries={})
    lane.answer(**FAILED)
    assert lane.state() is S.FAILED


WAITS = {"state": "running", "attention": [{"node": "recover", "status": "waiting", "why": "it waits for an approval"}]}


def test_an_attempt_that_waits_for_approval_takes_no_place_and_has_no_deadline() -> None:
    lane = Recovered(max_recoveries_at_once=1)
    lane.breaker("payments")
    lane.pass_time(1)
    lane.breaker("orders")
    lane.pass_time(1_000)
    assert lane.attempts == ["payments"]
    lane.answer("payments", **WAITS)
    assert lane.attempts == ["payments", "orders"]
    assert (lane.task("payments").waits_for_approval, lane.task("payments").due) == (True, None)
    lane.pass_time(86_400_000 // 2)
    assert lane.state("payments") is S.IN_PROGRESS
    lane.answer("payments", state="running")
    assert lane.task("payments").due == lane.now + ATTEMPT_MS
    lane.answer("payments")
    assert lane.state("payments") is S.SUCCEEDED


def test_an_attempt_that_is_approved_counts_again_and_nothing_new_starts_meanwhile() -> None:
    lane = Recovered(max_recoveries_at_once=1)
    lane.breaker("payments")
    lane.pass_time(1)
    for service in ("orders", "stock"):
        lane.breaker(service)
    lane.pass_time(1_000)
    lane.answer("payments", **WAITS)
    lane.answer("payments", state="running")
    lane.answer("orders")
    assert lane.attempts == ["payments", "orders"]
    lane.answer("payments")
    assert lane.attempts == ["payments", "orders", "stock"]


# Places


def test_what_is_due_beyond_the_places_waits_and_the_lowest_number_goes_first() -> None:
    recoveries = {name: rule(priority=n) for name, n in (("a", 1), ("b", 3), ("c", 2), ("d", 2), ("e", 0))}
    lane = Recovered(max_recoveries_at_once=1, recoveries=recoveries)
    lane.breaker("a")
    lane.pass_time(1_000)
    for service in "bcde":
        lane.breaker(service)
    lane.pass_time(1_000)
    assert lane.attempts == ["a"]
    assert [lane.task(one).waits_for_place for one in "abcde"] == [False, True, True, True, True]
    for _ in range(4):
        lane.answer(lane.attempts[-1])
    assert lane.attempts == ["a", "e", "c", "d", "b"]
    lane.answer("b")
    assert set(lane.driver.state.rows) - {PLACES} == {key for key in lane.driver.state.rows if "/" in key}
    assert lane.driver.state.rows[PLACES].row == Places()


def test_a_far_off_recovery_of_high_priority_delays_none_that_is_due() -> None:
    recoveries = {"first": rule(priority=0, initial_delay="PT1H", max_delay="PT1H"), "*": CHECKED}
    lane = Recovered(max_recoveries_at_once=1, recoveries=recoveries)
    lane.breaker("first")
    lane.breaker("other")
    lane.pass_time(1_000)
    assert lane.attempts == ["other"]


def test_whoever_leaves_the_line_is_passed_over() -> None:
    lane = Recovered(max_recoveries_at_once=1)
    for service in "abcd":
        lane.breaker(service)
    lane.pass_time(1_000)
    lane.order("cancel", "c")
    lane.breaker("b", state="closed")
    assert [lane.state(one) for one in "bc"] == [S.IDLE, S.CANCELLED]
    lane.answer("a")
    assert lane.attempts == ["a", "d"]


def test_of_those_due_at_one_instant_the_lowest_number_goes_first() -> None:
    recoveries = {name: rule(priority=n) for name, n in (("a", 9), ("b", 5), ("c", 7))}
    lane = Recovered(max_recoveries_at_once=2, recoveries=recoveries)
    for service in "abc":
        lane.breaker(service)
    lane.pass_time(1_000)
    assert lane.attempts == ["b", "c"]


def test_with_a_place_for_everybody_an_attempt_is_made_in_the_turn_that_its_timer_comes() -> None:
    lane = Recovered()
    lane.breaker()
    lane.now += 1_000
    turns = lane.driver.advance(lane.now)
    assert len(turns) == 2
    assert any(name.endswith("workflows") for name, _ in turns[-1].batches)


def test_more_places_are_filled_as_soon_as_the_lane_decides_anything() -> None:
    lane = Recovered(max_recoveries_at_once=1)
    for service in "abcd":
        lane.breaker(service)
    lane.pass_time(1_000)
    lane.publish(max_recoveries_at_once=3)
    lane.breaker("a")
    assert lane.attempts == ["a", "b", "c"]


def test_what_else_happens_does_not_put_off_the_giving_of_places() -> None:
    lane = Recovered(max_recoveries_at_once=1)
    for service in "abc":
        lane.breaker(service)
    lane.pass_time(1_000)
    lane.stands_still = True
    lane.answer("a")
    version = lane.driver.state.rows[OPENING].version
    lane.breaker("d")
    lane.order("cancel", "c")
    assert lane.driver.state.rows[OPENING].version == version
    lane.pass_time(0)
    assert lane.attempts == ["a", "b"]


def test_hundreds_that_wait_in_vain_are_gone_through_without_a_record_each() -> None:
    lane = Recovered(max_recoveries_at_once=1)
    for number in range(251):
        lane.breaker(f"s{number}")
    lane.pass_time(1_000)
    lane.publish(hashes=(NEXT_HASH,))
    lane.answer("s0")
    assert {lane.state(f"s{number}") for number in range(1, 251)} == {S.AWAITING_MANUAL}


def test_a_decision_touches_as_few_rows_however_many_wait() -> None:
    lane = Recovered(max_recoveries_at_once=1)
    for number in range(300):
        lane.breaker(f"s{number}")
    lane.pass_time(1_000)
    lane.changed_rows.clear()
    lane.breaker("late")
    lane.pass_time(1_000)
    lane.order("cancel", "s150")
    lane.answer("s0")
    assert max(map(len, lane.changed_rows)) <= 6
    assert waiting_key("s1") not in lane.driver.state.rows


# What has healed meanwhile


@pytest.mark.parametrize(
    "answer",
    [
        FAILED,
        {"results": {"check": {"value": False}}},
        {"state": "compensated", "taken": False, "cause": "late"},
        {"state": None, "refused": "unknown_queue: none"},
    ],
)
@pytest.mark.parametrize("kind", ["state_change", "heartbeat"])
def test_a_service_that_heals_during_an_attempt_is_neither_restarted_nor_left_to_a_person(
    answer: dict[str, object], kind: str
) -> None:
    lane = Recovered()
    lane.breaker()
    lane.pass_time(1_000)
    lane.breaker(state="closed", kind=kind)
    lane.answer(**answer)  # type: ignore[arg-type]  # fields of the answer
    assert lane.state() is S.IDLE
    assert lane.events[-1].why.endswith("; but its breakers have closed meanwhile")
    lane.pass_time(3_600_000)
    assert len(lane.started) == 1


def test_a_service_that_heals_while_nothing_is_heard_of_the_attempt_is_not_restarted() -> None:
    lane = Recovered()
    lane.breaker()
    lane.pass_time(1_000)
    lane.breaker(state="closed")
    lane.pass_time(ATTEMPT_MS)
    assert (lane.state(), len(lane.cancelled)) == (S.IDLE, 1)


def test_a_service_whose_breaker_opens_again_during_the_attempt_has_not_healed() -> None:
    lane = Recovered()
    lane.breaker()
    lane.pass_time(1_000)
    lane.breaker(state="closed")
    lane.breaker()
    lane.answer(**FAILED)
    assert lane.state() is S.SCHEDULED


# Orders


def _in(ms: int) -> str:
    return datetime.fromtimestamp((T0 + ms) / 1_000, UTC).isoformat()


def test_a_breaker_that_opens_does_not_wait_for_an_order_that_is_far_off() -> None:
    lane = Recovered()
    lane.order("schedule", not_before=_in(3_600_000))
    lane.pass_time(5_000)
    lane.breaker()
    assert lane.task().due == T0 + 6_000
    lane.pass_time(1_000)
    assert lane.attempts == ["payments"]


def test_a_breaker_that_was_open_when_it_was_ordered_for_later_does_not_hasten_it() -> None:
    lane = Recovered()
    lane.breaker()
    lane.order("cancel")
    lane.order("schedule", not_before=_in(3_600_000))
    lane.breaker(kind="heartbeat")
    assert lane.task().due == T0 + 3_600_000


def test_a_breaker_that_opens_and_closes_drops_no_order() -> None:
    lane = Recovered()
    lane.order("schedule", not_before=_in(3_600_000))
    lane.breaker()
    lane.pass_time(300)
    lane.breaker(state="closed")
    assert (lane.state(), lane.task().due) == (S.SCHEDULED, T0 + 3_600_000)
    lane.pass_time(3_600_000)
    assert lane.attempts == ["payments"]


def test_an_order_that_awaits_a_person_is_not_dropped_either() -> None:
    lane = Recovered()
    lane.order("schedule", strategy="manual")
    lane.breaker()
    lane.breaker(state="closed")
    assert lane.state() is S.AWAITING_MANUAL
    lane.order("approve")
    assert lane.attempts == ["payments"]


def test_an_operator_schedules_a_recovery_with_a_priority_a_strategy_and_a_time_of_their_own() -> None:
    lane = Recovered()
    at = datetime.fromtimestamp(T0 / 1_000, UTC) + timedelta(seconds=90)
    id_ = lane.order("schedule", strategy="linear_backoff", priority=0, not_before=at.isoformat())
    (event,) = lane.events
    assert (event.state, event.command_id, event.by, event.verified) == (S.SCHEDULED, id_, "olga", True)
    assert event.why == "scheduled by olga: as agreed"
    status = lane.statuses["payments"]
    assert (status.due, status.priority, status.strategy) == (T0 + 90_000, 0, RecoveryStrategy.LINEAR_BACKOFF)
    lane.breaker(kind="heartbeat", state="closed")
    assert lane.state() is S.SCHEDULED


def test_cancelling_ends_an_attempt_and_frees_its_place() -> None:
    lane = Recovered(max_recoveries_at_once=1)
    lane.breaker("a")
    lane.breaker("b")
    lane.pass_time(1_000)
    lane.order("cancel", "a")
    assert (lane.state("a"), lane.cancelled) == (S.CANCELLED, [lane.started[0].workflow_id])
    assert lane.attempts == ["a", "b"]
    lane.breaker("a", kind="heartbeat")
    assert lane.state("a") is S.CANCELLED
    lane.breaker("a", state="closed")
    lane.breaker("a")
    assert lane.state("a") is S.SCHEDULED


@pytest.mark.parametrize(
    ("command", "changes", "detail"),
    [
        ("schedule", {}, "it is scheduled already, version 1"),
        ("approve", {}, "there is nothing to approve: it is scheduled"),
        ("approve", {"version": 9}, "the recovery is at version 1, not 9: look again"),
        ("cancel", {"version": 0}, "the recovery is at version 1, not 0: look again"),
    ],
)
def test_an_order_that_does_not_apply_is_refused_and_changes_nothing(
    command: str, changes: dict[str, int], detail: str
) -> None:
    lane = Recovered()
    lane.breaker()
    lane.order(command, **changes)  # type: ignore[arg-type]  # fields of the command
    assert [(one.reason, one.detail) for one in lane.rejected] == [("not_applicable", detail)]
    assert lane.states() == ["scheduled"]


def test_orders_for_what_is_not_there_are_refused() -> None:
    lane = Recovered(recoveries={})
    lane.order("cancel")
    lane.order("schedule")
    assert [one.detail for one in lane.rejected] == [
        "there is nothing to cancel: it is idle",
        "the policy, epoch 1, has no rule for the recovery of 'payments'",
    ]
    assert lane.driver.state.rows == {}


@pytest.mark.parametrize("value", [b"", b"[]", b'{"command": 1}', b"\xff"])
def test_what_is_no_record_of_a_contract_is_refused_never_a_failure(value: bytes) -> None:
    lane = Recovered()
    source = ((envelope.VERSION, b"1"), (envelope.SOURCE, b"p.in.recovery/0/7"))
    lane.send(topics.RECOVERY, "payments", value)
    lane.send(topics.RECOVERY, "payments", value, source)
    lane.send(topics.BREAKERS, "payments", value, source)
    assert len(lane.rejected) == 3


def test_a_command_without_a_signature_is_told_apart_from_one_with() -> None:
    lane = Recovered()
    lane.order("schedule", verified=False)
    assert lane.events[-1].verified is False


# What is kept


def test_what_has_ended_is_forgotten_after_a_time_and_its_status_with_it() -> None:
    lane = Recovered(keep_closed_workflows=timedelta(hours=1))
    lane.breaker()
    lane.breaker(state="closed", ttl_s=60)
    lane.pass_time(3_599_000)
    assert lane.statuses
    lane.pass_time(1_000)
    assert (lane.statuses, set(lane.driver.state.rows)) == ({}, {PLACES})


def test_what_has_ended_is_kept_while_a_breaker_is_open() -> None:
    lane = Recovered(keep_closed_workflows=timedelta(hours=1))
    lane.breaker()
    lane.order("cancel")
    lane.pass_time(4_000_000)
    assert lane.state() is S.CANCELLED


def test_ids_of_workflows_are_valid_and_no_two_services_share_one() -> None:
    services = ["payments", "a.b", "a b", "a/b", "a:b", "ü" * 256, "ü" * 255 + "x", "x" * 65]
    found = {workflow_id(service, Task(run=T0, attempt=1)) for service in services}
    assert len(found) == len(services)
    assert max(map(len, found)) <= 128
    lane = Recovered()
    for service in services:
        lane.breaker(service)
    lane.pass_time(60_000)
    assert len(lane.started) == 4


def test_a_row_of_a_later_release_is_not_read() -> None:
    with pytest.raises(ValueError, match="version 3"):
        decode(b'[3,"places",0,0,[]]')


def test_a_service_of_the_release_before_is_read() -> None:
    assert decode(b'[1,"service/",["scheduled",7,0,1,"immediate",1,"",0,"",9,null,false,false],1,1]') == Service(
        Task(S.SCHEDULED, run=7, version=1, strategy=RecoveryStrategy.IMMEDIATE, due=9), 1, 1
    )


# The table, and delays


def test_what_the_table_does_not_have_cannot_happen() -> None:
    with pytest.raises(TransitionError):
        become(Task(), S.SUCCEEDED, "", 0)
    assert set(TRANSITIONS) == set(S)
    assert {state for state in S if S.CANCELLED in TRANSITIONS[state]} == UNDER_WAY


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (RecoveryStrategy.EXPONENTIAL_BACKOFF, [1_000, 1_500, 2_250, 3_375, 5_000, 5_000]),
        (RecoveryStrategy.LINEAR_BACKOFF, [1_000, 2_000, 3_000, 4_000, 5_000, 5_000]),
        (RecoveryStrategy.IMMEDIATE, [0] * 6),
        (RecoveryStrategy.MANUAL, [None] * 6),
    ],
)
def test_delays_grow_by_the_strategy_up_to_the_longest(strategy: RecoveryStrategy, expected: list[int | None]) -> None:
    multiplier = Fraction("1.5")
    delays = [
        delay_ms(strategy, attempt, initial_ms=1_000, multiplier=multiplier, max_ms=5_000) for attempt in range(1, 7)
    ]
    assert delays == expected


def test_a_rule_is_written_as_people_write_numbers_and_read_exactly() -> None:
    text = DEFAULT.read_text() + '\n[recoveries.payments]\nactivity = "restart"\nbackoff_multiplier = 1.1\n'
    read = policies.published(from_toml(text).canonical()).policy.recoveries["payments"]
    assert Fraction(read.backoff_multiplier) == Fraction(11, 10)


def test_a_rule_names_a_queue_that_the_policy_has() -> None:
    text = DEFAULT.read_text() + '\n[recoveries.payments]\nactivity = "restart"\nqueue = "nowhere"\n'
    with pytest.raises(PolicyError, match="names queue 'nowhere', which is not in queues"):
        from_toml(text)
