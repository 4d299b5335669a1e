"""Workflows: forward, back, timers, people, approvals; what is refused; recoveries and the workflows of theirs."""

from datetime import timedelta
from typing import Any

import orjson

from compensation.definition import (
    Approval,
    Compensation,
    Kind,
    Retry,
    RunIf,
    SignalWait,
    Timeouts,
)
from schemas import envelope, topics
from schemas.activity import MAX_RESULT_BYTES, Direction, Outcome
from schemas.policy import AcceptedHash
from schemas.workflow import WorkflowState
from tests.golden.recording import Recorder
from tests.support.orchestrated import DAY_MS, Orchestrated
from tests.support.product import HASH, NEXT_HASH
from tests.support.recovered import CHECKED, CLOSING_MS, UNCHECKED, Recovered, rule
from tests.support.saga import definition, node

ACTIVITIES = [f"{kind}_{id_}" for kind in ("do", "undo") for id_ in ("a", "b", "c")]
CHAIN = (node("a"), node("b", "a"), node("c", "b"))
UNDO_ONCE = Compensation(name="undo_a", activity="undo_a", max_retries=0)


def _lane(recorder: Recorder, *nodes_: object, given: dict[str, Any] | None = None, **changes: Any) -> Orchestrated:  # noqa: ANN401
    lane = Orchestrated(*ACTIVITIES, driver=recorder.driver)
    lane.start(definition(*(nodes_ or CHAIN), **changes), given)  # type: ignore[arg-type]  # nodes
    return lane


def forward(recorder: Recorder) -> None:
    lane = _lane(recorder, given={"order": "7"})
    lane.start(definition(*CHAIN), {"order": "7"})
    lane.start(definition(*CHAIN), {"order": "8"})
    for name in "abc":
        lane.beat(lane.last(name), details={"row": 41})
        lane.answer(lane.last(name), result={name: 1})
        lane.answer(lane.last(name))
    lane.command("cancel", reason="too late")
    lane.pass_time(40 * DAY_MS)


def compensation_in_reverse(recorder: Recorder) -> None:
    lane = _lane(recorder)
    lane.answer(lane.last("a"), result=1)
    lane.answer(lane.last("b"), result=2)
    lane.answer(lane.last("c"), Outcome.NO_EFFECT)
    lane.answer(lane.last("b", Direction.UNDO), Outcome.FAILED)
    lane.pass_time(60_000)
    lane.answer(lane.last("b", Direction.UNDO))
    lane.answer(lane.last("a", Direction.UNDO))


def unknown_outcomes_and_timeouts(recorder: Recorder) -> None:
    timeouts = Timeouts(schedule_to_start_ms=1_000, start_to_close_ms=9_000, heartbeat_ms=2_000)
    lane = _lane(recorder, node("a"), node("b", "a", timeouts=timeouts, retry=Retry(attempts=2, first_ms=100)))
    lane.answer(lane.last("a"))
    lane.beat(lane.last("b"), details={"row": 42})
    lane.pass_time(2_500)
    lane.pass_time(60_000)
    while lane.state not in {WorkflowState.COMPENSATED, WorkflowState.COMPENSATION_FAILED}:
        undo = lane.sent[-1]
        lane.answer(undo)
    lane.answer(lane.last("b"))


def a_parked_undo(recorder: Recorder) -> None:
    lane = _lane(recorder, node("a", compensation=UNDO_ONCE), node("b", "a"))
    lane.answer(lane.last("a"))
    lane.answer(lane.last("b"), Outcome.NO_EFFECT)
    lane.answer(lane.last("a", Direction.UNDO), Outcome.FAILED)
    lane.pass_time(60_000)
    lane.now += DAY_MS
    lane.answer(lane.last("a", Direction.UNDO), Outcome.FAILED)
    lane.command("skip", node="a", version=lane.version(), reason="refunded by hand", verified=True)


