"""Recoveries with the agents of the product behind them: breakers open, workers recover, operators order."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas import topics
from schemas.activity import ActivityCommand, Outcome
from schemas.decision import Vote
from schemas.recovery import RecoveryState
from streams.engine.client import EngineSettings
from streams.recovery import RecoveryRefusedError, RecoveryTimeoutError, RecoveryUnknownError
from streams.recovery.board import events_of, status_of
from tests.integration.test_cli import Acgs
from tests.support.deliberating import client_of as approvals_of
from tests.support.product import HASH, NEXT_HASH
from tests.support.recovered import PROBE, RESTART, rule
from tests.support.recovering import agents_running, breakers, client_of, install, recovering, until
from tests.support.signing import approver, key
from tests.support.workflows import answering

S = RecoveryState
SOON = rule(initial_delay="PT0.2S", start_within="PT0.5S", timeout="PT0.5S")
OPERATORS = {"approvers": (approver("olga", "security"), approver("lee", "lead")), "operators": ("olga",)}


@pytest.fixture
def acgs(settings: EngineSettings) -> Acgs:
    return Acgs(settings)


def well(command: ActivityCommand) -> object:
    return command.activity == PROBE


async def test_an_opened_breaker_is_recovered_by_workers_and_the_health_check_says_so(settings: EngineSettings) -> None:
    async with recovering(settings, well, recoveries={"*": SOON}):
        await breakers(settings, ("payments", "open"), ("orders", "open"))
        status = await until(settings, S.SUCCEEDED)
        await until(settings, S.SUCCEEDED, "orders")
        events = await events_of(settings, "payments")
    assert [event.state for event in events] == [S.SCHEDULED, S.IN_PROGRESS, S.SUCCEEDED]
    assert (status.attempt, status.open_breakers) == (1, 1)
    assert events[1].at >= (events[0].due or 0)


async def test_attempts_follow_each_other_until_one_helps(
    settings: EngineSettings,
) -> None:
    tried: list[str] = []

    def third_time(command: ActivityCommand) -> object:
        if command.activity == RESTART:
            tried.append(command.workflow_id)
            return Outcome.FAILED if len(tried) == 1 else "restarted"
        return len(tried) == 3

    async with recovering(settings, third_time, recoveries={"payments": SOON}):
        await breakers(settings, ("payments", "open"))
        status = await until(settings, S.SUCCEEDED)
    assert (status.attempt, len(set(tried))) == (3, 3)


async def test_without_a_health_check_the_breaker_tells_whether_it_has_helped(settings: EngineSettings) -> None:
    unchecked = rule(initial_delay="PT0.2S", health_check=None)
    async with recovering(settings, well, recoveries={"payments": unchecked}):
        await breakers(settings, ("payments", "open"))
        await until(settings, S.IN_PROGRESS)
        await breakers(settings, ("payments", "half_open"), ("payments", "closed"))
        status = await until(settings, S.SUCCEEDED)
    assert status.why == "its breakers have closed"


async def test_without_workers_it_awaits_a_person_whose_signed_order_starts_it_again(settings: EngineSettings) -> None:
    async with recovering(settings, None, recoveries={"*": SOON}, **OPERATORS):
        await breakers(settings, ("payments", "open"))
        waiting = await until(settings, S.AWAITING_MANUAL)
        assert waiting.why.startswith("no worker took attempt 1")
        async with client_of(settings) as unsigned:
            with pytest.raises(RecoveryRefusedError, match="unsigned"):
                await unsigned.approve("payments", waiting.version, "let me")
        async with client_of(settings, requested_by="lee", key=key("lee")) as no_operator:
            with pytest.raises(RecoveryRefusedError, match="unknown_operator"):
                await no_operator.approve("payments", waiting.version, "let me")
        async with client_of(settings, key=key("olga")) as client:
            with pytest.raises(RecoveryRefusedError, match="look again"):
                await client.approve("payments", waiting.version - 1, "workers are back")
            event = await client.approve("payments", waiting.version, "workers are back")
            assert (event.state, event.by, event.verified) == (S.SCHEDULED, "olga", True)
            again = await until(settings, S.AWAITING_MANUAL)
            assert again.attempt == 2
            cancelled = await client.cancel("payments", again.version, "we move")
            assert cancelled.state is S.CANCELLED
            with pytest.raises(RecoveryRefusedError, match="nothing to cancel"):
                await client.cancel("payments", cancelled.version, "we move")


async def test_what_is_scheduled_waits_or_runs_is_taken_over_by_the_next_worker(settings: EngineSettings) -> None:
    await install(settings, recoveries={"*": rule(initial_delay="PT0.2S")}, max_recoveries_at_once=1)
    services = [f"s{number}" for number in range(6)]
    async with agents_running(settings), client_of(settings) as client:
        later = datetime.now(UTC) + timedelta(seconds=3)
        for service in services:
            await client.schedule(service, "a drill", not_before=later if service == "s5" else None)
        await until(settings, S.IN_PROGRESS, "s0")
    async with agents_running(settings), answering(settings, well):
        for service in services:
            await until(settings, S.SUCCEEDED, service)
        for service in services:
            events = await events_of(settings, service)
            begun = [event for event in events if event.state is S.IN_PROGRESS]
            assert len({event.workflow_id for event in begun}) == len(begun)
            dues = [event.due for event in events if event.state is S.SCHEDULED]
            assert all(event.at >= (due or 0) for event, due in zip(begun, dues, strict=True))


async def test_an_activity_that_is_grave_waits_for_approval_as_any_other(settings: EngineSettings) -> None:
    grave = rule(initial_delay="PT0.2S", activity="wipe_and_reinstall")
    people = {"approvers": (approver("olga", "security"),)}
    more = (topics.GATEWAY_DECISIONS, topics.DELIBERATOR)
    async with recovering(settings, well, *more, recoveries={"*": grave}, **people):
        await breakers(settings, ("payments", "open"))
        async with approvals_of(settings, "olga") as approvals:
            pending = approvals.pending()
            item = await anext(pending)
            assert (await status_of(settings, "payments")).waits_for_approval
            assert item.item.tool == "wipe_and_reinstall"
            await approvals.decide(item.item, Vote.APPROVE)
            await pending.aclose()
        await until(settings, S.SUCCEEDED)


async def test_what_nobody_takes_is_told_and_what_is_not_there_too(settings: EngineSettings) -> None:
    async with recovering(settings, None, recoveries={}):
        async with client_of(settings, constitutional_hash=NEXT_HASH) as wrong:
            with pytest.raises(RecoveryRefusedError, match="hash_unknown"):
                await wrong.schedule("payments", "now")
        async with client_of(settings) as client:
            with pytest.raises(RecoveryRefusedError, match="no rule"):
                await client.schedule("payments", "now")
        with pytest.raises(RecoveryUnknownError):
            await status_of(settings, "payments")
    async with client_of(settings, answer_within=timedelta(seconds=1)) as client:
        with pytest.raises(RecoveryTimeoutError, match="gateway-recovery"):
            await client.schedule("payments", "now")


async def test_operators_see_and_order_recoveries_on_the_command_line(
    acgs: Acgs, settings: EngineSettings, tmp_path: Path
) -> None:
    file = tmp_path / "olga.key"
    key("olga").save(file)
    signed = ("--key", str(file), "--hash", HASH)
    async with recovering(settings, well, recoveries={"payments": rule(strategy="manual"), "*": SOON}, **OPERATORS):
        assert "No recovery is under way." in (await acgs("recovery", "list")).err
        await breakers(settings, ("payments", "open"))
        status = await until(settings, S.AWAITING_MANUAL)
        listed = await acgs("recovery", "list")
        assert (listed.code, "awaiting_manual" in listed.out) == (0, True)
        assert "1 recovery, of which 1 awaits a person." in listed.err
        shown = await acgs("recovery", "show", "payments")
        assert "acgs recovery approve payments --version 1 --reason WHY" in shown.out
        unasked = await acgs("recovery", "approve", "payments", "--reason", "go", *signed)
        assert (unasked.code, "add --version" in unasked.err) == (2, True)
        unsigned = await acgs("recovery", "approve", "payments", "--reason", "go", "--version", str(status.version))
        assert (unsigned.code, "unsigned" in unsigned.err) == (1, True)
        approved = await acgs("recovery", "approve", "payments", "--reason", "go", "--version", "1", *signed)
        assert approved.out.startswith("payments: approved; it is scheduled, version 2")
        await until(settings, S.SUCCEEDED)
        document = json.loads((await acgs("recovery", "show", "payments", "--json")).out)
        assert [one["state"] for one in document["events"]] == [
            "awaiting_manual",
            "scheduled",
            "in_progress",
            "succeeded",
        ]
        far = ("--in", "2h", "--priority", "0", "--strategy", "immediate")
        scheduled = await acgs("recovery", "schedule", "orders", "--reason", "upgrade", *far, *signed)
        assert (scheduled.code, scheduled.out[:20]) == (0, "orders: scheduled; i")
        cancelled = await acgs("recovery", "cancel", "orders", "--reason", "no", "--version", "1", *signed)
        assert cancelled.out.startswith("orders: cancelled; it is cancelled, version 2")
        every = await acgs("recovery", "list", "--all", "--json")
        assert [(one["service"], one["state"]) for one in every.documents] == [
            ("orders", "cancelled"),
            ("payments", "succeeded"),
        ]
        missing = await acgs("recovery", "show", "nowhere")
        assert (missing.code, "there is no recovery of 'nowhere'" in missing.err) == (1, True)
