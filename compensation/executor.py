"""Workflows in one process: the state machine driven on asyncio."""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Self

from compensation import checks, graph, templates
from compensation.definition import RunIf, Timeouts
from compensation.errors import DefinitionError, StartError
from compensation.plan import Plan, PlannedNode
from compensation.run import Run
from compensation.status import StepStatus, WorkflowState
from compensation.step import DAGNode, WorkflowContext, WorkflowStep

_NOT_BOUNDED_MS = 366 * 24 * 3_600_000
_AT_ONCE = Timeouts(schedule_to_start_ms=1, start_to_close_ms=_NOT_BOUNDED_MS)
"""Calls begin at once here, and their own timeouts are kept where they run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DAGResult:
    """How a run ended.

    `results` are what completed nodes returned, `errors` the last error of nodes that failed, `undone` the nodes whose
    compensation succeeded, in that order. A parked run (COMPENSATION_FAILED, PARKED_FORWARD) goes on with
    DAGExecutor.retry().
    """

    run_id: str
    state: WorkflowState
    cause: str | None
    statuses: Mapping[str, StepStatus]
    results: Mapping[str, Any]
    errors: Mapping[str, str]
    undone: tuple[str, ...]
    run: Run = field(repr=False, compare=False)

    @property
    def success(self) -> bool:
        """Whether it completed."""
        return self.state is WorkflowState.COMPLETED


class DAGExecutor:
    """Runs a graph of nodes, each as soon as those it depends on have settled, and undoes it where it fails.

    `max_parallel` bounds how many calls run at once. `undo_pause` is the pause before a failed compensation is tried
    again; it doubles. `drain_timeout` is how long a failing run waits for calls that have begun.
    """

    def __init__(
        self,
        name: str,
        *,
        max_parallel: int | None = None,
        parallel_undo: bool = False,
        undo_pause: timedelta = timedelta(seconds=1),
        drain_timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        self.name = name
        self._max_parallel = max_parallel
        self._parallel_undo, self._undo_pause, self._drain_timeout = parallel_undo, undo_pause, drain_timeout
        self._nodes: dict[str, DAGNode] = {}
        self._plan: Plan | None = None

    def add_node(self, node: DAGNode | WorkflowStep) -> Self:
        """Adds a node; those it depends on may be added later.

        Raises:
            DefinitionError: there is a node of that id, or the node cannot be.
        """
        made = node.as_node() if isinstance(node, WorkflowStep) else node
        problems = [f"two nodes have the id {made.id!a}"] if made.id in self._nodes else []
        undo = made.compensation
        problems += checks.problems(
            made.id,
            pivot=made.pivot,
            undone_or_optional=undo is not None or made.is_optional,
            keys={
                "idempotency_key": made.idempotency_key,
                "compensation.idempotency_key": undo.idempotency_key if undo else None,
            },
        )
        if problems:
            raise DefinitionError(self.name, tuple(problems))
        self._nodes[made.id], self._plan = made, None
        return self

    async def execute(self, context: WorkflowContext) -> DAGResult:
        """Runs the graph once; each call is a run of its own.

        Returns once every call has ended, also one that ignores its cancellation. Cancelled, it undoes what was done,
        does not cancel compensations, and raises CancelledError at the end. Never raises for what a node raises.

        Raises:
            DefinitionError: dependencies are no nodes, or a cycle.
            StartError: the input lacks a name that an idempotency key needs.
        """
        plan = self._planned()
        run_id = str(uuid.uuid4())
        known = replace(context, run_id=run_id, workflow_id=context.workflow_id or self.name)
        run = Run(plan, self._nodes, known, self._keys(known), self._max_parallel)
        return await self._ended(run, run.start)

    async def retry(self, result: DAGResult) -> DAGResult:
        """Goes on with a parked run: every parked node and compensation is tried anew, in another round.

        Raises:
            StartError: the run is not parked.
        """
        if not result.run.is_parked:
            raise StartError(f"run {result.run_id} is {result.run.state}: there is nothing to retry")
        return await self._ended(result.run, result.run.retry)

    async def _ended(self, run: Run, begin: Callable[[], None]) -> DAGResult:
        driving = asyncio.create_task(run.drive(begin))
        cancelled: asyncio.CancelledError | None = None
        while not driving.done():
            try:
                await asyncio.shield(driving)
            except asyncio.CancelledError as error:
                if driving.done():
                    break
                cancelled = error
                run.cancel()
        driving.result()
        if cancelled is not None:
            raise cancelled
        return DAGResult(
            run_id=run.context.run_id,
            state=run.state,
            cause=run.cause,
            statuses=run.statuses(),
            results=dict(run.results),
            errors=run.errors(),
            undone=tuple(run.undone),
            run=run,
        )

    def _planned(self) -> Plan:
        if self._plan is None:
            dependencies = {id_: node.needs for id_, node in self._nodes.items()}
            problems = tuple(graph.problems(dependencies, list(dependencies)))
            if problems:
                raise DefinitionError(self.name, problems)
            after = graph.dependents(dependencies)
            nodes = {id_: _planned(node, tuple(after[id_])) for id_, node in self._nodes.items()}
            self._plan = Plan(
                nodes=nodes,
                parallel_undo=self._parallel_undo,
                undo_pause_ms=_ms(self._undo_pause),
                drain_timeout_ms=_ms(self._drain_timeout),
                slow_undo_ms=0,
                skew_ms=0,
            )
        return self._plan

    def _keys(self, context: WorkflowContext) -> dict[str, tuple[str, str]]:
        """The idempotency keys of each node, forward and undo, without their scope."""
        keys: dict[str, tuple[str, str]] = {}
        for id_, node in self._nodes.items():
            own = f"{context.workflow_id}:{id_}"
            undo = node.compensation.idempotency_key if node.compensation else None
            try:
                keys[id_] = (
                    templates.fill(node.idempotency_key, context.input) if node.idempotency_key else own,
                    templates.fill(undo, context.input) if undo else own,
                )
            except ValueError as error:
                raise StartError(f"node {id_!a}: {error}") from None
        return keys


def _planned(node: DAGNode, dependents: tuple[str, ...]) -> PlannedNode:
    undo = node.compensation
    return PlannedNode(
        id=node.id,
        dependencies=node.needs,
        dependents=dependents,
        optional=node.is_optional,
        pivot=node.pivot,
        all_settled=node.run_if is RunIf.ALL_SETTLED,
        retry=node.retry,
        timeouts=_AT_ONCE,
        undo_retries=undo.max_retries if undo else None,
        undo_timeouts=_AT_ONCE if undo else None,
    )


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
