"""What a worker writes: values held to strict JSON, and the records of schemas/activity.py put together from them."""

import json

import orjson
from pydantic import JsonValue

from schemas import strict_json
from schemas.activity import MAX_ERROR_CHARACTERS, ActivityCommand, Attempt, Claim, Outcome
from schemas.strict_json import Defect

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_NULL = b"null"


class NotJsonError(ValueError):
    """A value that cannot travel; says why, in words."""


def encode_value(value: object) -> bytes:
    """A value as JSON that every reader understands alike.

    Raises:
        NotJsonError: it is no JSON, has NaN or an infinite number, an integer beyond +-(2^53-1) or half of a surrogate
            pair, is nested deeper than 32, or has two keys that are written alike.
    """
    if value is None:
        return _NULL
    try:
        encoded = _ENCODER.encode(value).encode()
        strict_json.loads(encoded)
    except (TypeError, ValueError, RecursionError, Defect) as error:
        raise NotJsonError(f"{error}") from error
    return encoded


def parse_value(encoded: bytes) -> JsonValue:
    """A value from a claim-check store.

    Raises:
        NotJsonError: it is no JSON.
    """
    try:
        parsed: JsonValue = orjson.loads(encoded)
    except orjson.JSONDecodeError as error:
        raise NotJsonError(f"{error}") from error
    return parsed


def given(value: bytes) -> bytes:
    """A Given that holds a value itself, from its JSON."""
    return b'{"value":' + value + b"}"


def given_claim(claim: Claim) -> bytes:
    """A Given that says where the value is kept."""
    return b'{"claim":' + claim.model_dump_json().encode() + b"}"


def words_of(error: BaseException) -> str:
    """An exception as results show it: its class and its words."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001  # a user's exception whose words fail has a class all the same
        said = ""
    name = type(error).__name__
    return f"{name}: {said}" if said else name


def encode_result(
    command: ActivityCommand, worker: str, outcome: Outcome, result: bytes | None, error: str | None
) -> bytes:
    """An ActivityResult, from the JSON of its Given. Put together by hand: the model costs 13 us, this 1.5."""
    told = _identity(command, worker)
    told["outcome"] = outcome
    if result is not None:
        told["result"] = orjson.Fragment(result)
    if error is not None:
        told["error"] = _cut(error)
    return orjson.dumps(told)


def encode_heartbeat(command: ActivityCommand, worker: str, details: bytes | None) -> bytes:
    """A Heartbeat, from the JSON of its details."""
    told = _identity(command, worker)
    if details is not None:
        told["details"] = orjson.Fragment(details)
    return orjson.dumps(told)


def _identity(attempt: Attempt, worker: str) -> dict[str, object]:
    return {
        "v": 1,
        "workflow_id": attempt.workflow_id,
        "run": attempt.run,
        "node": attempt.node,
        "direction": attempt.direction,
        "round": attempt.round,
        "attempt": attempt.attempt,
        "token": attempt.token,
        "worker": worker,
    }


def _cut(error: str) -> str:
    """At most as long as a result may say, and only what UTF-8 can."""
    return error[:MAX_ERROR_CHARACTERS].encode("utf-8", "replace").decode()