def people(recorder: Recorder) -> None:
    lane = _lane(recorder)
    lane.answer(lane.last("a"))
    lane.command("pause", reason="lunch")
    lane.answer(lane.last("b"))
    lane.command("resume", reason="back")
    lane.command("cancel", reason="the customer left")
    lane.answer(lane.last("c"), Outcome.NEVER_STARTED)
    lane.answer(lane.last("b", Direction.UNDO))
    lane.answer(lane.last("a", Direction.UNDO))
    blocked = _lane(recorder, node("a", timeouts=Timeouts(schedule_to_start_ms=1_000)), node("b", "a"))
    blocked.answer(blocked.last("a"), Outcome.UNKNOWN_ACTIVITY)
    blocked.pass_time(5_000)
    blocked.command("mark_done", node="a", version=blocked.version(), reason="by hand", payload={"by": "hand"})


def signals_pivots_and_joins(recorder: Recorder) -> None:
    waits = node("s", "a", kind=Kind.SIGNAL, signal=SignalWait(deadline_ms=10_000))
    lane = _lane(recorder, node("a"), waits, node("b", "s"))
    lane.answer(lane.last("a"))
    lane.command("signal", node="s", payload={"ok": 1})
    lane.command("signal", node="s", payload={"ok": 2})
    late = _lane(recorder, node("a"), waits)
    late.answer(late.last("a"))
    late.pass_time(10_001)
    pivoted = _lane(recorder, node("a", undo=False, pivot=True), node("b", "a", retry=Retry(attempts=1)))
    pivoted.answer(pivoted.last("a"))
    pivoted.answer(pivoted.last("b"), Outcome.FAILED)
    pivoted.command("cancel", reason="no")
    pivoted.pass_time(60_000)
    once = Retry(attempts=1)
    joined = _lane(
        recorder,
        node("a", optional=True, retry=once),
        node("b"),
        node("c", "a", "b", run_if=RunIf.ALL_SETTLED),
    )
    joined.answer(joined.last("a"), Outcome.NO_EFFECT)
    joined.answer(joined.last("b"))
    joined.answer(joined.last("c"))


def approvals(recorder: Recorder) -> None:
    for approved in (True, False):
        lane = _lane(recorder, node("a"), node("b", "a", activity="grave_deed"))
        lane.answer(lane.last("a"), result=5)
        for changes in ({"item_id": "1" * 8 + "-1111-1111-1111-" + "1" * 12}, {"run": "0" * 32}, {"node": "zz"}):
            lane.verdict(approved=True, **changes)
        lane.verdict(approved=approved)
    asked = node("x", "a", kind=Kind.APPROVAL, approval=Approval(tier="high", deadline_ms=1_000))
    lane = _lane(recorder, node("a"), asked)
    lane.answer(lane.last("a"))
    lane.command("cancel", reason="not needed")
    grave = Compensation(name="undo", activity="grave_undo")
    held = _lane(recorder, node("a", compensation=grave))
    held.verdict(approved=True)
    for said in ({}, {"verified": True}, {"ours": True}):
        unproven = Orchestrated(*ACTIVITIES, driver=recorder.driver, signed_tenants=("acme",))
        unproven.start(definition(node("a")), **said)


