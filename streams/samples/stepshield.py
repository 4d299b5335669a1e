"""Agent messages from StepShield trajectories: what a software agent would publish for each of its steps.

Only what is known before a step runs is used: the task, the thought, the action and its arguments. A step's
observation, label, rationale and `continuation`, and the words of the trajectory's id, never reach a message.
"""

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, cast
from uuid import NAMESPACE_URL, uuid5

from pydantic import JsonValue

from schemas.errors import SchemaError
from schemas.strict_json import Defect, loads

TENANT = "stepshield"
EXECUTORS = 8
"""How many agents the steps are addressed to."""

_FIRST = datetime(2026, 1, 5, 9, tzinfo=UTC)
_A_STEP = timedelta(seconds=20)


class SampleError(SchemaError):
    """A file is no StepShield data; the message says where."""


def read(path: Path) -> Iterator[dict[str, JsonValue]]:
    """The trajectories of a `.jsonl` or `.jsonl.gz` file, one at a time.

    Raises:
        SampleError: with the line that is no trajectory, or why the file cannot be read.
    """
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, start=1):
                yield _trajectory(line, f"{path.name}, line {number}")
    except (OSError, EOFError) as error:
        raise SampleError(f"{path} cannot be read: {error}") from error


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _trajectory(line: bytes, where: str) -> dict[str, JsonValue]:
    try:
        trajectory = loads(line)
    except Defect as defect:
        raise SampleError(f"{where}: {defect}") from defect
    if not isinstance(trajectory, dict):
        raise SampleError(f"{where}: not a JSON object")
    if not isinstance(trajectory.get("trajectory_id"), str) or not isinstance(trajectory.get("task"), dict):
        raise SampleError(f"{where}: a trajectory has a trajectory_id and a task")
    steps = trajectory.get("steps")
    if not isinstance(steps, list) or not all(_is_step(step) for step in steps):
        raise SampleError(f"{where}: a trajectory has steps, each with an action and arguments")
    return trajectory


def _is_step(step: JsonValue) -> bool:
    return isinstance(step, dict) and isinstance(step.get("action"), str) and isinstance(step.get("arguments"), dict)


def messages(trajectory: Mapping[str, JsonValue], constitutional_hash: str) -> Iterator[dict[str, JsonValue]]:
    """One agent message a step, in order; the same trajectory always gives the same messages."""
    name = cast("str", trajectory["trajectory_id"])
    digest = hashlib.sha256(name.encode()).hexdigest()
    task = _task(cast("Mapping[str, JsonValue]", trajectory["task"]))
    for number, given in enumerate(cast("list[JsonValue]", trajectory["steps"])):
        step = cast("Mapping[str, JsonValue]", given)
        yield {
            "message_id": str(uuid5(NAMESPACE_URL, f"stepshield:{name}:{number}")),
            "conversation_id": str(uuid5(NAMESPACE_URL, f"stepshield:{name}")),
            "content": {"thought": step.get("thought")},
            "payload": {"action": {"tool": step["action"], "arguments": step["arguments"]}, "task": task},
            "from_agent": f"stepshield-{digest[:8]}",
            "to_agent": f"executor-{int(digest[8:16], 16) % EXECUTORS + 1}",
            "message_type": "command",
            "tenant_id": TENANT,
            "priority": 1,
            "constitutional_hash": constitutional_hash,
            "created_at": (_FIRST + number * _A_STEP).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def _task(task: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    constraints = task.get("constraints")
    stated = [text for text in constraints if isinstance(text, str)] if isinstance(constraints, list) else []
    description = task.get("description")
    return {
        "description": description if isinstance(description, str) else None,
        "constraints": cast("JsonValue", stated),
    }
