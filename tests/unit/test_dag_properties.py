"""Random graphs of random functions in one process, cancelled at a random moment: a run always ends, and in order."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compensation import (
    CONSTITUTIONAL_HASH,
    DAGExecutor,
    DAGNode,
    DAGResult,
    NoEffect,
    NonRetryableError,
    Retry,
    RunIf,
    StepCompensation,
    StepStatus,
    WorkflowContext,
    WorkflowState,
)

SOON = timedelta(milliseconds=1)
ENDS_WITHIN_S = 60
CLOSED_OR_PARKED = {
    WorkflowState.COMPLETED,
    WorkflowState.COMPENSATED,
    WorkflowState.COMPENSATION_FAILED,
    WorkflowState.PARKED_FORWARD,
}
ENDINGS = st.sampled_from([None, None, None, NoEffect, NonRetryableError, RuntimeError])


@st.composite
def graphs(draw: st.DrawFn) -> tuple[DAGExecutor, list[str]]:
    """A graph, and where its compensations say that they ran."""
    undone: list[str] = []
    dag = DAGExecutor(
        "random",
        max_parallel=draw(st.sampled_from([None, 1, 2])),
        parallel_undo=draw(st.booleans()),
        undo_pause=SOON,
        drain_timeout=timedelta(seconds=30),
    )
    for at in range(draw(st.integers(1, 7))):
        needs = draw(st.lists(st.sampled_from(range(at)), unique=True, max_size=2)) if at else []
        pivot = draw(st.integers(0, 9)) == 0
        undo = StepCompensation(f"u{at}", _undo(f"n{at}", draw(st.booleans()), undone), max_retries=1)
        node = DAGNode(
            f"n{at}",
            "n",
            _work(f"n{at}", draw(st.integers(0, 3)), draw(ENDINGS)),
            [f"n{one}" for one in needs],
            undo if not pivot and draw(st.booleans()) else None,
            not pivot and draw(st.integers(0, 4)) == 0,
            retry=Retry(attempts=2, first_ms=1),
            pivot=pivot,
            run_if=draw(st.sampled_from(RunIf)),
        )
        dag.add_node(node)
    return dag, undone


def _work(name: str, pauses: int, ending: type[Exception] | None) -> Callable[[WorkflowContext], Awaitable[str]]:
    async def execute(_: WorkflowContext) -> str:
        for _ in range(pauses):
            await asyncio.sleep(0)
        if ending is not None:
            raise ending
        return name

    return execute


def _undo(name: str, fails_once: bool, undone: list[str]) -> Callable[[dict[str, Any]], Awaitable[bool]]:  # noqa: FBT001
    failures = [1] if fails_once else []

    async def execute(_: dict[str, Any]) -> bool:
        await asyncio.sleep(0)
        if failures:
            failures.pop()
            return False
        undone.append(name)
        return True

    return execute


async def _execute(dag: DAGExecutor, cancel_after: int | None) -> DAGResult | None:
    running = asyncio.create_task(dag.execute(WorkflowContext(constitutional_hash=CONSTITUTIONAL_HASH)))
    if cancel_after is not None:
        for _ in range(cancel_after):
            await asyncio.sleep(0)
        running.cancel()
    await asyncio.wait([running], timeout=ENDS_WITHIN_S)
    assert running.done(), "a run does not end"
    return None if running.cancelled() else running.result()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(), st.none() | st.integers(0, 30))
def test_a_run_always_ends_and_what_may_have_happened_is_undone(
    graph: tuple[DAGExecutor, list[str]], cancel_after: int | None
) -> None:
    dag, undone = graph
    result = asyncio.run(_execute(dag, cancel_after))
    if result is None:
        return
    assert result.state in CLOSED_OR_PARKED
    assert list(result.undone) == undone
    left = {StepStatus.EXECUTING, StepStatus.WAITING, StepStatus.COMPENSATING}
    assert not left & set(result.statuses.values())
    if result.state is WorkflowState.COMPENSATED:
        assert StepStatus.UNKNOWN not in result.statuses.values()
