"""Graphs run in one process."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from compensation import (
    CONSTITUTIONAL_HASH,
    DAGExecutor,
    DAGNode,
    DAGResult,
    DefinitionError,
    NoEffect,
    NonRetryableError,
    Retry,
    RunIf,
    StartError,
    StepCompensation,
    StepStatus,
    WorkflowContext,
    WorkflowState,
    WorkflowStep,
    validate_constitutional_hash,
)
from compensation.effects import UndoneError
from compensation.effects_sqlite import SqliteEffectStore
from tests.support.eventually import eventually

SOON = timedelta(milliseconds=1)
ONCE = Retry(attempts=1)


def context(**input_: Any) -> WorkflowContext:  # noqa: ANN401
    return WorkflowContext(constitutional_hash=CONSTITUTIONAL_HASH, input=input_)


def executor(**options: Any) -> DAGExecutor:  # noqa: ANN401
    return DAGExecutor("test", **{"undo_pause": SOON, "drain_timeout": timedelta(seconds=5), **options})


class Shop:
    """What the payment saga calls: keeps each effect and the key it came with."""

    def __init__(self, fail: str | None = None, error: type[Exception] = NonRetryableError) -> None:
        self.calls: list[str] = []
        self.keys: dict[str, list[str]] = defaultdict(list)
        self._fail, self._error = fail, error

    def forward(self, name: str) -> Callable[[WorkflowContext], Awaitable[str]]:
        async def execute(given: WorkflowContext) -> str:
            self.calls.append(name)
            self.keys[name].append(given.idempotency_key)
            if name == self._fail:
                raise self._error("refused")
            return f"{name} of {given['order_id']}"

        return execute

    def undo(self, name: str) -> Callable[[dict[str, Any]], Awaitable[bool]]:
        async def execute(given: dict[str, Any]) -> bool:
            self.calls.append(name)
            self.keys[name].append(given["idempotency_key"])
            return True

        return execute


def payment_saga(shop: Shop) -> DAGExecutor:
    """The payment saga as the original document writes it."""
    reserve_inventory_activity = shop.forward("reserve")
    release_inventory_activity = shop.undo("release")
    charge_payment_activity = shop.forward("charge")
    refund_payment_activity = shop.undo("refund")
    dag = DAGExecutor("payment-saga")
    dag.add_node(
        DAGNode(
            id="reserve_inventory",
            name="Reserve Inventory",
            execute=reserve_inventory_activity,
            compensation=StepCompensation(
                name="release_inventory",
                execute=release_inventory_activity,
                idempotency_key="inv_{order_id}",
            ),
        )
    )
    dag.add_node(
        DAGNode(
            id="charge_payment",
            name="Charge Payment",
            execute=charge_payment_activity,
            compensation=StepCompensation(
                name="refund_payment",
                execute=refund_payment_activity,
                idempotency_key="pay_{order_id}",
            ),
            dependencies=["reserve_inventory"],
        )
    )
    return dag


async def test_the_payment_saga_completes() -> None:
    shop = Shop()
    result = await payment_saga(shop).execute(context(order_id="A-1"))
    assert result.success
    assert result.results == {"reserve_inventory": "reserve of A-1", "charge_payment": "charge of A-1"}


async def test_on_failure_compensations_run_in_reverse_refund_then_release() -> None:
    shop = Shop(fail="charge")
    result = await payment_saga(shop).execute(context(order_id="A-1"))
    assert shop.calls == ["reserve", "charge", "refund", "release"]
    assert result.undone == ("charge_payment", "reserve_inventory")
    assert (result.state, result.cause) == (
        WorkflowState.COMPENSATED,
        "charge_payment: NonRetryableError: refused",
    )


async def test_a_step_that_had_no_effect_is_not_undone() -> None:
    shop = Shop(fail="charge", error=NoEffect)
    await payment_saga(shop).execute(context(order_id="A-1"))
    assert shop.calls == ["reserve", "charge", "release"]


async def test_keys_are_filled_from_the_input_and_differ_by_run_and_direction() -> None:
    shop = Shop(fail="charge")
    dag = payment_saga(shop)
    await dag.execute(context(order_id="A-1"))
    await dag.execute(context(order_id="A-1"))
    refunds, releases, charges = shop.keys["refund"], shop.keys["release"], shop.keys["charge"]
    assert [key.split(":", 1)[1] for key in (*refunds, *releases)] == ["undo:0:pay_A-1"] * 2 + ["undo:0:inv_A-1"] * 2
    assert len({*refunds, *releases, *charges}) == 6


async def test_an_input_without_what_a_key_needs_fails_at_the_start_and_calls_nothing() -> None:
    shop = Shop()
    with pytest.raises(StartError, match=r"'reserve_inventory'.*the input has no 'order_id'"):
        await payment_saga(shop).execute(context())
    assert shop.calls == []


async def test_with_an_effect_store_an_effect_is_undone_once_and_its_late_call_refused(tmp_path: Path) -> None:
    charged, refunded = list[str](), list[object]()
    async with SqliteEffectStore(tmp_path / "effects") as store:

        async def charge(given: WorkflowContext) -> Any:  # noqa: ANN401
            async def effect() -> str:
                charged.append(given.effect_key)
                return "receipt"

            await store.do(given.effect_key, effect)
            raise RuntimeError("the answer is lost")

        async def refund(given: dict[str, Any]) -> None:
            async def effect(result: object) -> None:
                refunded.append(result)

            await store.undo(given["effect_key"], effect)

        node = DAGNode(
            "charge", "c", charge, compensation=StepCompensation("r", refund), retry=Retry(attempts=2, first_ms=1)
        )
        result = await executor().add_node(node).execute(context())
        with pytest.raises(UndoneError):
            await charge(WorkflowContext(constitutional_hash=CONSTITUTIONAL_HASH, effect_key=charged[0]))
    assert (result.state, len(charged), refunded) == (WorkflowState.COMPENSATED, 1, ["receipt"])


async def test_parallel_validation_as_written() -> None:
    running, most = 0, 0

    async def validate(given: WorkflowContext) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return given["who"]

    async def decide(given: WorkflowContext) -> list[str]:
        return sorted(given.results)

    validate_hash = evaluate_policy = calculate_impact = validate
    dag = DAGExecutor("validation-dag")
    dag.add_node(DAGNode("hash_check", "Validate Hash", validate_hash, []))
    dag.add_node(DAGNode("policy_check", "Check Policy", evaluate_policy, []))
    dag.add_node(DAGNode("impact_score", "Calculate Impact", calculate_impact, []))
    dag.add_node(
        DAGNode("decision", "Make Decision", decide, dependencies=["hash_check", "policy_check", "impact_score"])
    )
    result = await dag.execute(context(who="me"))
    assert result.results["decision"] == ["hash_check", "impact_score", "policy_check"]
    assert most == 3


async def test_a_node_starts_when_its_own_dependencies_are_done_not_with_a_wave() -> None:
    order: list[str] = []
    gate = asyncio.Event()

    def named(name: str) -> Callable[[WorkflowContext], Awaitable[None]]:
        async def execute(_: WorkflowContext) -> None:
            if name == "slow":
                await gate.wait()
            order.append(name)
            if name == "third":
                gate.set()

        return execute

    dag = executor()
    for id_, needs in (("slow", []), ("first", []), ("second", ["first"]), ("third", ["second"])):
        dag.add_node(DAGNode(id_, id_, named(id_), needs))
    assert (await dag.execute(context())).success
    assert order == ["first", "second", "third", "slow"]


async def test_parallelism_is_bounded() -> None:
    running, most = 0, 0

    async def execute(_: WorkflowContext) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    dag = executor(max_parallel=3)
    for at in range(20):
        dag.add_node(DAGNode(f"n{at}", "n", execute))
    assert (await dag.execute(context())).success
    assert most == 3


async def test_steps_and_both_names_of_dependencies_are_taken() -> None:
    calls: list[str] = []

    async def step(given: dict[str, Any]) -> None:
        calls.append(f"step {given['order_id']}")

    async def node(_: WorkflowContext) -> None:
        calls.append("node")

    dag = executor()
    dag.add_node(DAGNode("after", "after", node, depends_on=["step"]))
    dag.add_node(WorkflowStep("step", step))
    assert (await dag.execute(context(order_id="A-1"))).success
    assert calls == ["step A-1", "node"]


async def test_a_failing_node_is_tried_again_and_its_success_counts() -> None:
    attempts = 0

    async def flaky(_: WorkflowContext) -> int:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise RuntimeError("not yet")
        return attempts

    dag = executor().add_node(DAGNode("a", "a", flaky, retry=Retry(attempts=3, first_ms=1)))
    result = await dag.execute(context())
    assert (result.success, result.results, result.errors) == (True, {"a": 3}, {})


async def test_a_timeout_ends_an_attempt_and_what_may_have_happened_is_undone() -> None:
    undone: list[str] = []

    async def hang(_: WorkflowContext) -> None:
        await asyncio.Event().wait()

    async def undo(given: dict[str, Any]) -> None:
        undone.append(given["idempotency_key"])

    node = DAGNode("a", "a", hang, compensation=StepCompensation("undo", undo), retry=ONCE, timeout=SOON)
    result = await executor().add_node(node).execute(context())
    assert (result.state, len(undone)) == (WorkflowState.COMPENSATED, 1)
    assert result.errors == {"a": "TimeoutError: "}


async def test_a_wrong_hash_stops_every_node_before_it_runs() -> None:
    shop = Shop()
    given = WorkflowContext(constitutional_hash="0" * 16, input={"order_id": "A-1"})
    result = await payment_saga(shop).execute(given)
    assert (shop.calls, result.state) == ([], WorkflowState.COMPENSATED)
    assert result.cause is not None
    assert "ConstitutionalError" in result.cause


async def test_a_compensation_that_returns_false_failed_and_is_tried_again() -> None:
    answers = iter([False, None])
    tried: list[int] = []

    async def undo(_: dict[str, Any]) -> bool | None:
        tried.append(1)
        return next(answers)

    async def fail(_: WorkflowContext) -> None:
        raise NonRetryableError

    node = DAGNode("a", "a", fail, compensation=StepCompensation("undo", undo))
    result = await executor().add_node(node).execute(context())
    assert (len(tried), result.state) == (2, WorkflowState.COMPENSATED)


async def parked_run() -> tuple[DAGExecutor, DAGResult, dict[str, bool], list[str]]:
    broken, undone = {"is": True}, list[str]()

    def undo(name: str) -> StepCompensation:
        async def execute(_: dict[str, Any]) -> bool:
            if broken["is"] and name == "b":
                return False
            undone.append(name)
            return True

        return StepCompensation(name, execute, max_retries=1)

    async def work(_: WorkflowContext) -> None:
        return None

    async def fail(_: WorkflowContext) -> None:
        raise NoEffect

    dag = executor()
    dag.add_node(DAGNode("a", "a", work, compensation=undo("a")))
    dag.add_node(DAGNode("b", "b", work, ["a"], compensation=undo("b")))
    dag.add_node(DAGNode("c", "c", fail, ["b"]))
    return dag, await dag.execute(context()), broken, undone


async def test_a_compensation_that_fails_for_good_parks_the_run_with_its_stack() -> None:
    _, result, _, undone = await parked_run()
    assert (result.state, undone) == (WorkflowState.COMPENSATION_FAILED, [])
    assert result.statuses["a"] is StepStatus.COMPLETED


async def test_a_parked_run_goes_on_when_it_is_retried() -> None:
    dag, result, broken, undone = await parked_run()
    broken["is"] = False
    again = await dag.retry(result)
    assert (again.state, undone) == (WorkflowState.COMPENSATED, ["b", "a"])
    with pytest.raises(StartError, match="nothing to retry"):
        await dag.retry(again)


async def test_what_is_parked_past_a_pivot_does_not_end_the_others() -> None:
    attempts = 0

    async def work(_: WorkflowContext) -> None:
        return None

    async def fail(_: WorkflowContext) -> None:
        raise NoEffect

    async def flaky(_: WorkflowContext) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise RuntimeError

    dag = executor().add_node(DAGNode("pivot", "pivot", work, pivot=True))
    dag.add_node(DAGNode("bad", "bad", fail, ["pivot"]))
    dag.add_node(DAGNode("flaky", "flaky", flaky, ["pivot"], retry=Retry(attempts=3, first_ms=1)))
    result = await dag.execute(context())
    assert (result.state, result.statuses["flaky"]) == (WorkflowState.PARKED_FORWARD, StepStatus.COMPLETED)


async def test_cancelling_undoes_what_was_done_and_compensations_are_not_cancelled() -> None:
    reached, undone = asyncio.Event(), list[str]()

    async def first(_: WorkflowContext) -> None:
        return None

    async def hang(_: WorkflowContext) -> None:
        reached.set()
        await asyncio.Event().wait()

    def undo(name: str) -> StepCompensation:
        async def execute(_: dict[str, Any]) -> None:
            running.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            undone.append(name)

        return StepCompensation(name, execute)

    dag = executor()
    dag.add_node(DAGNode("first", "first", first, compensation=undo("first")))
    dag.add_node(DAGNode("hang", "hang", hang, ["first"], compensation=undo("hang")))
    running = asyncio.create_task(dag.execute(context()))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert undone == ["hang", "first"]


async def test_a_node_that_does_not_end_while_draining_holds_up_no_compensation() -> None:
    stubborn, undone = asyncio.Event(), list[str]()

    async def ignores_cancellation(_: WorkflowContext) -> None:
        while not stubborn.is_set():
            try:
                await stubborn.wait()
            except asyncio.CancelledError:
                continue

    async def fail(_: WorkflowContext) -> None:
        raise NoEffect

    async def undo(_: dict[str, Any]) -> None:
        undone.append("undone")

    dag = executor(drain_timeout=timedelta(milliseconds=20))
    dag.add_node(DAGNode("slow", "slow", ignores_cancellation, compensation=StepCompensation("undo", undo)))
    dag.add_node(DAGNode("bad", "bad", fail))
    running = asyncio.create_task(dag.execute(context()))
    await eventually(lambda: undone)
    stubborn.set()
    result = await running
    assert result.state is WorkflowState.COMPENSATED
    assert len(undone) == 2, "it succeeded after its undo, and was undone again"


async def test_a_call_that_is_stopped_before_it_has_begun_never_started() -> None:
    called = list[str]()

    async def work(_: WorkflowContext) -> None:
        return None

    async def fail(_: WorkflowContext) -> None:
        raise NoEffect

    async def late(_: WorkflowContext) -> None:
        called.append("late")

    dag = executor()
    dag.add_node(DAGNode("a", "a", work))
    dag.add_node(DAGNode("bad", "bad", fail))
    dag.add_node(DAGNode("late", "late", late, ["a"]))
    result = await dag.execute(context())
    assert (result.state, called) == (WorkflowState.COMPENSATED, [])
    assert result.statuses["late"] is StepStatus.NO_EFFECT


async def test_each_execution_is_a_run_of_its_own() -> None:
    dag = payment_saga(Shop())
    first, second = await asyncio.gather(dag.execute(context(order_id="1")), dag.execute(context(order_id="2")))
    assert first.run_id != second.run_id
    assert (first.results["reserve_inventory"], second.results["reserve_inventory"]) == ("reserve of 1", "reserve of 2")


async def test_an_optional_node_fails_alone() -> None:
    async def fail(_: WorkflowContext) -> None:
        raise NoEffect

    async def work(_: WorkflowContext) -> str:
        return "done"

    dag = executor()
    dag.add_node(DAGNode("maybe", "maybe", fail, is_optional=True))
    dag.add_node(DAGNode("skipped", "skipped", work, ["maybe"]))
    dag.add_node(DAGNode("anyway", "anyway", work, ["maybe"], run_if=RunIf.ALL_SETTLED))
    result = await dag.execute(context())
    assert result.success
    assert result.statuses == {
        "maybe": StepStatus.NO_EFFECT,
        "skipped": StepStatus.SKIPPED,
        "anyway": StepStatus.COMPLETED,
    }


async def test_a_graph_that_cannot_run_says_where() -> None:
    async def work(_: WorkflowContext) -> None:
        return None

    dag = executor()
    dag.add_node(DAGNode("a", "a", work, ["b"]))
    dag.add_node(DAGNode("b", "b", work, ["a", "ghost"]))
    with pytest.raises(DefinitionError, match="'a'"):
        dag.add_node(DAGNode("a", "again", work))
    with pytest.raises(DefinitionError) as raised:
        await dag.execute(context())
    assert raised.value.problems == (
        "node 'b': dependency 'ghost' is no node",
        "a cycle: b -> a -> b (each waits for the one before it)",
    )


async def test_an_empty_graph_completes() -> None:
    assert (await executor().execute(context())).success


async def test_a_long_chain_needs_no_stack() -> None:
    async def work(_: WorkflowContext) -> None:
        return None

    dag = executor()
    for at in range(5_000):
        dag.add_node(DAGNode(f"n{at}", "n", work, [f"n{at - 1}"] if at else []))
    assert (await dag.execute(context())).success


def test_a_validation_is_a_mapping_with_attributes() -> None:
    good, bad = validate_constitutional_hash(CONSTITUTIONAL_HASH), validate_constitutional_hash("0123456789abcdef")
    assert (good.is_valid, good["is_valid"], dict(good)) == (True, True, {"is_valid": True, "reason": ""})
    assert (bad.is_valid, "0123456789abcdef" in bad.reason) == (False, False)
    assert not validate_constitutional_hash(None).is_valid
    with pytest.raises(KeyError):
        good["keys"]
