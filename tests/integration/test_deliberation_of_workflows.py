"""Workflows that wait for approvals: the approved goes on, the denied is undone, and so is what nobody decides."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from compensation.definition import Approval, Compensation, Kind
from schemas import topics
from schemas.activity import ActivityCommand
from schemas.decision import ItemKind, Vote
from schemas.deliberation import DeliberationState
from schemas.policy import Policy
from schemas.workflow import WorkflowState
from streams.approvals import PendingItem
from streams.engine.client import EngineSettings
from streams.workflows import WorkflowClient
from tests.support import workflows
from tests.support.deliberated import registry
from tests.support.deliberating import client_of, deliberating
from tests.support.orchestrated import workflow_policy
from tests.support.saga import definition, node
from tests.support.signing import signer

ACTIVITIES = [f"{kind}_{id_}" for kind in ("do", "undo") for id_ in ("a", "b", "c")]
SOON = timedelta(seconds=60)
GRAVE = definition(
    node("a"), node("b", "a", activity="grave_b", compensation=Compensation(name="undo_b", activity="undo_b"))
)
APPROVED = definition(
    node("a"), node("ok", "a", kind=Kind.APPROVAL, approval=Approval(tier="high", deadline_ms=60_000)), node("c", "ok")
)


def policy() -> Policy:
    """A policy with approvers that knows the activities, but for the grave one."""
    known = workflow_policy(1, *ACTIVITIES).tools
    return registry(tools=known)


def well(command: ActivityCommand) -> object:
    return command.activity


@asynccontextmanager
async def everything(settings: EngineSettings, in_force: Policy) -> AsyncIterator[WorkflowClient]:
    more = (topics.GATEWAY_WORKFLOWS, topics.ORCHESTRATOR)
    async with (
        deliberating(settings, in_force, *more),
        workflows.answering(settings, well),
        workflows.client_of(settings) as client,
    ):
        yield client


async def decided(settings: EngineSettings, *names: str, vote: Vote = Vote.APPROVE) -> PendingItem:
    """The first item that waits, after those have voted on it."""
    async with asyncio.timeout(60), client_of(settings) as client:
        async for one in client.pending():
            for name in names:
                await client.decide(one.item, vote, signer=signer(name))
            return one
    raise AssertionError("unreachable")


async def test_a_dangerous_call_waits_for_its_approvals_and_is_then_made(settings: EngineSettings) -> None:
    async with everything(settings, policy()) as client:
        handle = await client.start(GRAVE, {"order_id": 1})
        one = await decided(settings, "lee", "sam")
        outcome = await handle.result(SOON)
    assert (one.item.kind, one.tool, one.item.sender) == (ItemKind.WORKFLOW, "grave_b", "ada")
    assert (outcome.state, outcome.results) == (WorkflowState.COMPLETED, {"b": "grave_b"})


async def test_a_veto_of_a_dangerous_call_has_the_workflow_undone(settings: EngineSettings) -> None:
    async with everything(settings, policy()) as client:
        handle = await client.start(GRAVE, {"order_id": 1})
        await decided(settings, "lee", vote=Vote.VETO)
        outcome = await handle.result(SOON)
        records = [event.node async for event in handle.events() if event.outcome]
    assert outcome.state is WorkflowState.COMPENSATED
    assert "vetoed by lee" in (outcome.cause or "")
    assert records == ["a", "a"]


async def test_an_approval_node_waits_for_a_verdict_and_has_it_as_its_result(settings: EngineSettings) -> None:
    async with everything(settings, policy()) as client:
        handle = await client.start(APPROVED, {})
        one = await decided(settings, "lee", "sam")
        outcome = await handle.result(SOON)
    assert (outcome.state, one.card) == (WorkflowState.COMPLETED, None)


async def test_an_approval_that_nobody_gives_expires_and_has_the_workflow_undone(settings: EngineSettings) -> None:
    hasty = definition(
        node("a"),
        node("ok", "a", kind=Kind.APPROVAL, approval=Approval(tier="high", deadline_ms=1_000)),
        node("c", "ok"),
    )
    async with everything(settings, policy()) as client:
        handle = await client.start(hasty, {})
        outcome = await handle.result(SOON)
        statuses = (await handle.status()).state
    assert (outcome.state, statuses) == (WorkflowState.COMPENSATED, WorkflowState.COMPENSATED)


async def test_an_item_of_a_cancelled_workflow_is_withdrawn(settings: EngineSettings) -> None:
    async with everything(settings, policy()) as client, client_of(settings, "lee") as lee:
        handle = await client.start(APPROVED, {})
        one = await decided(settings)
        await handle.cancel("not wanted any more")
        ended = await lee.ended(one.item_id)
        outcome = await handle.result(SOON)
    assert ended.state is DeliberationState.WITHDRAWN
    assert outcome.state is WorkflowState.COMPENSATED
