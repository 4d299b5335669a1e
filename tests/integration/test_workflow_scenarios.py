"""What goes wrong with workflows in the field, played with real processes on a real broker."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
import pytest

from compensation.definition import Compensation, Kind, Node, Retry, SignalWait, Timeouts, WorkflowDefinition
from schemas import envelope, topics
from schemas.activity import ActivityCommand, Attempt, Direction, Outcome
from schemas.reasons import Reason
from schemas.workflow import EventKind, StepStatus, WorkflowState
from streams.engine.client import EngineSettings
from streams.workflows import WorkflowHandle, WorkflowRejectedError
from tests.support.eventually import eventually
from tests.support.kafka import header, read_topic, write
from tests.support.product import PARTITIONS
from tests.support.saga import definition, node
from tests.support.scenario_activities import MENDABLE, MENDED, SHIP
from tests.support.scenes import Scene, scene
from tests.support.storm_activities import DO, UNDO, Play

SOON = timedelta(seconds=60)
ONCE = Retry(attempts=1)
HURRY = Timeouts(schedule_to_start_ms=500, start_to_close_ms=500)
PATIENT = Timeouts(schedule_to_start_ms=30_000, start_to_close_ms=30_000)


def step(id_: str, *needs: str, **changes: Any) -> Node:  # noqa: ANN401
    """A node whose effect is undone by another, both as the input's plays say."""
    undo = Compensation(name=f"undo_{id_}", activity=UNDO, timeouts=PATIENT)
    return node(id_, *needs, **{"activity": DO, "compensation": undo, "retry": ONCE, "timeouts": PATIENT, **changes})


def plays(**of: Play | Mapping[str, list[Play]]) -> dict[str, Any]:
    """An input: how attempts at nodes go; of a node that is not named, well."""
    return {"plays": {id_: {"do": [one]} if isinstance(one, Play) else dict(one) for id_, one in of.items()}}


async def test_a_charge_that_nobody_read_in_time_is_overtaken_by_its_refund_and_never_made(
    settings: EngineSettings, tmp_path: Path
) -> None:
    async with scene(settings, tmp_path) as at:
        at.lanes()
        handle = await at.client.start(definition(step("charge", timeouts=HURRY)), plays(), workflow_id="w")
        refund = await at.until_event("w", state=WorkflowState.COMPENSATING)
        at.worker()
        outcome = await handle.result(SOON)
        late = await at.until_event("w", direction=Direction.DO)
        assert at.standing() == []
        assert [one.tried for one in at.world.effects()] == [0]
    assert (refund.event, refund.asked[-1].direction) == (EventKind.TIMER, Direction.UNDO)
    assert outcome.state is WorkflowState.COMPENSATED
    assert late.outcome is Outcome.NEVER_STARTED


async def test_a_worker_that_slept_through_the_undo_of_its_effect_changes_nothing_when_it_wakes(
    settings: EngineSettings, tmp_path: Path
) -> None:
    charge = definition(step("charge", timeouts=Timeouts(schedule_to_start_ms=1_000, start_to_close_ms=2_500)))
    async with scene(settings, tmp_path) as at:
        at.lanes()
        sleeper = at.worker("sleeper")
        await at.until_commands_are_read()
        before = await at.client.start(charge, plays(charge=Play.DEAF_BEFORE), workflow_id="before")
        after = await at.client.start(charge, plays(charge=Play.DEAF_AFTER), workflow_id="after")
        await at.until_told("before", "charge tried")
        await at.until_told("after", "charge known to be done")
        sleeper.freeze()
        at.worker("other")
        ends = [(await one.result(SOON)).state for one in (before, after)]
        assert at.standing() == []
        sleeper.thaw()
        refused = await at.until_event("before", by="sleeper", direction=Direction.DO)
        succeeded = await at.until_event("after", by="sleeper", direction=Direction.DO)
        again = await at.until_event("after", direction=Direction.UNDO, round=1)
        assert (await after.result(SOON)).state is WorkflowState.COMPENSATED
        assert at.standing() == []
    assert ends == [WorkflowState.COMPENSATED] * 2
    assert refused.outcome is Outcome.NO_EFFECT
    assert (succeeded.event, succeeded.outcome) == (EventKind.ANSWERED, Outcome.COMPLETED)
    assert (again.outcome, again.by) in {(Outcome.COMPLETED, "sleeper"), (Outcome.COMPLETED, "other")}


