"""The workflow suite on the orchestrator, whose commands are carried out by hand."""

from collections.abc import Mapping
from typing import Any

import pytest

from compensation.definition import WorkflowDefinition
from compensation.errors import NoEffect, NonRetryableError
from schemas.activity import ActivityCommand, Direction, Outcome
from schemas.workflow import StepStatus, WorkflowState
from tests.contract.workflow_suite import Call, Ended, Script, WorkflowDriver, WorkflowSuite, parked_nodes
from tests.support.orchestrated import Orchestrated, activities_of

_PARKED = (StepStatus.COMPENSATION_FAILED, StepStatus.FAILED, StepStatus.UNKNOWN, StepStatus.NO_EFFECT)
_OVER = frozenset(WorkflowState) - {
    WorkflowState.RUNNING,
    WorkflowState.PAUSED,
    WorkflowState.DRAINING,
    WorkflowState.COMPENSATING,
}


class InTheLog(WorkflowDriver):
    def __init__(self) -> None:
        self._lane = Orchestrated()
        self._script = Script()
        self._taken = 0

    async def run(
        self, definition: WorkflowDefinition, script: Script, given: Mapping[str, Any], *, cancel_at: str | None = None
    ) -> Ended:
        self._lane, self._script, self._taken = Orchestrated(*activities_of(definition)), script, 0
        self._lane.start(definition, given)
        return await self._drive(cancel_at)

    async def retry(self) -> Ended:
        for id_ in parked_nodes(self._all_statuses(), _PARKED):
            self._lane.command("retry", node=id_, version=self._lane.version(), reason="it works again")
        return await self._drive(None)

    async def refused(self, definition: WorkflowDefinition, given: Mapping[str, Any]) -> str:
        lane = Orchestrated(*activities_of(definition))
        lane.start(definition, given)
        (rejected,) = lane.rejected
        return rejected.detail

    async def _drive(self, cancel_at: str | None) -> Ended:
        """Carries out commands in their order, and lets time pass where there is none."""
        lane = self._lane
        while True:
            while self._taken < len(lane.sent):
                command = lane.sent[self._taken]
                self._taken += 1
                await self._carry_out(command, cancel_at)
            if lane.state in _OVER:
                return self._ended()
            due = lane.next_due()
            assert due is not None, "nothing is due and nothing was commanded"
            lane.pass_time(max(0, due - lane.now))

    async def _carry_out(self, command: ActivityCommand, cancel_at: str | None) -> None:
        call = Call(
            command.node,
            command.direction,
            command.input,
            {id_: given.value for id_, given in command.inputs.items()},
            command.result.value if command.result else None,
            command.idempotency_key,
            command.effect_key,
        )
        result: object = None
        outcome, error = Outcome.COMPLETED, None
        try:
            result = await self._script(call)
        except NoEffect as raised:
            outcome, error = Outcome.NO_EFFECT, str(raised)
        except NonRetryableError as raised:
            outcome, error = Outcome.FINAL, str(raised)
        except Exception as raised:  # noqa: BLE001  # whatever a function raises is its failure
            outcome, error = Outcome.FAILED, str(raised)
        if (command.node, command.direction) == (cancel_at, Direction.DO):
            self._lane.command("cancel", reason="enough")
            assert self._lane.cancels[-1].token == command.token
            outcome, error = Outcome.FAILED, "cancelled"
        said = {"error": error} if error is not None else None
        self._lane.answer(command, outcome, result, said)

    def _ended(self) -> Ended:
        said = self._lane.events
        results = {event.node: event.result.value for event in said if event.result is not None and event.node}
        errors = {
            event.node: event.why
            for event in said
            if event.outcome is not Outcome.COMPLETED and event.node and event.why
        }
        return Ended(self._lane.state, self._all_statuses(), results, errors)

    def _all_statuses(self) -> dict[str, StepStatus]:
        statuses: dict[str, StepStatus] = {}
        for event in self._lane.events:
            statuses |= event.statuses
        return statuses


class TestInTheLog(WorkflowSuite):
    @pytest.fixture
    def driver(self) -> WorkflowDriver:
        return InTheLog()
