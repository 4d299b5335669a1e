"""Workflows from outside: starting them, telling them what to do, waiting for them, and looking at them."""

from streams.workflows.client import WorkflowClient
from streams.workflows.errors import (
    WorkflowError,
    WorkflowRejectedError,
    WorkflowTimeoutError,
    WorkflowUnknownError,
)
from streams.workflows.handle import WorkflowHandle
from streams.workflows.outcome import WorkflowOutcome

__all__ = [
    "WorkflowClient",
    "WorkflowError",
    "WorkflowHandle",
    "WorkflowOutcome",
    "WorkflowRejectedError",
    "WorkflowTimeoutError",
    "WorkflowUnknownError",
]
