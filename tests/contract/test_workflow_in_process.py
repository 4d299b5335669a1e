"""The workflow suite on the DAGExecutor."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from compensation import DAGExecutor, DAGNode, DAGResult, StartError, StepCompensation, WorkflowContext
from compensation.definition import Node, WorkflowDefinition
from schemas.activity import Direction
from schemas.workflow import WorkflowState
from tests.contract.workflow_suite import Call, Ended, Script, WorkflowDriver, WorkflowSuite
from tests.support.product import HASH


class InProcess(WorkflowDriver):
    def __init__(self) -> None:
        self._executor = DAGExecutor("suite")
        self._result: DAGResult | None = None

    async def run(
        self, definition: WorkflowDefinition, script: Script, given: Mapping[str, Any], *, cancel_at: str | None = None
    ) -> Ended:
        cancelling = asyncio.Event()
        self._executor = self._executor_of(definition, script, cancel_at, cancelling)
        running = asyncio.create_task(self._executor.execute(_context(given)))
        if cancel_at is None:
            return self._ended(await running)
        await cancelling.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return Ended(WorkflowState.COMPENSATED, {}, {}, {})  # a cancelled execute() raises; the script tells the rest

    async def retry(self) -> Ended:
        assert self._result is not None
        return self._ended(await self._executor.retry(self._result))

    async def refused(self, definition: WorkflowDefinition, given: Mapping[str, Any]) -> str:
        with pytest.raises(StartError) as error:
            await self._executor_of(definition, Script(), None, asyncio.Event()).execute(_context(given))
        return str(error.value)

    def _ended(self, result: DAGResult) -> Ended:
        self._result = result
        return Ended(result.state, result.statuses, result.results, result.errors)

    def _executor_of(
        self, definition: WorkflowDefinition, script: Script, cancel_at: str | None, cancelling: asyncio.Event
    ) -> DAGExecutor:
        executor = DAGExecutor(
            definition.name,
            parallel_undo=definition.parallel_undo,
            undo_pause=timedelta(milliseconds=1),
            drain_timeout=timedelta(milliseconds=definition.drain_timeout_ms),
        )
        for one in definition.nodes:
            executor.add_node(_node(one, script, cancel_at, cancelling))
        return executor


def _context(given: Mapping[str, Any]) -> WorkflowContext:
    return WorkflowContext(constitutional_hash=HASH, input=given)


def _node(one: Node, script: Script, cancel_at: str | None, cancelling: asyncio.Event) -> DAGNode:
    async def execute(context: WorkflowContext) -> object:
        results = {id_: context.results[id_] for id_ in one.dependencies if id_ in context.results}
        keys = context.idempotency_key, context.effect_key
        if one.id == cancel_at:
            cancelling.set()
        value = await script(Call(one.id, Direction.DO, dict(context), results, None, *keys))
        if one.id == cancel_at:
            await asyncio.Event().wait()
        return value

    async def undo(context: dict[str, Any]) -> bool:
        keys = context["idempotency_key"], context["effect_key"]
        call = Call(one.id, Direction.UNDO, context, context["results"], context["result"], *keys)
        return await script(call) is not False

    back = one.compensation
    return DAGNode(
        one.id,
        one.name,
        execute,
        one.dependencies,
        StepCompensation(back.name, undo, back.idempotency_key, back.max_retries) if back else None,
        one.optional,
        idempotency_key=one.idempotency_key,
        retry=one.retry,
        pivot=one.pivot,
        run_if=one.run_if,
    )


class TestInProcess(WorkflowSuite):
    @pytest.fixture
    def driver(self) -> WorkflowDriver:
        return InProcess()
