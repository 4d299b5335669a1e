"""Activities: what workers run for the nodes of a workflow, and the base of those that belong together.

CRITICAL: every activity must be idempotent. A worker calls it at least once for each command; the keys of its context
stay the same each time.
"""

import hashlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple, Protocol, TypeVar, cast, overload

import rfc8785

from compensation.constitution import CONSTITUTIONAL_HASH, HashValidation, validate_constitutional_hash
from compensation.errors import CompensationError
from compensation.step import WorkflowContext
from schemas.activity import Direction

_log = logging.getLogger(__name__)

_MARK = "__acgs_activity__"


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
                f"{_place(marked)} is no async function: write 'async def', and run what blocks in asyncio.to_thread()"
            )
        chosen = marked.__name__ if name is None else name
        if not chosen:
            raise ActivityDefinitionError(f"{_place(marked)} has an empty name")
        setattr(marked, _MARK, chosen)
        return marked

    return mark if function is None else mark(function)


PolicyEvaluator = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]
"""Decides on an action in a context: a mapping with `allowed`, and whatever else it has to say. May be async."""


class BaseActivities:
    """Activities that share a state and the three that every set has. Subclass it and mark methods with @activity.

    A worker calls `validate_constitutional_hash` before each activity of the set. `evaluator` is what
    `evaluate_policy` asks; it may be given here, or set on the class.
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


class Registered(NamedTuple):
    """An activity under its name. `owner` validates the hash before it; `place` says where it is defined."""

    name: str
    function: ActivityFunction
    owner: BaseActivities
    place: str


ActivitySet = Mapping[str, Registered]
"""What a worker serves, by name."""


def collect(*sources: object) -> ActivitySet:
    """The activities of modules, functions, BaseActivities (classes or instances), and of collections of these.

    Of a module: every marked function that it defines or imports, every instance of a BaseActivities, and every such
    class that it defines itself, unless it has an instance of it. A class is called without arguments.

    Raises:
        ActivityDefinitionError: there is none, one is no activity, a class cannot be called without arguments, or two
            have the same name.
    """
    plain, found = BaseActivities(), dict[str, Registered]()
    for one in sources:
        for registered in _of(one, plain):
            before = found.setdefault(registered.name, registered)
            if before.function != registered.function:
                raise ActivityDefinitionError(
                    f"two activities are named {registered.name!a}: {before.place} and {registered.place}. Rename one, "
                    'for instance with @activity(name="...")'
                )
    if not found:
        raise ActivityDefinitionError(
            f"{', '.join(map(_named, sources)) or 'nothing'} has no activities: mark async functions, or methods of a "
            "BaseActivities, with @activity"
        )
    return found


def _of(source: object, plain: BaseActivities) -> Iterable[Registered]:
    if isinstance(source, ModuleType):
        return _all_of(_members(source), plain)
    if inspect.isclass(source) and issubclass(source, BaseActivities):
        return _methods(_made(source))
    if isinstance(source, BaseActivities):
        return _methods(source)
    if hasattr(source, _MARK):
        function = cast("ActivityFunction", source)
        owner = getattr(source, "__self__", plain)
        return [_registered(function, owner if isinstance(owner, BaseActivities) else plain)]
    if isinstance(source, Mapping):
        return _all_of(cast("Mapping[object, object]", source).values(), plain)
    if isinstance(source, Iterable) and not isinstance(source, str | bytes):
        return _all_of(cast("Iterable[object]", source), plain)
    raise ActivityDefinitionError(f"{_named(source)} is no activity: mark an async function with @activity")


def _all_of(sources: Iterable[object], plain: BaseActivities) -> list[Registered]:
    return [registered for source in sources for registered in _of(source, plain)]


def _members(module: ModuleType) -> list[object]:
    members = list(vars(module).values())
    instances = [one for one in members if isinstance(one, BaseActivities)]
    functions = [one for one in members if hasattr(one, _MARK) and inspect.isroutine(one)]
    classes = [
        one
        for one in members
        if inspect.isclass(one)
        and issubclass(one, BaseActivities)
        and one.__module__ == module.__name__
        and _marked(one)
        and not any(type(instance) is one for instance in instances)
    ]
    return [*functions, *instances, *classes]


def _made(class_: type[BaseActivities]) -> BaseActivities:
    try:
        return class_()
    except TypeError as error:
        raise ActivityDefinitionError(
            f"{_place(class_)} cannot be made without arguments ({error}): make an instance in its module and name that"
        ) from error


def _marked(class_: type[BaseActivities]) -> list[str]:
    """The attributes that are activities, the nearest override of each."""
    return [name for name in dir(class_) if hasattr(inspect.getattr_static(class_, name), _MARK)]


def _methods(owner: BaseActivities) -> list[Registered]:
    return [_registered(getattr(owner, name), owner) for name in _marked(type(owner))]


def _registered(function: ActivityFunction, owner: BaseActivities) -> Registered:
    return Registered(getattr(function, _MARK), function, owner, _place(function))


def _place(thing: object) -> str:
    code = getattr(thing, "__code__", None)
    module = getattr(thing, "__module__", "?")
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return f"{module}.{getattr(thing, '__qualname__', repr(thing))}{where}"


def _named(source: object) -> str:
    if isinstance(source, ModuleType):
        return f"module {source.__name__}"
    return _place(source) if inspect.isclass(source) or inspect.isroutine(source) else f"{source!a:.80}"
