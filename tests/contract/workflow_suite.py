"""What every way of driving a workflow must do: one suite, for the DAGExecutor and for the orchestrator."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from compensation.definition import Compensation, Node, Retry, RunIf, WorkflowDefinition
from compensation.errors import NoEffect, NonRetryableError
from schemas.activity import Direction
from schemas.workflow import StepStatus, WorkflowState
from tests.support.saga import node

COMPLETED, COMPENSATED, NO_EFFECT = StepStatus.COMPLETED, StepStatus.COMPENSATED, StepStatus.NO_EFFECT
QUICK = Retry(attempts=3, first_ms=1, factor=1)
ONCE = Retry(attempts=1)


class Call(NamedTuple):
    """One call of a function, as it was given."""

    node: str
    direction: Direction
    input: Mapping[str, Any]
    results: Mapping[str, Any]
    result: object
    idempotency_key: str
    effect_key: str


Function = Callable[[Call], Awaitable[Any]]
"""What a node does, or what undoes it; raises as activities do."""


class Ended(NamedTuple):
    """How a run ended, or parked."""

    state: WorkflowState
    statuses: Mapping[str, StepStatus]
    results: Mapping[str, Any]
    errors: Mapping[str, str]


@dataclass
class Script:
    """What the functions of a run do, and every call of them in order. What is not scripted succeeds."""

    do: Mapping[str, Function] = field(default_factory=dict[str, Function])
    undo: Mapping[str, Function] = field(default_factory=dict[str, Function])
    calls: list[Call] = field(default_factory=list[Call])

    async def __call__(self, call: Call) -> object:
        self.calls.append(call)
        scripted = (self.do if call.direction is Direction.DO else self.undo).get(call.node)
        if scripted is not None:
            return await scripted(call)
        return f"{call.node} done" if call.direction is Direction.DO else True

    def done(self) -> list[str]:
        return [call.node for call in self.calls if call.direction is Direction.DO]

    def undone(self) -> list[str]:
        return [call.node for call in self.calls if call.direction is Direction.UNDO]

    def of(self, node_id: str, direction: Direction = Direction.DO) -> list[Call]:
        return [call for call in self.calls if (call.node, call.direction) == (node_id, direction)]


class WorkflowDriver(ABC):
    """Runs one workflow by a script until it has ended or is parked."""

    @abstractmethod
    async def run(
        self, definition: WorkflowDefinition, script: Script, given: Mapping[str, Any], *, cancel_at: str | None = None
    ) -> Ended:
        """Runs it; when the node `cancel_at` is called, it is cancelled while that call goes on."""

    @abstractmethod
    async def retry(self) -> Ended:
        """Has everything that is parked tried anew."""

    @abstractmethod
    async def refused(self, definition: WorkflowDefinition, given: Mapping[str, Any]) -> str:
        """Starts what cannot be started; returns why it is refused."""


def raising(error: Exception, *, times: int = 1_000) -> Function:
    """Raises, so many times, and then succeeds."""
    left = [times]

    async def function(call: Call) -> object:
        if left[0]:
            left[0] -= 1
            raise error
        return f"{call.node} done at last"

    return function


def of(*nodes: Node, **changes: Any) -> WorkflowDefinition:  # noqa: ANN401
    quick = [one if one.retry != Retry() else one.model_copy(update={"retry": ONCE}) for one in nodes]
    return WorkflowDefinition.of(name="suite", nodes=quick, drain_timeout_ms=2_000, **changes)


def chain(*ids: str, **changes: Any) -> WorkflowDefinition:  # noqa: ANN401
    return of(*(node(id_, *ids[:at][-1:]) for at, id_ in enumerate(ids)), **changes)


class WorkflowSuite:
    """Subclasses name the driver."""

    @pytest.fixture
    def driver(self) -> WorkflowDriver:
        raise NotImplementedError

    # Forward

    async def test_each_node_is_given_the_results_of_those_it_depends_on(self, driver: WorkflowDriver) -> None:
        script = Script()
        ended = await driver.run(of(node("a"), node("b"), node("join", "a", "b")), script, {"order": 7})
        assert ended.state is WorkflowState.COMPLETED
        assert script.of("join")[0].results == {"a": "a done", "b": "b done"}
        assert script.of("join")[0].input == {"order": 7}
        assert ended.results["join"] == "join done"
        assert script.undone() == []

    async def test_a_failure_that_may_pass_is_tried_again_and_one_that_may_not_is_not(
        self, driver: WorkflowDriver
    ) -> None:
        script = Script(do={"a": raising(OSError("busy"), times=2), "b": raising(NonRetryableError("never"))})
        ended = await driver.run(of(node("a", retry=QUICK), node("b", "a", retry=QUICK)), script, {})
        assert script.done() == ["a", "a", "a", "b"]
        assert ended.state is WorkflowState.COMPENSATED
        assert "never" in ended.errors["b"]

    async def test_an_optional_node_fails_alone_and_what_needs_it_is_skipped_or_runs_if_all_settled(
        self, driver: WorkflowDriver
    ) -> None:
        nodes = (
            node("a", optional=True),
            node("needs", "a"),
            node("needs_too", "needs"),
            node("settled", "a", "needs", run_if=RunIf.ALL_SETTLED),
        )
        script = Script(do={"a": raising(NoEffect("no"))})
        ended = await driver.run(of(*nodes), script, {})
        assert ended.state is WorkflowState.COMPLETED
        skipped = StepStatus.SKIPPED
        assert ended.statuses == {"a": NO_EFFECT, "needs": skipped, "needs_too": skipped, "settled": COMPLETED}

    async def test_an_optional_node_that_may_have_happened_is_undone_alone(self, driver: WorkflowDriver) -> None:
        script = Script(do={"a": raising(OSError("who knows"))})
        ended = await driver.run(of(node("a", optional=True), node("b")), script, {})
        assert (ended.state, script.undone()) == (WorkflowState.COMPLETED, ["a"])

    # Back

    async def test_compensations_run_in_reverse_order_of_completion(self, driver: WorkflowDriver) -> None:
        script = Script(do={"d": raising(NoEffect("refused"))})
        ended = await driver.run(chain("a", "b", "c", "d"), script, {})
        assert ended.state is WorkflowState.COMPENSATED
        assert script.undone() == ["c", "b", "a"]
        assert [call.result for call in script.calls if call.direction is Direction.UNDO] == [
            "c done",
            "b done",
            "a done",
        ]
        assert ended.statuses == {"a": COMPENSATED, "b": COMPENSATED, "c": COMPENSATED, "d": NO_EFFECT}

    async def test_what_may_have_happened_is_undone_first_and_what_says_it_did_not_is_not(
        self, driver: WorkflowDriver
    ) -> None:
        script = Script(do={"c": raising(TimeoutError("no word"))})
        await driver.run(chain("a", "b", "c"), script, {})
        assert script.undone() == ["c", "b", "a"]
        script = Script(do={"c": raising(NoEffect("never"))})
        await driver.run(chain("a", "b", "c"), script, {})
        assert script.undone() == ["b", "a"]

    async def test_a_failed_attempt_that_may_have_happened_is_undone_even_if_the_last_one_had_no_effect(
        self, driver: WorkflowDriver
    ) -> None:
        errors = [OSError("may have happened"), NoEffect("not this time")]

        async def fail(_: Call) -> object:
            raise errors.pop(0)

        script = Script(do={"a": fail})
        await driver.run(of(node("a", retry=QUICK)), script, {})
        assert (script.done(), script.undone()) == (["a", "a"], ["a"])

    async def test_a_node_without_compensation_is_passed_over(self, driver: WorkflowDriver) -> None:
        script = Script(do={"c": raising(NoEffect("refused"))})
        ended = await driver.run(of(node("a"), node("b", "a", undo=False), node("c", "b")), script, {})
        assert script.undone() == ["a"]
        assert ended.statuses["b"] is COMPLETED

    async def test_a_compensation_that_fails_is_tried_again(self, driver: WorkflowDriver) -> None:
        script = Script(do={"b": raising(NoEffect("refused"))}, undo={"a": raising(OSError("busy"), times=2)})
        ended = await driver.run(chain("a", "b"), script, {})
        assert (ended.state, script.undone()) == (WorkflowState.COMPENSATED, ["a", "a", "a"])

    async def test_one_that_fails_for_as_long_as_it_is_tried_parks_and_goes_on_when_it_is_retried(
        self, driver: WorkflowDriver
    ) -> None:
        undo = Compensation(name="undo_b", activity="undo_b", max_retries=0)
        broken = [True]

        async def fail(_: Call) -> object:
            if broken[0]:
                raise OSError("down")
            return True

        script = Script(do={"c": raising(NoEffect("refused"))}, undo={"b": fail})
        nodes = of(node("a"), node("b", "a", compensation=undo), node("c", "b"))
        parked = await driver.run(nodes, script, {})
        assert parked.state is WorkflowState.COMPENSATION_FAILED
        assert "a" not in script.undone()
        assert "down" in parked.errors["b"]
        broken[0] = False
        ended = await driver.retry()
        assert ended.state is WorkflowState.COMPENSATED
        assert script.undone()[-2:] == ["b", "a"]

    async def test_nothing_is_undone_past_a_pivot_and_a_retry_goes_on(self, driver: WorkflowDriver) -> None:
        broken = [True]

        async def fail(_: Call) -> object:
            if broken[0]:
                raise OSError("down")
            return "ok"

        script = Script(do={"c": fail})
        nodes = of(node("a"), node("b", "a", undo=False, pivot=True), node("c", "b"))
        parked = await driver.run(nodes, script, {})
        assert (parked.state, script.undone()) == (WorkflowState.PARKED_FORWARD, [])
        broken[0] = False
        ended = await driver.retry()
        assert (ended.state, ended.results["c"]) == (WorkflowState.COMPLETED, "ok")
        assert script.undone() == []

    async def test_incomparable_nodes_are_undone_side_by_side_only_where_the_definition_says_so(
        self, driver: WorkflowDriver
    ) -> None:
        nodes = (node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c"))
        script = Script(do={"d": raising(NoEffect("refused"))})
        await driver.run(of(*nodes, parallel_undo=True), script, {})
        assert sorted(script.undone()[:2]) == ["b", "c"]
        assert script.undone()[2] == "a"

    async def test_cancelling_undoes_also_what_is_on_its_way(self, driver: WorkflowDriver) -> None:
        script = Script()
        await driver.run(chain("a", "b", "c"), script, {}, cancel_at="b")
        assert script.done() == ["a", "b"]
        assert script.undone() == ["b", "a"]

    # Keys

    async def test_keys_say_which_calls_are_the_same(self, driver: WorkflowDriver) -> None:
        undo = Compensation(name="undo_a", activity="undo_a", idempotency_key="inv_{order_id}")
        script = Script(do={"a": raising(OSError("busy"), times=1), "b": raising(NoEffect("refused"))})
        nodes = of(node("a", compensation=undo, retry=QUICK), node("b", "a"))
        await driver.run(nodes, script, {"order_id": "o-1"})
        first, second = script.of("a")
        (back,) = script.of("a", Direction.UNDO)
        assert first.idempotency_key == second.idempotency_key != back.idempotency_key
        assert back.idempotency_key.endswith("inv_o-1")
        assert first.effect_key == second.effect_key == back.effect_key != script.of("b")[0].effect_key

    async def test_a_key_whose_template_needs_what_the_input_lacks_refuses_the_start(
        self, driver: WorkflowDriver
    ) -> None:
        why = await driver.refused(of(node("a", idempotency_key="k_{order_id}")), {"other": 1})
        assert "order_id" in why
        assert "'a'" in why

    async def test_a_wide_graph_and_a_deep_one_come_to_their_end(self, driver: WorkflowDriver) -> None:
        wide = [node(f"w{n}") for n in range(100)]
        ended = await driver.run(of(*wide, node("join", *(one.id for one in wide))), Script(), {})
        assert ended.state is WorkflowState.COMPLETED
        script = Script(do={"n99": raising(NoEffect("refused"))})
        await driver.run(chain(*(f"n{n}" for n in range(100))), script, {})
        assert script.undone() == [f"n{n}" for n in reversed(range(99))]


def parked_nodes(statuses: Mapping[str, StepStatus], wanted: Sequence[StepStatus]) -> list[str]:
    return [id_ for id_, status in statuses.items() if status in wanted]
