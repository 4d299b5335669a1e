"""Which states of workflows and of their nodes may follow which."""

from collections.abc import Mapping

from schemas.workflow import StepStatus, WorkflowState

__all__ = ["CLOSED", "PARKED", "STEP_TRANSITIONS", "WORKFLOW_TRANSITIONS", "StepStatus", "WorkflowState"]

_W, _S = WorkflowState, StepStatus

WORKFLOW_TRANSITIONS: Mapping[WorkflowState, frozenset[WorkflowState]] = {
    _W.RUNNING: frozenset({_W.PAUSED, _W.DRAINING, _W.COMPLETED, _W.PARKED_FORWARD, _W.COMPENSATION_FAILED}),
    _W.PAUSED: frozenset({_W.RUNNING, _W.DRAINING, _W.COMPLETED, _W.COMPENSATION_FAILED}),
    _W.DRAINING: frozenset({_W.COMPENSATING}),
    _W.COMPENSATING: frozenset({_W.COMPENSATED, _W.COMPENSATED_WITH_EXCEPTIONS, _W.COMPENSATION_FAILED}),
    _W.PARKED_FORWARD: frozenset({_W.RUNNING, _W.DRAINING, _W.COMPLETED}),
    _W.COMPENSATION_FAILED: frozenset({_W.COMPENSATING, _W.RUNNING, _W.COMPLETED}),
    _W.COMPLETED: frozenset({_W.RUNNING}),
    _W.COMPENSATED: frozenset({_W.COMPENSATING}),
    _W.COMPENSATED_WITH_EXCEPTIONS: frozenset({_W.COMPENSATING}),
}
"""What may follow. The closed states open again only for the late success of something that was undone."""

_FAILED = frozenset({_S.NO_EFFECT, _S.FAILED, _S.UNKNOWN, _S.SKIPPED})

STEP_TRANSITIONS: Mapping[StepStatus, frozenset[StepStatus]] = {
    _S.PENDING: frozenset({_S.WAITING, _S.EXECUTING, _S.SKIPPED}),
    _S.WAITING: frozenset({_S.EXECUTING, _S.COMPLETED, _S.BLOCKED, *_FAILED}),
    _S.BLOCKED: frozenset({_S.EXECUTING, _S.WAITING, _S.COMPLETED, *_FAILED}),
    _S.EXECUTING: frozenset({_S.WAITING, _S.BLOCKED, _S.COMPLETED, *_FAILED}),
    _S.COMPLETED: frozenset({_S.COMPENSATING}),
    _S.UNKNOWN: frozenset({_S.WAITING, _S.COMPENSATING, _S.COMPLETED, _S.EXECUTING, _S.SKIPPED}),
    _S.NO_EFFECT: frozenset({_S.WAITING, _S.EXECUTING, _S.COMPLETED, _S.SKIPPED}),
    _S.FAILED: frozenset({_S.WAITING, _S.EXECUTING, _S.COMPLETED, _S.SKIPPED}),
    _S.SKIPPED: frozenset({_S.COMPLETED}),
    _S.COMPENSATING: frozenset({_S.COMPENSATED, _S.COMPENSATION_FAILED}),
    _S.COMPENSATION_FAILED: frozenset({_S.COMPENSATING, _S.COMPENSATED}),
    _S.COMPENSATED: frozenset({_S.COMPLETED}),
}
"""What may follow. A node leaves COMPENSATED, SKIPPED, NO_EFFECT or FAILED for COMPLETED by a late success."""

CLOSED = frozenset({_W.COMPLETED, _W.COMPENSATED, _W.COMPENSATED_WITH_EXCEPTIONS})
"""The states in which nothing more is due."""

PARKED = frozenset({_W.COMPENSATION_FAILED, _W.PARKED_FORWARD})
"""The states in which an operator is needed."""