def refused(recorder: Recorder) -> None:
    lane = _lane(recorder, node("a"), node("b", "a"))
    command = lane.last("a")
    for said in ({"token": "0" * 32}, {"run": "0" * 32}, {"workflow_id": "nobody"}, {"round": 1}, {"outcome": "x"}):
        lane.answer(command, said=said)
    for value in (b"{", b"[]", None):
        lane.send(topics.ACTIVITY_RESULTS, value)
    lane.send(topics.HEARTBEATS, b'{"v":1}')
    lane.command("cancel", workflow_id="nobody", reason="why not")
    lane.command("cancel", tenant_id="globex", reason="not mine")
    lane.command("retry", node="a", version=99, reason="stale")
    lane.command("retry", node="a", version=lane.version(), reason="not parked")
    lane.command("signal", node="a", payload="x" * MAX_RESULT_BYTES)
    lane.command("resume", reason="not paused")
    for changes in ({"tags": ["t"]}, {"tenant_id": "globex"}):
        lane.start(definition(node("a"), node("b", "a")), **changes)
    lane.answer(command, result="x" * MAX_RESULT_BYTES)
    new = {"workflow_id": "w2"}
    lane.start(definition(node("a", idempotency_key="k_{order_id}")), {}, **new)
    lane.start(definition(node("a", queue="nowhere")), **new)
    lane.start(definition(node("x", kind=Kind.APPROVAL, approval=Approval(tier="none", deadline_ms=1_000))), **new)
    text = orjson.loads(definition(node("a"), node("b", "a")).canonical())
    text["nodes"][0]["dependencies"] = ["b"]
    lane.start(text, **new)
    lane.publish(2, *ACTIVITIES, hashes=(NEXT_HASH,))
    lane.start(definition(node("a")), **new)


def recoveries(recorder: Recorder) -> None:
    lane = Recovered(recorder.driver)
    lane.breaker()
    lane.breaker(breaker="pool")
    lane.pass_time(1_000)
    lane.answer(state="compensated")
    lane.pass_time(60_000)
    lane.answer()
    lane.breaker(kind="heartbeat", sequence=1)
    lane.breaker(state="half_open")
    lane.breaker(state="closed")
    lane.breaker(breaker="pool", kind="retired", state="closed")
    lane.breaker("other", ttl_s=60)
    lane.pass_time(DAY_MS)


def recoveries_that_fail(recorder: Recorder) -> None:
    for strategy in ("exponential_backoff", "linear_backoff", "immediate", "manual"):
        lane = Recovered(recorder.driver, recoveries={"*": rule(strategy=strategy, max_retry_attempts=2)})
        lane.breaker()
        for _ in range(2):
            lane.pass_time(120_000)
            if strategy == "manual":
                lane.order("approve")
            lane.answer(results={"check": {"value": False}})
        lane.pass_time(600_000)
    silent = Recovered(recorder.driver, recoveries={"payments": CHECKED})
    silent.breaker()
    silent.breaker("unruled")
    silent.pass_time(DAY_MS)
    unchecked = Recovered(recorder.driver, recoveries={"*": UNCHECKED}, keep_closed_workflows=timedelta(hours=1))
    unchecked.breaker()
    unchecked.pass_time(1_000)
    unchecked.answer(results={})
    unchecked.pass_time(CLOSING_MS)
    unchecked.breaker(state="closed")
    unchecked.pass_time(7_200_000)


def recoveries_by_order(recorder: Recorder) -> None:
    lane = Recovered(recorder.driver, max_recoveries_at_once=1)
    lane.breaker("a")
    lane.breaker("b")
    lane.pass_time(1_000)
    lane.order("cancel", "a", version=0)
    lane.order("approve", "a")
    lane.order("schedule", "a")
    lane.order("cancel", "a")
    lane.order("schedule", "c", strategy="linear_backoff", priority=0, not_before="2027-01-15T09:00:00Z")
    lane.order("cancel", "nobody", version=0, verified=False)
    lane.publish(hashes=(NEXT_HASH,))
    lane.pass_time(120_000)
    lane.publish(accepted_hashes=(AcceptedHash(hash=HASH),), recoveries={})
    lane.pass_time(DAY_MS)
    source = ((envelope.VERSION, b"1"), (envelope.SOURCE, b"p.in.recovery/0/7"))
    for value in (b"", b"[]", b"\xff", None):
        lane.send(topics.RECOVERY, "a", value, source)
        lane.send(topics.BREAKERS, "a", value, source)


SCENES = (
    forward,
    compensation_in_reverse,
    unknown_outcomes_and_timeouts,
    a_parked_undo,
    people,
    signals_pivots_and_joins,
    approvals,
    refused,
    recoveries,
    recoveries_that_fail,
    recoveries_by_order,
)
