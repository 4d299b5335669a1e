"""The records that recoveries publish. Events and statuses by their contracts; commands for workflows as JSON."""

import hashlib
import re
import uuid
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from handlers.recovery.machine import Phase, Task
from handlers.recovery.rows import Service
from schemas import envelope, topics
from schemas.effects import Headers, Publish
from schemas.model import length_ms
from schemas.policy import PublishedPolicy
from schemas.recovery import (
    MAX_WHY_CHARACTERS,
    RecoveryCause,
    RecoveryEvent,
    RecoveryRule,
    RecoveryState,
    RecoveryStatus,
)
from schemas.workflow import CommandKind

TENANT = "recovery"
"""The tenant of the workflows of attempts, and who asks for them."""
IDS = "recovery."
"""What the ids of those workflows begin with. The gateway lets nobody else start one of that tenant, or such an id."""
RECOVER, CHECK = "recover", "check"
"""The nodes of an attempt's workflow."""

_SPACE = uuid.UUID("5f1c6f0b-6a3e-5d0e-9b0a-9a5c5b1d3c77")
"""The namespace of commands for the workflows of attempts."""
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_OTHER = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)
_SHOWN, _DIGEST = 40, 16


class Caused(NamedTuple):
    """Why a recovery changes its state; who has ordered it, if somebody has, and by which command."""

    cause: RecoveryCause
    command_id: str | None = None
    by: str | None = None
    verified: bool | None = None


def workflow_id(service: str, task: Task) -> str:
    """The id of the workflow of an attempt; no two attempts at any services share one."""
    if _PLAIN.fullmatch(service):
        named = service
    else:
        digest = hashlib.sha256(service.encode()).hexdigest()[:_DIGEST]
        named = f"{_OTHER.sub('-', service)[:_SHOWN]}:{digest}"
    return f"{IDS}{named}.{task.run}.{task.attempt}"


def event(service: str, before: Task, task: Task, caused: Caused, now_ms: int) -> Publish:
    """A change of state, as `recovery-events` tells it."""
    said = RecoveryEvent(
        service=service,
        run=task.run,
        version=task.version,
        at=now_ms,
        before=before.state,
        state=task.state,
        cause=caused.cause,
        why=_cut(task.why),
        attempt=task.attempt,
        due=task.due,
        workflow_id=workflow_id(service, task) if task.state is RecoveryState.IN_PROGRESS else None,
        command_id=caused.command_id,
        by=caused.by,
        verified=caused.verified,
    )
    value = said.model_dump_json(exclude_none=True).encode()
    return Publish(topics.RECOVERY_EVENTS, service, value, measure=task.state)


def status(service: str, row: Service, rule: RecoveryRule | None, *, waits: bool) -> Publish:
    """How the recovery of a service stands; `waits`: it is due, and waits for a place."""
    task = row.task
    said = RecoveryStatus(
        service=service,
        state=task.state,
        run=task.run,
        version=task.version,
        attempt=task.attempt,
        max_attempts=None if rule is None else rule.max_retry_attempts,
        strategy=task.strategy,
        priority=task.priority,
        since=task.since,
        why=_cut(task.why),
        due=task.due,
        waits_for_place=waits,
        waits_for_approval=task.phase is Phase.HELD,
        workflow_id=workflow_id(service, task) if task.attempt else None,
        open_breakers=row.not_closed,
        constitutional_hash=task.hash,
    )
    return Publish(topics.RECOVERY_STATUS, service, said.model_dump_json(exclude_none=True).encode())


def forgotten(service: str) -> Publish:
    """Nobody needs to know of a service any more."""
    return Publish(topics.RECOVERY_STATUS, service, None)


def start(service: str, task: Task, rule: RecoveryRule, published: PublishedPolicy, now_ms: int) -> Publish:
    """The command that starts the workflow of an attempt."""
    given = {"service": service, "run": task.run, "attempt": task.attempt, "strategy": task.strategy}
    said = {**_command(CommandKind.START, service, task, now_ms), "definition": definition(rule), "input": given}
    return _to_workflow(service, said, published)


def cancel(service: str, task: Task, why: str, published: PublishedPolicy, now_ms: int) -> Publish:
    """The command that cancels it."""
    return _to_workflow(
        service, {**_command(CommandKind.CANCEL, service, task, now_ms), "reason": _cut(why)}, published
    )


def definition(rule: RecoveryRule) -> dict[str, Any]:
    """The workflow of an attempt: what recovers, once, then what checks; nothing of it is undone."""
    nodes = [_node(rule, RECOVER, rule.activity)]
    if rule.health_check is not None:
        nodes.append({**_node(rule, CHECK, rule.health_check), "dependencies": [RECOVER]})
    return {"v": 1, "name": "recovery", "nodes": nodes}


def _node(rule: RecoveryRule, id_: str, activity: str) -> dict[str, Any]:
    timeouts = {
        "schedule_to_start_ms": length_ms(rule.start_within),
        "start_to_close_ms": length_ms(rule.timeout),
    }
    named = {"id": id_, "name": id_, "activity": activity, "queue": rule.queue}
    return {**named, "retry": {"attempts": 1}, "timeouts": timeouts}


def _command(kind: CommandKind, service: str, task: Task, now_ms: int) -> dict[str, Any]:
    id_ = workflow_id(service, task)
    return {
        "command": kind.value,
        "command_id": str(uuid.uuid5(_SPACE, f"{id_}/{kind.value}")),
        "workflow_id": id_,
        "tenant_id": TENANT,
        "requested_by": TENANT,
        "constitutional_hash": task.hash,
        "created_at": _instant(now_ms),
    }


def _to_workflow(service: str, said: dict[str, Any], published: PublishedPolicy) -> Publish:
    headers: Headers = (
        (envelope.VERSION, envelope.CURRENT_VERSION),
        (envelope.POLICY, published.reference.encode()),
        (envelope.REPLY_TO, f"{topics.RECOVERY}/{service}".encode()),
    )
    return Publish(topics.WORKFLOWS, said["workflow_id"], orjson.dumps(said), headers)


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cut(why: str) -> str:
    return why[:MAX_WHY_CHARACTERS]
