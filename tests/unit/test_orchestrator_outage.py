"""A compensation's target is away for an hour, and for longer than anybody tries."""

from collections.abc import Sequence
from itertools import pairwise

from compensation.definition import Compensation, Timeouts
from schemas.activity import ActivityCommand, Direction, Outcome
from schemas.workflow import CompensationRecord, EventKind, WorkflowState
from tests.support.orchestrated import DAY_MS, Orchestrated
from tests.support.saga import definition, node

HOUR_MS, MINUTE_MS = 3_600_000, 60_000
ACTIVITIES = [f"{kind}_{id_}" for kind in ("do", "undo") for id_ in ("a", "b", "c")]
REFUND = Compensation(name="refund", activity="undo_b", timeouts=Timeouts(schedule_to_start_ms=5_000))


def failed() -> Orchestrated:
    """Reserved and charged, and then refused: the refund has been commanded."""
    lane = Orchestrated(*ACTIVITIES)
    lane.start(definition(node("a"), node("b", "a", compensation=REFUND), node("c", "b")))
    lane.answer(lane.last("a"))
    lane.answer(lane.last("b"), result="receipt 7")
    lane.answer(lane.last("c"), Outcome.NO_EFFECT)
    return lane


def refuse_until(lane: Orchestrated, until: int) -> None:
    """Whoever is asked for the refund cannot be reached until then."""
    tried = 0
    while lane.now < until:
        calls = undos(lane)
        for call in calls[tried:]:
            lane.answer(call, Outcome.FAILED)
        tried = len(calls)
        lane.pass_time(1_000)


def undos(lane: Orchestrated) -> list[ActivityCommand]:
    return [one for one in lane.sent if one.direction is Direction.UNDO]


def pauses_s(records: Sequence[CompensationRecord]) -> list[int]:
    """How long was waited between one command and the next, in seconds."""
    return [(after.at - before.at) // 1_000 for before, after in pairwise(records)]


def test_an_outage_of_an_hour_delays_the_undo_and_all_before_it_and_changes_nothing_else() -> None:
    lane = failed()
    refuse_until(lane, lane.now + HOUR_MS)
    assert (lane.state, lane.status().attention_count) == (WorkflowState.COMPENSATING, 0)
    assert set(lane.undone()) == {"b"}
    lane.pass_time(HOUR_MS)
    lane.answer(lane.last("b", Direction.UNDO))
    lane.answer(lane.last("a", Direction.UNDO))
    assert lane.state is WorkflowState.COMPENSATED
    assert lane.undone()[-1] == "a"
    assert lane.rejected == []


def test_it_is_tried_quickly_at_first_then_ever_more_seldom_but_at_least_once_an_hour() -> None:
    lane = failed()
    refuse_until(lane, lane.now + 6 * HOUR_MS)
    quick, slow = pauses_s(lane.compensations)[:3], pauses_s(lane.compensations)[3:]
    assert quick == [1, 2, 4]
    assert slow[:6] == [60, 120, 240, 480, 960, 1_920]
    assert set(slow[6:]) == {3_600}


def test_each_try_has_the_same_key_and_is_given_what_is_to_be_undone() -> None:
    lane = failed()
    refuse_until(lane, lane.now + HOUR_MS)
    tries = undos(lane)
    assert len(tries) > 6
    assert len({one.idempotency_key for one in tries}) == len({one.effect_key for one in tries}) == 1
    assert {one.result.value for one in tries if one.result is not None} == {"receipt 7"}
    assert [one.attempt for one in tries] == list(range(1, len(tries) + 1))
    assert len({one.token for one in tries}) == len(tries)


def test_a_target_that_never_answers_is_tried_on_as_one_that_refuses() -> None:
    lane = failed()
    lane.pass_time(HOUR_MS)
    tries = len(undos(lane))
    assert tries > 5
    assert lane.state is WorkflowState.COMPENSATING
    assert sum(event.event is EventKind.TIMER for event in lane.events) >= 2 * (tries - 1)
    lane.answer(undos(lane)[0])
    assert lane.undone()[-1] == "a"


def test_an_answer_of_an_earlier_try_that_comes_late_ends_the_undo_once() -> None:
    lane = failed()
    refuse_until(lane, lane.now + HOUR_MS)
    first, last = undos(lane)[0], undos(lane)[-1]
    lane.answer(first)
    assert lane.undone()[-1] == "a"
    lane.answer(last)
    assert lane.events[-1].event is EventKind.IGNORED
    assert lane.undone().count("a") == 1


def test_after_a_day_somebody_is_asked_and_a_late_end_of_the_outage_still_goes_on_by_itself() -> None:
    lane = failed()
    refuse_until(lane, lane.now + DAY_MS + 2 * HOUR_MS)
    assert lane.state is WorkflowState.COMPENSATION_FAILED
    assert [one.node for one in lane.status().attention] == ["b"]
    tries = len(undos(lane))
    lane.pass_time(DAY_MS)
    assert len(undos(lane)) == tries
    lane.answer(undos(lane)[-1])
    lane.answer(lane.last("a", Direction.UNDO))
    assert lane.state is WorkflowState.COMPENSATED


def test_an_operator_has_a_parked_undo_tried_again_under_another_key() -> None:
    lane = failed()
    refuse_until(lane, lane.now + DAY_MS + 2 * HOUR_MS)
    before = undos(lane)[-1]
    lane.command("retry", node="b", version=lane.version(), reason="the bank is back")
    again = undos(lane)[-1]
    assert (again.round, again.attempt) == (before.round + 1, 1)
    assert again.idempotency_key != before.idempotency_key
    assert again.effect_key == before.effect_key
    lane.answer(again)
    lane.answer(lane.last("a", Direction.UNDO))
    assert lane.state is WorkflowState.COMPENSATED