async def test_a_worker_killed_in_an_effect_while_another_branch_fails_leaves_nothing_done(
    settings: EngineSettings, tmp_path: Path
) -> None:
    nap = node("nap", "a", kind=Kind.SLEEP, sleep_ms=1_000)
    saga = definition(step("a"), step("slow", "a"), nap, step("bad", "nap"), drain_timeout_ms=20_000)
    async with scene(settings, tmp_path) as at:
        at.lanes()
        killed = at.worker("killed")
        given = plays(slow={"do": [Play.HANGS_WITHIN]}, bad=Play.REFUSES)
        handle = await at.client.start(saga, given, workflow_id="w")
        await at.until_told("w", "slow done")
        killed.kill()
        at.worker("other")
        outcome = await handle.result(SOON)
        assert at.standing() == []
        story = at.world.story("w")
    assert (outcome.state, outcome.cause) == (WorkflowState.COMPENSATED, "bad: NoEffect: as the saga says")
    assert [line.split()[0] for line in story if line.split()[1] == "undone"] == ["slow", "a"]


async def test_a_command_read_again_too_late_after_its_worker_was_killed_in_the_effect_is_no_proof_of_nothing(
    settings: EngineSettings, tmp_path: Path
) -> None:
    late = Timeouts(schedule_to_start_ms=2_000, start_to_close_ms=30_000)
    async with scene(settings, tmp_path) as at:
        at.lanes()
        killed = at.worker("killed")
        await at.until_commands_are_read()
        saga = definition(step("charge", timeouts=late))
        handle = await at.client.start(saga, plays(charge=Play.HANGS_WITHIN), workflow_id="w")
        await at.until_told("w", "charge done")
        killed.kill()
        at.worker("other")
        outcome = await handle.result(SOON)
        assert at.standing() == []
    assert outcome.state is WorkflowState.COMPENSATED


async def test_a_cancel_during_compensation_is_refused_and_the_compensation_goes_on(
    settings: EngineSettings, tmp_path: Path
) -> None:
    failing_undo = {"undo": [Play.FAILS_BEFORE, Play.FAILS_BEFORE, Play.WELL]}
    async with scene(settings, tmp_path) as at:
        at.lanes()
        at.worker()
        given = plays(a=failing_undo, b=Play.REFUSES)
        handle = await at.client.start(definition(step("a"), step("b", "a")), given, workflow_id="w")
        await at.until(handle, state=WorkflowState.COMPENSATING)
        with pytest.raises(WorkflowRejectedError, match="everything is undone already") as refused:
            await handle.cancel("the customer left")
        outcome = await handle.result(SOON)
        assert at.standing() == []
    assert refused.value.reason == Reason.NOT_APPLICABLE
    assert (outcome.state, outcome.cause) == (WorkflowState.COMPENSATED, "b: NoEffect: as the saga says")


