"""What docs/reference has from the code: JSON Schemas of the public contracts, the states of workflows and recoveries.

`python -m streams.reference --write docs/reference` writes them; `--check` says which are not current.
"""

import argparse
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from compensation.definition import WorkflowDefinition
from compensation.status import CLOSED, PARKED, STEP_TRANSITIONS, WORKFLOW_TRANSITIONS
from handlers.recovery.transitions import TRANSITIONS
from schemas.activity import ActivityCancel, ActivityCommand, ActivityResult, Heartbeat
from schemas.audit import AuditRecord
from schemas.breaker import BreakerEvent
from schemas.chaos import ChaosCommand, ChaosStatus, EmergencyStop
from schemas.checkpoint import Checkpoint
from schemas.decision import Decision
from schemas.deliberation import DeliberationItem, DeliberationStatus, DeliberationVerdict
from schemas.health import ServiceHealth, SystemHealth
from schemas.message import AgentMessage
from schemas.policy import Policy
from schemas.receipt import Receipt
from schemas.recovery import RecoveryCommand, RecoveryEvent, RecoveryState, RecoveryStatus
from schemas.rejection import Rejection
from schemas.score import CARD
from schemas.workflow import (
    CompensationRecord,
    StepStatus,
    WorkflowAnswer,
    WorkflowCommand,
    WorkflowEvent,
    WorkflowState,
    WorkflowStatus,
    WorkflowVerdict,
)
from streams.hitl.contracts import WebhookAnswer, WebhookDecision, WebhookEvent

_CONTRACTS: Mapping[str, type[BaseModel] | TypeAdapter[Any]] = {
    "activity-cancel": ActivityCancel,
    "activity-command": ActivityCommand,
    "activity-result": ActivityResult,
    "agent-message": AgentMessage,
    "audit-record": AuditRecord,
    "breaker-event": BreakerEvent,
    "chaos-command": ChaosCommand,
    "chaos-status": ChaosStatus,
    "checkpoint": Checkpoint,
    "compensation-record": CompensationRecord,
    "decision": Decision,
    "deliberation-item": DeliberationItem,
    "deliberation-status": DeliberationStatus,
    "deliberation-verdict": DeliberationVerdict,
    "emergency-stop": EmergencyStop,
    "heartbeat": Heartbeat,
    "hitl-webhook-answer": WebhookAnswer,
    "hitl-webhook-decision": WebhookDecision,
    "hitl-webhook-event": WebhookEvent,
    "policy": Policy,
    "recovery-command": RecoveryCommand,
    "recovery-event": RecoveryEvent,
    "recovery-status": RecoveryStatus,
    "receipt": Receipt,
    "rejection": Rejection,
    "score-card": CARD,
    "service-health": ServiceHealth,
    "system-health": SystemHealth,
    "workflow-answer": WorkflowAnswer,
    "workflow-command": WorkflowCommand,
    "workflow-definition": WorkflowDefinition,
    "workflow-event": WorkflowEvent,
    "workflow-status": WorkflowStatus,
    "workflow-verdict": WorkflowVerdict,
}


def documents() -> dict[str, bytes]:
    """Path below docs/reference and content of each file."""
    schemas = {f"schemas/{name}.json": _document(contract) for name, contract in _CONTRACTS.items()}
    return {**schemas, "workflow-states.md": _states().encode(), "recovery-states.md": _recovery_states().encode()}


def _states() -> str:
    return "\n".join(
        [
            "# The states of workflows and of their nodes",
            "",
            "Drawn from `compensation/status.py`; a change of state that is not here cannot happen.",
            "",
            "## Workflows",
            "",
            f"Closed: {_listed(CLOSED)}. Parked, until an operator acts: {_listed(PARKED)}.",
            "",
            *_diagram(WorkflowState.RUNNING, WORKFLOW_TRANSITIONS),
            "",
            "## Nodes",
            "",
            *_diagram(StepStatus.PENDING, STEP_TRANSITIONS),
            "",
        ]
    )


def _recovery_states() -> str:
    return "\n".join(
        [
            "# The states of recoveries",
            "",
            "Drawn from `handlers/recovery/transitions.py`; a change of state that is not here cannot happen.",
            "",
            *_diagram(RecoveryState.IDLE, TRANSITIONS),
            "",
        ]
    )


def _listed(states: Collection[WorkflowState]) -> str:
    return ", ".join(state.value for state in WorkflowState if state in states)


def _diagram(first: Enum, transitions: Mapping[Any, Collection[Enum]]) -> list[str]:
    arrows = [f"    {at.value} --> {to.value}" for at in type(first) for to in type(first) if to in transitions[at]]
    return ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.value}", *arrows, "```"]


def _document(contract: type[BaseModel] | TypeAdapter[Any]) -> bytes:
    schema = contract.json_schema() if isinstance(contract, TypeAdapter) else contract.model_json_schema()
    return (json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks the files; 1 if one is not current."""
    parser = argparse.ArgumentParser(prog="python -m streams.reference", description=__doc__)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--write", type=Path, metavar="FOLDER", help="write the files below this folder")
    group.add_argument("--check", type=Path, metavar="FOLDER", help="compare the files below this folder")
    options = parser.parse_args(arguments)
    return _write(options.write) if options.write else _check(options.check)


def _write(folder: Path) -> int:
    for name, content in documents().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return 0


def _check(folder: Path) -> int:
    stale = [name for name, content in documents().items() if not _is(folder / name, content)]
    for name in stale:
        sys.stderr.write(f"{folder / name} is not current: python -m streams.reference --write {folder}\n")
    return 1 if stale else 0


def _is(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


if __name__ == "__main__":
    sys.exit(main())
