"""The rows of a workflow in the log, and how they are written down.

One `Case` that never changes, one `Head` whose size does not depend on the nodes, one `Leaf` a node. A closed workflow
of which nothing can come any more is one `Closed` row.
"""

from typing import Any, NamedTuple

import orjson

from compensation.durable.prepared import Prepared, prepare
from compensation.errors import CompensationError
from compensation.rows import Awaits, NodeRow, WorkflowRow
from schemas.workflow import StepStatus, WorkflowState

_VERSION, _BEFORE = 2, 1
"""What is written, and what is read besides: a row of version 1 has no `reply_to`, `verified` or `taken`."""
_CASE, _HEAD, _LEAF, _CLOSED = "case/", "head/", "node/", "closed"


class Case(NamedTuple):
    """What a workflow was started with.

    `input` is JSON. `content` is the SHA-256 of all that makes two starts the same. `secret` is what the tokens of
    attempts are derived from. `reply_to` is where the agent that started it wants to be told, `TOPIC/KEY`. `verified`:
    whether a signature proved who started it, or an agent of this system did.
    """

    prepared: Prepared
    input: bytes
    workflow_id: str
    tags: tuple[str, ...]
    tenant_id: str
    requested_by: str
    constitutional_hash: str
    run: str
    secret: str
    content: str
    started_ms: int
    reply_to: str | None = None
    verified: bool = False


class Head(NamedTuple):
    """The state of the whole. `item` is what waits for approval of the start, `attention` nodes that need somebody.

    `taken` says that a worker has answered, or given a sign of life. Kept where somebody is to be told.
    """

    run: str
    row: WorkflowRow
    item: str | None = None
    attention: tuple[str, ...] = ()
    attention_count: int = 0
    closed_ms: int | None = None
    taken: bool = False


class Leaf(NamedTuple):
    """The state of a node; its result, the last heartbeat's details as JSON, and the item that its approval is."""

    row: NodeRow
    result: bytes | None = None
    details: bytes | None = None
    item: str | None = None


class Closed(NamedTuple):
    """What is left of a closed workflow: enough to know it again."""

    run: str
    secret: str
    content: str
    tenant_id: str
    state: WorkflowState
    version: int


Row = Case | Head | Leaf | Closed


def case_key(workflow_id: str) -> str:
    """The key of a workflow's Case."""
    return _CASE + workflow_id


def head_key(workflow_id: str) -> str:
    """The key of a workflow's Head, or of what is left of it."""
    return _HEAD + workflow_id


def leaf_key(workflow_id: str, node: str) -> str:
    """The key of a node's Leaf."""
    return f"{_LEAF}{workflow_id}/{node}"


def workflow_and_node(key: str) -> tuple[str, str | None]:
    """The workflow, and the node of a Leaf's key; neither has a slash."""
    _, workflow_id, *node = key.split("/")
    return workflow_id, node[0] if node else None


def encode(row: Row) -> bytes:
    """The row as JSON, its version first."""
    match row:
        case Leaf():
            written: list[object] = [_LEAF, list(row.row), *map(_text, row[1:3]), row.item]
        case Head():
            written = [_HEAD, row.run, list(row.row), *row[2:]]
        case Closed():
            written = [_CLOSED, *row]
        case Case():
            written = [_CASE, orjson.Fragment(row.prepared.text), orjson.Fragment(row.input), *row[2:]]
    return orjson.dumps([_VERSION, *written])


def decode(value: bytes) -> Row:
    """Reads a row.

    Raises:
        CompensationError: written by a later version of this program.
    """
    version, kind, *written = orjson.loads(value)
    if version not in {_VERSION, _BEFORE}:
        raise CompensationError(f"a workflow's row of version {version}: run a release that knows it")
    if kind == _LEAF:
        row, result, details, item = written
        return Leaf(_node_row(row), _bytes(result), _bytes(details), item)
    if kind == _HEAD:
        run, row, item, attention, *more = written
        return Head(run, _workflow_row(row), item, tuple(attention), *more)
    if kind == _CLOSED:
        run, secret, content, tenant_id, state, number = written
        return Closed(run, secret, content, tenant_id, WorkflowState(state), number)
    definition, given, workflow_id, tags, *rest = written
    return Case(prepare(orjson.dumps(definition)), orjson.dumps(given), workflow_id, tuple(tags), *rest)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


def _node_row(written: list[Any]) -> NodeRow:
    row = NodeRow(*written)
    return row._replace(
        status=StepStatus(row.status),
        counted=tuple((round_, attempt) for round_, attempt in row.counted),
        awaits=None if row.awaits is None else Awaits(row.awaits),
    )


def _workflow_row(written: list[Any]) -> WorkflowRow:
    row = WorkflowRow(*written)
    return row._replace(state=WorkflowState(row.state))