async def test_a_deploy_that_renames_an_activity_blocks_workflows_until_an_operator_frees_them(
    settings: EngineSettings, tmp_path: Path
) -> None:
    hurried = Timeouts(schedule_to_start_ms=1_000, start_to_close_ms=1_000)
    shipping = definition(node("ship", activity=SHIP, undo=False, retry=Retry(first_ms=200), timeouts=hurried))
    async with scene(settings, tmp_path) as at:
        at.lanes()
        renamed = at.worker_of("AFTER_THE_DEPLOY", "renamed")
        handles = [await at.client.start(shipping, {}, workflow_id=id_) for id_ in ("retried", "by-hand")]
        blocked = [await at.until(handle, attention_count=1) for handle in handles]
        assert {one.attention[0].status for one in blocked} == {StepStatus.BLOCKED}
        assert "knows no 'ship'" in blocked[0].attention[0].why
        renamed.ask_to_stop()
        assert renamed.wait() == 0
        at.worker_of("BEFORE_THE_DEPLOY", "rolled-back")
        await handles[0].retry("ship", blocked[0].version, "rolled back")
        await handles[1].mark_done("ship", blocked[1].version, "sent it myself", {"parcel": 7})
        outcomes = [await handle.result(SOON) for handle in handles]
    assert [one.state for one in outcomes] == [WorkflowState.COMPLETED] * 2
    assert [one.results["ship"] for one in outcomes] == ["shipped", {"parcel": 7}]


async def test_operators_retry_skip_and_mark_done_what_is_parked_at_the_version_that_they_saw(
    settings: EngineSettings, tmp_path: Path
) -> None:
    pivot = step("paid", pivot=True, compensation=None)
    saga = definition(pivot, node("broken", "paid", activity=MENDABLE, undo=False), step("z", "broken"))
    async with scene(settings, tmp_path) as at:
        at.lanes()
        at.worker()
        orders = ("retry", "skip", "mark_done")
        handles = {order: await at.client.start(saga, plays(), workflow_id=order) for order in orders}
        parked = {
            order: await at.until(handle, state=WorkflowState.PARKED_FORWARD) for order, handle in handles.items()
        }
        (at.folder / "world" / MENDED).touch()
        for order, handle in handles.items():
            version = parked[order].version
            with pytest.raises(WorkflowRejectedError, match="look again") as stale:
                await getattr(handle, order)("broken", version - 1, "stale")
            assert stale.value.reason == Reason.NOT_APPLICABLE
            event = await getattr(handle, order)("broken", version, "seen")
            assert (event.event, event.order, event.by) == (EventKind.ORDERED, order, "ada")
        outcomes = {order: await handle.result(SOON) for order, handle in handles.items()}
        done = {order: [node for id_, node in at.standing() if id_ == order] for order in orders}
        refused = await read_topic(settings, at.naming.topic(topics.REJECTED))
    assert {one.state for one in outcomes.values()} == {WorkflowState.COMPLETED}
    assert done == {"retry": ["paid", "z"], "skip": ["paid"], "mark_done": ["paid", "z"]}
    assert [header(one, envelope.REASON) for one in refused] == [Reason.NOT_APPLICABLE.value.encode()] * 3


async def test_timers_fire_although_all_lanes_were_killed_while_they_ran(
    settings: EngineSettings, tmp_path: Path
) -> None:
    async with scene(settings, tmp_path) as at:
        at.worker()
        for wait_ms in (3_000, 12_000, 48_000):  # on a slow machine the kill may come too late: again, with more time
            handles = await _timers_at_the_kill(at, wait_ms)
            fired = [event for id_ in handles for event in await at.events(id_) if event.event is EventKind.TIMER]
            if not fired:
                break
        assert fired == []
        at.lanes("after the kill")
        sleeping, pausing, waiting = handles
        ends = {id_: (await handle.result(SOON)).state for id_, handle in handles.items()}
        nap, pause = [await at.until_event(id_, event=EventKind.TIMER) for id_ in (sleeping, pausing)]
        began = {id_: (await at.until_event(id_, event=EventKind.STARTED)).at for id_ in handles}
        stands = [(id_, node) for id_, node in at.standing() if id_ in handles]
    completed, compensated = WorkflowState.COMPLETED, WorkflowState.COMPENSATED
    assert stands == [(pausing, "z"), (sleeping, "z")]
    assert ends == {sleeping: completed, pausing: completed, waiting: compensated}
    assert (nap.why, pause.why) == ("sleep", "retry")
    assert nap.at >= began[sleeping] + wait_ms
    assert pause.at >= began[pausing] + wait_ms


