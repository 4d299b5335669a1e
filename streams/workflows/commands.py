"""Commands for workflows: made, checked and encoded before anything is sent."""

import uuid
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, cast

import orjson
import rfc8785
from pydantic import JsonValue, ValidationError

from compensation import templates
from compensation.definition import WorkflowDefinition
from compensation.errors import StartError
from schemas import strict_json
from schemas.activity import MAX_RESULT_BYTES
from schemas.topics import MAX_MESSAGE_BYTES
from schemas.workflow import MAX_INPUT_BYTES, CommandKind, WorkflowCommand

_KEPT_DEFINITIONS = 64
_MAX_PAYLOAD_BYTES = MAX_RESULT_BYTES - len(b'{"value":}')
"""It becomes the result of a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who gives commands: the tenant whose workflows they are, who asks, and the policy generation that is accepted."""

    tenant_id: str
    requested_by: str
    constitutional_hash: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A command and its bytes as they are sent."""

    command: WorkflowCommand
    value: bytes


def start(
    sender: Sender,
    definition: WorkflowDefinition | Mapping[str, object],
    input_: Mapping[str, JsonValue],
    *,
    workflow_id: str,
    tags: Sequence[str],
) -> Prepared:
    """The command that starts a workflow.

    Raises:
        DefinitionError: the definition cannot run; every problem with its place.
        StartError: the input does not fit it, or something is too large or not as the contract says.
    """
    checked = definition if isinstance(definition, WorkflowDefinition) else parsed(definition)
    facts = _facts(cast("Hashable", checked))  # as every frozen model is
    given = _json(dict(input_), "the input")
    if len(given) > MAX_INPUT_BYTES:
        raise StartError(f"the input has {len(given)} bytes as JSON, allowed are {MAX_INPUT_BYTES}")
    problems = [problem for template in facts.templates if (problem := _unfilled(template, input_))]
    if problems:
        raise StartError("; ".join(problems))
    large = {"definition": facts.document, "input": given}
    return _prepared(sender, CommandKind.START, workflow_id, {"tags": tuple(tags) or None}, large)


def order(
    sender: Sender, kind: CommandKind, workflow_id: str, *, payload: JsonValue = None, **fields: object
) -> Prepared:
    """Any command but a start, with the fields that belong to it.

    Raises:
        StartError: a field is not as the contract says, or the payload is no JSON or too large.
    """
    large = {} if payload is None else {"payload": _payload(payload)}
    return _prepared(sender, kind, workflow_id, fields, large)


def _payload(payload: JsonValue) -> bytes:
    text = _json(payload, "the payload")
    if len(text) > _MAX_PAYLOAD_BYTES:
        raise StartError(f"the payload has {len(text)} bytes as JSON, allowed are {_MAX_PAYLOAD_BYTES}")
    return text


def parsed(definition: Mapping[str, object]) -> WorkflowDefinition:
    """A definition from what its JSON says.

    Raises:
        DefinitionError: it cannot run; every problem with its place.
        StartError: it holds what JSON cannot.
    """
    try:
        text = orjson.dumps(dict(definition))
    except orjson.JSONEncodeError as error:
        raise StartError(f"the definition is not JSON: {error}") from None
    return WorkflowDefinition.parse(text)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What every start of a definition needs of it: its JSON, and each template with its place."""

    document: bytes
    templates: tuple[tuple[str, str], ...]


@lru_cache(maxsize=_KEPT_DEFINITIONS)
def _facts(definition: Hashable) -> _Facts:
    """Kept, as canonical JSON of ten nodes costs three times all the rest of a start."""
    if not isinstance(definition, WorkflowDefinition):
        raise TypeError(f"{definition!a} is no definition")
    found: list[tuple[str, str]] = []
    for node in definition.nodes:
        undo = node.compensation.idempotency_key if node.compensation else None
        for place, template in (("idempotency_key", node.idempotency_key), ("compensation.idempotency_key", undo)):
            if template is not None:
                found.append((f"node {node.id!a}, {place}", template))
    return _Facts(definition.canonical(), tuple(found))


def _unfilled(template: tuple[str, str], input_: Mapping[str, JsonValue]) -> str | None:
    place, text = template
    try:
        templates.fill(text, input_)
    except ValueError as error:
        return f"{place}: {error}"
    return None


def _prepared(
    sender: Sender, kind: CommandKind, workflow_id: str, fields: Mapping[str, Any], large: Mapping[str, bytes]
) -> Prepared:
    """Checks the command; what is JSON already travels as it is."""
    stands_for: dict[str, Any] = {name: {} for name in large}
    try:
        command = WorkflowCommand(
            command=kind,
            command_id=str(uuid.uuid4()),
            workflow_id=workflow_id,
            tenant_id=sender.tenant_id,
            requested_by=sender.requested_by,
            constitutional_hash=sender.constitutional_hash,
            created_at=datetime.now(UTC),
            **fields,
            **stands_for,
        )
    except ValidationError as error:
        raise StartError(_places(error)) from None
    document = command.model_dump(mode="json", exclude_none=True, exclude=set(large))
    value = orjson.dumps(document | {name: orjson.Fragment(text) for name, text in large.items()})
    if len(value) > MAX_MESSAGE_BYTES:
        raise StartError(f"the command has {len(value)} bytes, allowed are {MAX_MESSAGE_BYTES}")
    return Prepared(command, value)


def _json(value: JsonValue, what: str) -> bytes:
    """Strict JSON, as the gateway will read it."""
    try:
        text = rfc8785.dumps(value)
        strict_json.loads(b"[%b]" % text)  # nested once, as it will be
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise StartError(f"{what} is not JSON that every reader reads alike: {error}") from None
    except strict_json.Defect as defect:
        raise StartError(f"{what}: {defect.detail}") from None
    return text


def _places(error: ValidationError) -> str:
    places = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, place['loc'])) or 'the command'}: {place['msg']}" for place in places)
