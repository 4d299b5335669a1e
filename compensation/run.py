"""One run of a workflow in this process: its rows, its calls and its timers."""

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from compensation.constitution import validate_constitutional_hash
from compensation.errors import ConstitutionalError, NoEffect, NonRetryableError
from compensation.events import Answered, Call, Cancel, Due, Event, Operate, Order, Stop
from compensation.machine import Transition, advance, start
from compensation.plan import Plan
from compensation.rows import NodeRow, WorkflowRow
from compensation.status import CLOSED, PARKED, StepStatus, WorkflowState
from compensation.step import DAGNode, WorkflowContext
from schemas.activity import Direction, Outcome

_Attempt = tuple[str, Direction, int, int]


class Run:
    """Drives the state machine. Is its memory."""

    def __init__(
        self,
        plan: Plan,
        nodes: Mapping[str, DAGNode],
        context: WorkflowContext,
        keys: Mapping[str, tuple[str, str]],
        max_parallel: int | None,
    ) -> None:
        self.results: dict[str, Any] = {}
        self.undone: list[str] = []
        self.context = replace(context, results=self.results)
        self._plan, self._functions, self._keys = plan, dict(nodes), keys
        self._slots = asyncio.Semaphore(max_parallel) if max_parallel else None
        self._row = WorkflowRow(open=len(plan.nodes))
        self._nodes: dict[str, NodeRow] = {}
        self._events: deque[tuple[Event, Any]] = deque()
        self._wake = asyncio.Event()
        self._due: list[tuple[int, str]] = []
        self._tasks: dict[_Attempt, asyncio.Task[None]] = {}

    # What the state machine remembers

    def workflow(self) -> WorkflowRow:
        """The row of the whole."""
        return self._row

    def node(self, id_: str) -> NodeRow:
        """The row of a node."""
        return self._nodes[id_]

    # What its executor asks

    @property
    def state(self) -> WorkflowState:
        """The state of the whole."""
        return self._row.state

    @property
    def cause(self) -> str | None:
        """Why it fails or is parked."""
        return self._row.cause

    @property
    def is_parked(self) -> bool:
        """Whether it can only go on by retry()."""
        return self._row.state in PARKED and self._is_over

    def statuses(self) -> dict[str, StepStatus]:
        """Every node's status."""
        return {id_: row.status for id_, row in self._nodes.items()}

    def errors(self) -> dict[str, str]:
        """The last error of every node that has one."""
        found = {id_: row.undo_error or row.error for id_, row in self._nodes.items()}
        return {id_: error for id_, error in found.items() if error is not None}

    def cancel(self) -> None:
        """Undo everything."""
        self._happened(Cancel("cancelled"))

    def start(self) -> None:
        """The first step."""
        self._take(start(self._plan, _now_ms(), _never))

    def retry(self) -> None:
        """Every parked node and compensation anew."""
        for id_ in self._plan.nodes:
            self._apply(Operate(id_, Order.RETRY, self._row.version))

    async def drive(self, begin: Callable[[], None]) -> None:
        """Begins, and runs until nothing is left to happen but what people order."""
        begin()
        while not self._is_over:
            while self._events:
                event, result = self._events.popleft()
                self._apply(event, result)
            self._fire()
            if not self._is_over:
                await self._wait()

    @property
    def _is_over(self) -> bool:
        """Whether it is closed, or parked with no other node on its way, and no call is left."""
        if self._tasks or self._events:
            return False
        state = self._row.state
        return state in CLOSED or (state in PARKED and all(row.due is None for row in self._nodes.values()))

    # Steps

    def _apply(self, event: Event, result: object = None) -> None:
        step = advance(self._plan, self, event, _now_ms(), _never)
        if step.refused is None and isinstance(event, Answered) and event.outcome is Outcome.COMPLETED:
            if event.direction is Direction.DO:
                self.results[event.node] = result
            else:
                self.undone.append(event.node)
        self._take(step)

    def _take(self, step: Transition) -> None:
        before, self._row = self._row, step.workflow
        self._nodes.update(step.nodes)
        for id_, row in step.nodes.items():
            if row.due is not None:
                heapq.heappush(self._due, (row.due, id_))
        if self._row.due is not None and self._row.due != before.due:
            heapq.heappush(self._due, (self._row.due, ""))
        for command in step.commands:
            if isinstance(command, Call):
                self._call(command)
            elif isinstance(command, Stop):
                self._stop(command)

    def _fire(self) -> None:
        now = _now_ms()
        while self._due and self._due[0][0] <= now:
            _, id_ = heapq.heappop(self._due)
            self._apply(Due(id_ or None))

    async def _wait(self) -> None:
        if self._events:
            return
        self._wake.clear()
        if not self._due:
            await self._wake.wait()
            return
        timer = asyncio.get_running_loop().call_later(max(0.0, self._due[0][0] / 1000 - time.time()), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _happened(self, event: Event, result: object = None) -> None:
        self._events.append((event, result))
        self._wake.set()

    # Calls

    def _call(self, call: Call) -> None:
        attempt = (call.node, call.direction, call.round, call.attempt)
        self._tasks[attempt] = asyncio.create_task(self._run(call, attempt))

    def _stop(self, stop: Stop) -> None:
        attempt = (stop.node, stop.direction, stop.round, stop.attempt)
        task = self._tasks.get(attempt)
        if task is not None:
            task.add_done_callback(lambda _: self._never_begun(attempt))
            task.cancel()

    def _never_begun(self, attempt: _Attempt) -> None:
        """A task that is cancelled before its first step runs nothing, not even what answers for it."""
        if self._tasks.pop(attempt, None) is not None:
            self._happened(Answered(*attempt, Outcome.NEVER_STARTED, "cancelled"))

    async def _run(self, call: Call, attempt: _Attempt) -> None:
        outcome, result, error = await self._outcome(call)
        del self._tasks[attempt]
        self._happened(
            Answered(call.node, call.direction, call.round, call.attempt, outcome, error and error[:1_000]), result
        )

    async def _outcome(self, call: Call) -> tuple[Outcome, Any, str | None]:
        begun = False
        try:
            if self._slots is not None:
                async with self._slots:
                    begun = True
                    return Outcome.COMPLETED, await self._work(call), None
            begun = True
            return Outcome.COMPLETED, await self._work(call), None
        except asyncio.CancelledError:
            return Outcome.FAILED if begun else Outcome.NEVER_STARTED, None, "cancelled"
        except NoEffect as error:
            return Outcome.NO_EFFECT, None, _words(error)
        except NonRetryableError as error:
            return Outcome.FINAL, None, _words(error)
        except Exception as error:  # noqa: BLE001  # whatever a node raises is its failure
            return Outcome.FAILED, None, _words(error)

    async def _work(self, call: Call) -> object:
        node = self._functions[call.node]
        if call.direction is Direction.DO:
            self._check(node)
            doing = node.execute(self._context(call))
            if node.timeout is None:
                return await doing
            async with asyncio.timeout(node.timeout.total_seconds()):
                return await doing
        undo = node.compensation
        if undo is None:
            raise RuntimeError(f"node {call.node} has no compensation")
        given = self._context(call).as_dict(self.results.get(call.node))
        async with asyncio.timeout(undo.timeout.total_seconds() if undo.timeout else None):
            if await undo.execute(given) is False:
                raise RuntimeError(f"compensation {undo.name} returned False")
        return None

    def _check(self, node: DAGNode) -> None:
        if node.requires_constitutional_check:
            checked = validate_constitutional_hash(self.context.constitutional_hash)
            if not checked.is_valid:
                raise NoEffect(f"{ConstitutionalError.__name__}: {checked.reason}")

    def _context(self, call: Call) -> WorkflowContext:
        """The context with the call's keys in their scope: run, direction, and the round of an undo."""
        run_id, (forward, undo) = self.context.run_id, self._keys[call.node]
        key = f"do:{forward}" if call.direction is Direction.DO else f"undo:{call.round}:{undo}"
        return self.context.called(f"{run_id}:{key}", f"{run_id}:{forward}")


def _never(_: str) -> bool:
    """Whoever runs a graph in his own process is not governed by the policy in the log."""
    return False


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _now_ms() -> int:
    return int(time.time() * 1000)
