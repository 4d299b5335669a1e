"""The records that a workflow publishes, as JSON. Their contracts are in schemas/; tests hold one to the other."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import orjson

from compensation.definition import Node
from compensation.durable.prepared import Keys
from compensation.durable.rows import Case, Leaf
from compensation.events import Call, Stop
from schemas.activity import Direction
from schemas.workflow import Step

_TOKEN_BYTES = 16


class Caused(NamedTuple):
    """Why something happens, as its event says it."""

    event: str
    about: Mapping[str, object]


def token(secret: str, node: str, direction: Direction, round_: int, attempt: int) -> str:
    """The token of an attempt: whoever knows it has read the command."""
    said = f"{node}\n{direction}\n{round_}\n{attempt}"
    return hashlib.blake2b(said.encode(), digest_size=_TOKEN_BYTES, key=secret.encode()).hexdigest()


def attempt(case: Case, call: Call | Stop) -> dict[str, object]:
    """What names an attempt in every record about it."""
    return {
        "v": 1,
        "workflow_id": case.workflow_id,
        "run": case.run,
        "node": call.node,
        "direction": call.direction,
        "round": call.round,
        "attempt": call.attempt,
        "token": token(case.secret, call.node, call.direction, call.round, call.attempt),
    }


def command(case: Case, call: Call, node: Node, keys: Keys, *, inputs: Mapping[str, bytes], leaf: Leaf) -> bytes:
    """An ActivityCommand."""
    undo = node.compensation if call.direction is Direction.UNDO else None
    timeouts = undo.timeouts if undo else node.timeouts
    return orjson.dumps(
        {
            **attempt(case, call),
            "activity": undo.activity if undo else node.activity,
            "queue": undo.queue if undo else node.queue,
            "tenant_id": case.tenant_id,
            "constitutional_hash": case.constitutional_hash,
            "not_after": call.not_after,
            "start_to_close_ms": timeouts.start_to_close_ms,
            "heartbeat_ms": timeouts.heartbeat_ms,
            "idempotency_key": keys.idempotency,
            "effect_key": keys.effect,
            "input": orjson.Fragment(case.input),
            "inputs": {id_: orjson.Fragment(result) for id_, result in inputs.items()},
            "result": fragment(leaf.result) if undo else None,
            "details": None if undo else fragment(leaf.details),
        }
    )


def compensation(case: Case, call: Call, node: Node, keys: Keys, *, at_ms: int, cause: str | None) -> bytes:
    """A CompensationRecord."""
    undo = node.compensation
    if undo is None:
        raise RuntimeError(f"node {node.id} has no compensation")
    return orjson.dumps(
        {
            "v": 1,
            "workflow_id": case.workflow_id,
            "run": case.run,
            "at": at_ms,
            "node": node.id,
            "compensation": undo.name,
            "activity": undo.activity,
            "queue": undo.queue,
            "round": call.round,
            "attempt": call.attempt,
            "idempotency_key": keys.idempotency,
            "cause": cause,
        }
    )


def asked(step: Step, call: Call | Stop | None, node: str | None, **more: object) -> dict[str, object]:
    """One consequence, as events list it."""
    if call is None:
        return {"step": step, "node": node, **more}
    named = {"node": call.node, "direction": call.direction, "round": call.round, "attempt": call.attempt}
    return {"step": step, **named, **more}


def event(named: Mapping[str, object], caused: Caused, result: bytes | None, said: Mapping[str, object]) -> bytes:
    """A WorkflowEvent; what is None is left out."""
    written = {"v": 1, **named, "event": caused.event, **caused.about, "result": fragment(result), **said}
    return orjson.dumps({name: value for name, value in written.items() if value is not None and value != ()})


def fragment(text: bytes | None) -> orjson.Fragment | None:
    """JSON that is there already."""
    return None if text is None else orjson.Fragment(text)


def given(value: object) -> bytes:
    """A result of the orchestrator's own, or one that came as a payload."""
    return orjson.dumps({"value": value})


def total(texts: Iterable[bytes]) -> int:
    """The bytes of several texts together."""
    return sum(map(len, texts))
