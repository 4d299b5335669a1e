"""Activities: what workers run for the nodes of a workflow, and the base of those that belong together.

CRITICAL: every activity must be idempotent. A worker calls it at least once for each command; the keys of its context
stay the same each time.
"""

import hashlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, overload

import rfc8785

from compensation.constitution import CONSTITUTIONAL_HASH, HashValidation, validate_constitutional_hash
from compensation.errors import CompensationError
from compensation.step import WorkflowContext
from schemas.activity import Direction

_log = logging.getLogger(__name__)

MARK = "__acgs_activity__"
"""The attribute of an activity that holds its name."""


class ActivityDefinitionError(CompensationError):
    """What is given as activities cannot be served; the message says what to change, and where."""


class Pulse(Protocol):
    """The line from a running activity to whoever runs it."""

    @property
    def is_cancelled(self) -> bool:
        """Whether it is asked to end."""
        ...

    def beat(self, details: object) -> None:
        """Says that it lives. Never blocks, never raises, may be called from any thread."""
        ...


class _Unheard:
    """The line of an activity that nobody watches: in a DAGExecutor, or called by a test."""

    is_cancelled = False

    def beat(self, details: object) -> None:
        """Says it to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityContext(WorkflowContext):
    """What an activity may know. As a mapping it is the workflow's input; `results` holds the node's inputs by node id.

    A function that needs no more than a WorkflowContext has runs in a DAGExecutor too. `result` is what the node
    returned, where it is undone and known to have completed, else None. `attempt` counts from 1; `round` rises when an
    operator orders the node anew or its undo is due again. `details` are those of the last heartbeat of an earlier
    attempt.
    """

    result: Any = None
    node: str = ""
    direction: Direction = Direction.DO
    round: int = 0
    attempt: int = 1
    tenant_id: str = ""
    details: Any = None
    pulse: Pulse = field(default_factory=_Unheard, repr=False, compare=False)

    @property
    def is_cancelled(self) -> bool:
        """Whether this attempt is asked to end: it is not wanted any more, took too long, or its worker stops.

        A coroutine is cancelled then, too; this is for what runs in a thread.
        """
        return self.pulse.is_cancelled

    def heartbeat(self, details: object = None) -> None:
        """Says that the activity lives, and how far it is, as JSON of at most 4 KiB.

        The newest details reach the next attempt; None keeps those before. Never blocks, never raises, and may be
        called as often as one likes, from any thread. Details that do not fit are dropped, and a warning is logged.
        """
        self.pulse.beat(details)

    def as_dict(self, result: object = None) -> dict[str, Any]:
        """As WorkflowContext.as_dict(): for functions written as a WorkflowStep or a StepCompensation."""
        return WorkflowContext.as_dict(self, self.result if result is None else result)


ActivityFunction = Callable[[ActivityContext], Awaitable[Any]]
"""A function of the context. What it returns is the node's result and must be JSON; from an undo, False is a failure.

To say how it failed it raises NoEffect or NonRetryableError; after any other exception it is tried again.
"""

_Function = TypeVar("_Function", bound=Callable[..., Coroutine[Any, Any, Any]])


@overload
def activity(function: _Function, /) -> _Function: ...
@overload
def activity(*, name: str | None = None) -> Callable[[_Function], _Function]: ...
def activity(
    function: _Function | None = None, /, *, name: str | None = None
) -> _Function | Callable[[_Function], _Function]:
    """Makes an async function, or a method of a BaseActivities, an activity under its own name or the given one.

    The function itself is returned, unchanged for whoever calls it.

    Raises:
        ActivityDefinitionError: it is not an async function, or the name is empty.
    """

    def mark(marked: _Function) -> _Function:
        if not inspect.iscoroutinefunction(marked):
            raise ActivityDefinitionError(
                f"{place_of(marked)} is no async function: write 'async def', run what blocks in asyncio.to_thread()"
            )
        chosen = marked.__name__ if name is None else name
        if not chosen:
            raise ActivityDefinitionError(f"{place_of(marked)} has an empty name")
        setattr(marked, MARK, chosen)
        return marked

    return mark if function is None else mark(function)


PolicyEvaluator = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]
"""Decides on an action in a context: a mapping with `allowed`, and whatever else it has to say. May be async."""


class BaseActivities:
    """Activities that share a state and the three that every set has. Subclass it and mark methods with @activity.

    A worker calls `validate_constitutional_hash` before each activity of the set. `evaluator` is what
    `evaluate_policy` asks; it may be given here, or set on the class as a staticmethod.
    """

    evaluator: PolicyEvaluator | None = None

    def __init__(self, evaluator: PolicyEvaluator | None = None) -> None:
        if evaluator is not None:
            self.evaluator = evaluator

    async def validate_constitutional_hash(
        self, provided_hash: str, expected_hash: str = CONSTITUTIONAL_HASH
    ) -> HashValidation:
        """Whether the hash is the expected one: `is_valid`, and `reason` in words, which never shows a whole hash."""
        return validate_constitutional_hash(provided_hash, expected_hash)

    async def evaluate_policy(
        self, action: Mapping[str, Any], context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """What the evaluator says of an action: `allowed`, `reason`, and whatever else it answers.

        `allowed` is True only if the evaluator's answer says exactly that; without an evaluator nothing is allowed.

        Raises:
            Exception: whatever the evaluator raises.
        """
        if self.evaluator is None:
            return {"allowed": False, "reason": "no policy is known: this set of activities has no evaluator"}
        answer = self.evaluator(action, {} if context is None else context)
        if inspect.isawaitable(answer):
            answer = await answer
        return {"reason": "", **answer, "allowed": answer.get("allowed") is True}

    async def record_audit(self, event: str, details: Mapping[str, Any] | None = None) -> str:
        """Writes what happened to the log, and returns its id: the SHA-256 of the canonical record (RFC 8785).

        The same event with the same details has the same id, so that a second attempt is seen to be one. Details
        are written as they are: keep secrets out of them.

        Raises:
            ValueError: the details are no JSON.
        """
        record = rfc8785.dumps({"event": event, "details": dict(details or {})})
        id_ = hashlib.sha256(record).hexdigest()
        _log.info("audit %s %s", id_, record.decode())
        return id_


def place_of(thing: object) -> str:
    """Where something is defined, for a message."""
    code = getattr(thing, "__code__", None)
    module = getattr(thing, "__module__", "?")
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return f"{module}.{getattr(thing, '__qualname__', repr(thing))}{where}"
