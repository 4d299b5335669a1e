"""Workflows whose compensations run in reverse order: definitions, a state machine, an executor in one process."""

from compensation.activities import ActivityContext, BaseActivities, activity
from compensation.constitution import CONSTITUTIONAL_HASH, HashValidation, validate_constitutional_hash
from compensation.definition import Retry, RunIf, WorkflowDefinition
from compensation.errors import (
    ActivityError,
    CompensationError,
    ConstitutionalError,
    DefinitionError,
    NoEffect,
    NonRetryableError,
    StartError,
)
from compensation.executor import DAGExecutor, DAGResult
from compensation.status import StepStatus, WorkflowState
from compensation.step import DAGNode, StepCompensation, WorkflowContext, WorkflowStep

__all__ = [
    "CONSTITUTIONAL_HASH",
    "ActivityContext",
    "ActivityError",
    "BaseActivities",
    "CompensationError",
    "ConstitutionalError",
    "DAGExecutor",
    "DAGNode",
    "DAGResult",
    "DefinitionError",
    "HashValidation",
    "NoEffect",
    "NonRetryableError",
    "Retry",
    "RunIf",
    "StartError",
    "StepCompensation",
    "StepStatus",
    "WorkflowContext",
    "WorkflowDefinition",
    "WorkflowState",
    "WorkflowStep",
    "activity",
    "validate_constitutional_hash",
]
