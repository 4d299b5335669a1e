"""Nodes as code: functions with what undoes them, for a DAGExecutor."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from compensation.definition import DEFAULT_RETRY, Retry, RunIf


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowContext(Mapping[str, Any]):
    """What a node may know. As a mapping it is the workflow's input.

    `results` holds what completed nodes returned, by their ids. `constitutional_hash` is checked before every node.
    `idempotency_key` is the call's own: the same at each attempt, another one for each run, direction and undo round.
    `effect_key` is the node's own in this run, the same for doing and undoing: the key for an EffectStore.
    """

    constitutional_hash: str
    input: Mapping[str, Any] = field(default_factory=dict[str, Any])
    workflow_id: str = ""
    run_id: str = ""
    results: Mapping[str, Any] = field(default_factory=dict[str, Any])
    idempotency_key: str = ""
    effect_key: str = ""

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401  # whatever the caller put there
        return self.input[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.input)

    def __len__(self) -> int:
        return len(self.input)

    def called(self, key: str, effect_key: str) -> "WorkflowContext":
        """The same for a call with those keys."""
        return WorkflowContext(
            constitutional_hash=self.constitutional_hash,
            input=self.input,
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            results=self.results,
            idempotency_key=key,
            effect_key=effect_key,
        )

    def as_dict(self, result: object = None) -> dict[str, Any]:
        """The input's names and what belongs to the call.

        That is `results`, `result` (of the node itself), `workflow_id`, `run_id`, `constitutional_hash`,
        `idempotency_key` and `effect_key`.
        """
        return {
            **self.input,
            "results": dict(self.results),
            "result": result,
            "workflow_id": self.workflow_id,
            "run_id": self.run_id,
            "constitutional_hash": self.constitutional_hash,
            "idempotency_key": self.idempotency_key,
            "effect_key": self.effect_key,
        }


@dataclass(frozen=True, slots=True)
class StepCompensation:
    """What undoes a step. Registered before the step runs, and called even if it is not known whether it did.

    `execute` is given WorkflowContext.as_dict() and must succeed however often it is called, also where nothing had
    happened. Raising, or returning False, is a failure; `max_retries` retries follow. `idempotency_key` is a template
    such as `pay_{order_id}`, filled from the workflow's input.
    """

    name: str
    execute: Callable[[dict[str, Any]], Awaitable[bool | None]]
    idempotency_key: str | None = None
    max_retries: int = 3
    timeout: timedelta | None = None


@dataclass(frozen=True, slots=True)
class DAGNode:
    """A node: a function of the context, after those it depends on.

    `dependencies` and `depends_on` are the same. An optional node fails alone; past a `pivot` that may have happened
    nothing is undone. `timeout` bounds one attempt.
    """

    id: str
    name: str
    execute: Callable[[WorkflowContext], Awaitable[Any]]
    dependencies: Sequence[str] = ()
    compensation: StepCompensation | None = None
    is_optional: bool = False
    depends_on: Sequence[str] = ()
    idempotency_key: str | None = None
    retry: Retry = DEFAULT_RETRY
    timeout: timedelta | None = None
    pivot: bool = False
    run_if: RunIf = RunIf.ALL_COMPLETED
    requires_constitutional_check: bool = True

    @property
    def needs(self) -> tuple[str, ...]:
        """What it depends on, by either name."""
        return tuple(dict.fromkeys((*self.dependencies, *self.depends_on)))


@dataclass(frozen=True, slots=True)
class WorkflowStep:
    """A step by name, whose function is given WorkflowContext.as_dict()."""

    name: str
    execute: Callable[[dict[str, Any]], Awaitable[Any]]
    compensation: StepCompensation | None = None
    requires_constitutional_check: bool = True
    depends_on: Sequence[str] = ()

    def as_node(self) -> DAGNode:
        """The same as a node."""

        async def execute(context: WorkflowContext) -> Any:  # noqa: ANN401  # whatever the step returns
            return await self.execute(context.as_dict())

        return DAGNode(
            self.name,
            self.name,
            execute,
            self.depends_on,
            self.compensation,
            requires_constitutional_check=self.requires_constitutional_check,
        )
