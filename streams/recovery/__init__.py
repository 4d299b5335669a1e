"""Recoveries: of what one process depends on, and the client of those that the recovery agent makes on lanes."""

from schemas.recovery import RecoveryState, RecoveryStrategy
from streams.recovery.client import RecoveryClient
from streams.recovery.errors import RecoveryError, RecoveryRefusedError, RecoveryTimeoutError, RecoveryUnknownError
from streams.recovery.orchestrator import RecoveryOrchestrator
from streams.recovery.policy import RecoveryPolicy, RecoveryTask

__all__ = [
    "RecoveryClient",
    "RecoveryError",
    "RecoveryOrchestrator",
    "RecoveryPolicy",
    "RecoveryRefusedError",
    "RecoveryState",
    "RecoveryStrategy",
    "RecoveryTask",
    "RecoveryTimeoutError",
    "RecoveryUnknownError",
]