async def _timers_at_the_kill(at: Scene, wait_ms: int) -> dict[str, WorkflowHandle]:
    """A workflow that sleeps, one that pauses before its second attempt and one that waits: then all lanes are dead."""
    sleeping = definition(node("nap", kind=Kind.SLEEP, sleep_ms=wait_ms), step("z", "nap"))
    pausing = definition(step("z", retry=Retry(attempts=2, first_ms=wait_ms)))
    waiting = definition(step("a"), node("s", kind=Kind.SIGNAL, signal=SignalWait(deadline_ms=wait_ms)))
    starts: dict[str, tuple[WorkflowDefinition, dict[str, Any]]] = {
        f"sleeping-{wait_ms}": (sleeping, plays()),
        f"pausing-{wait_ms}": (pausing, plays(z={"do": [Play.FAILS_BEFORE, Play.WELL]})),
        f"waiting-{wait_ms}": (waiting, plays()),
    }
    lanes = [at.lanes(f"lanes-{wait_ms}-1"), at.lanes(f"lanes-{wait_ms}-2")]
    handles = {id_: await at.client.start(*given, workflow_id=id_) for id_, given in starts.items()}
    await at.until_event(f"pausing-{wait_ms}", outcome=Outcome.FAILED)
    await at.until_event(f"waiting-{wait_ms}", outcome=Outcome.COMPLETED)
    for one in lanes:
        one.kill()
    return handles


async def test_false_results_and_another_start_under_the_same_id_are_rejected_with_their_reason(
    settings: EngineSettings, tmp_path: Path
) -> None:
    async with scene(settings, tmp_path) as at:
        at.lanes()
        handle = await at.client.start(definition(step("a")), plays(), workflow_id="w")
        (command,) = await eventually(lambda: _commands(at))
        false = [
            _result(command, token="0" * 32),
            _result(command, run="0" * 32),
            _result(command, workflow_id="nobody"),
        ]
        results = at.naming.topic(topics.ACTIVITY_RESULTS)
        await write(settings, [(results, _place(one), _key(one), orjson.dumps(one), ()) for one in false])
        with pytest.raises(WorkflowRejectedError, match="take another id") as refused:
            await at.client.start(definition(step("b")), plays(), workflow_id="w")
        rejected = await eventually(lambda: _rejected(at, 4))
        assert (await handle.status()).state is WorkflowState.RUNNING
        at.worker()
        assert (await handle.result(SOON)).state is WorkflowState.COMPLETED
        assert await _rejected(at, 4) == rejected
    assert refused.value.reason == Reason.OTHER_CONTENT
    unknown, wrong = Reason.UNKNOWN_WORKFLOW, Reason.WRONG_TOKEN
    assert sorted(rejected) == sorted([unknown.value, unknown.value, wrong.value, Reason.OTHER_CONTENT.value])


async def _commands(at: Scene) -> list[ActivityCommand]:
    records = await read_topic(at.settings, at.naming.topic(topics.activities_of(topics.DEFAULT_QUEUE)))
    return [ActivityCommand.model_validate_json(record.value or b"") for record in records]


def _result(command: ActivityCommand, **false: str) -> dict[str, Any]:
    about = command.model_dump(mode="json", include=set(Attempt.model_fields))
    return {**about, "outcome": "completed", "worker": "impostor", **false}


def _key(result: Mapping[str, Any]) -> bytes:
    return str(result["workflow_id"]).encode()


def _place(result: Mapping[str, Any]) -> int:
    return crc32(_key(result)) % PARTITIONS


async def _rejected(at: Scene, count: int) -> list[str]:
    """The reasons of all that was rejected, once so much was; each says why in words, too."""
    records = await read_topic(at.settings, at.naming.topic(topics.REJECTED))
    assert all(header(record, envelope.DETAIL) for record in records)
    return [(header(record, envelope.REASON) or b"").decode() for record in records] if len(records) >= count else []
