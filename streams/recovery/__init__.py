"""Recoveries: of what one process depends on, and the client of those that the recovery agent makes on lanes."""

from schemas.recovery import RecoveryState, RecoveryStrategy
from streams.recovery.orchestrator import RecoveryOrchestrator
from streams.recovery.policy import RecoveryPolicy, RecoveryTask

__all__ = [
    "RecoveryOrchestrator",
    "RecoveryPolicy",
    "RecoveryState",
    "RecoveryStrategy",
    "RecoveryTask",
]
