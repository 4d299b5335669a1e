"""Starting workflows, telling them what to do and waiting for them, with the agents of the product behind it."""

import asyncio
from contextlib import aclosing
from datetime import timedelta

import orjson
import pytest

from compensation.definition import Kind, Retry, SignalWait
from compensation.errors import DefinitionError, StartError
from schemas import topics
from schemas.activity import ActivityCommand, Claim, Direction, Given, Outcome
from schemas.reasons import Reason
from schemas.workflow import EventKind, StepStatus, WorkflowState
from streams.agents.naming import Naming
from streams.claims import open_claims
from streams.engine.client import EngineSettings
from streams.workflows import (
    WorkflowError,
    WorkflowHandle,
    WorkflowRejectedError,
    WorkflowTimeoutError,
    WorkflowUnknownError,
)
from streams.workflows.board import Selection, WorkflowBoard, status_of
from streams.workflows.retrying import retry_all, retryable
from tests.support.eventually import eventually
from tests.support.kafka import read_topic
from tests.support.saga import definition, node
from tests.support.workflows import client_of, install, orchestrated

ACTIVITIES = [f"{kind}_{id_}" for kind in ("do", "undo") for id_ in ("a", "b", "c")]
ONCE = Retry(attempts=1)
SOON = timedelta(seconds=20)


def well(command: ActivityCommand) -> object:
    return f"{command.activity} of {command.input.get('order_id')}"


async def test_a_workflow_is_started_and_its_results_come_back(settings: EngineSettings) -> None:
    saga = definition(node("a"), node("b", "a"), node("c", "a"))
    async with orchestrated(settings, *ACTIVITIES, answer=well), client_of(settings) as client:
        handle = await client.start(saga, {"order_id": "A-1"}, tags=("shop",))
        outcome = await handle.result(SOON)
    assert (outcome.state, outcome.success, outcome.cause) == (WorkflowState.COMPLETED, True, None)
    assert outcome.results == {"b": "do_b of A-1", "c": "do_c of A-1"}
    assert (outcome.status.tags, outcome.status.requested_by, outcome.status.tenant_id) == (("shop",), "ada", "acme")


async def test_a_definition_may_be_what_its_json_says(settings: EngineSettings) -> None:
    saga = orjson.loads(definition(node("a")).canonical())
    async with orchestrated(settings, *ACTIVITIES, answer=well), client_of(settings) as client:
        outcome = await (await client.start(saga, {"order_id": "A-1"}, workflow_id="order-A-1")).result(SOON)
    assert (outcome.workflow_id, outcome.results) == ("order-A-1", {"a": "do_a of A-1"})


async def test_many_workflows_at_once_share_one_client(settings: EngineSettings) -> None:
    saga = definition(node("a"))
    async with orchestrated(settings, *ACTIVITIES, answer=well), client_of(settings) as client:

        async def one(number: int) -> object:
            handle = await client.start(saga, {"order_id": number})
            return (await handle.result(SOON)).results["a"]

        found = await asyncio.gather(*(one(number) for number in range(150)))
    assert found == [f"do_a of {number}" for number in range(150)]


async def test_the_same_start_again_is_the_same_workflow_and_another_is_refused(settings: EngineSettings) -> None:
    saga = definition(node("a"))
    async with orchestrated(settings, *ACTIVITIES, answer=well), client_of(settings) as client:
        first = await (await client.start(saga, {"order_id": 1}, workflow_id="w")).result(SOON)
        again = await (await client.start(saga, {"order_id": 1}, workflow_id="w")).result(SOON)
        with pytest.raises(WorkflowRejectedError, match="take another id") as refused:
            await client.start(saga, {"order_id": 2}, workflow_id="w")
    assert again.run == first.run
    assert refused.value.reason == Reason.OTHER_CONTENT


async def test_what_the_gateway_refuses_is_an_error_with_its_reason(settings: EngineSettings) -> None:
    async with (
        orchestrated(settings, *ACTIVITIES, answer=well),
        client_of(settings, constitutional_hash="0000000000000000") as client,
    ):
        with pytest.raises(WorkflowRejectedError, match="not accepted by the policy") as refused:
            await client.start(definition(node("a")), {})
    assert refused.value.reason == Reason.HASH_UNKNOWN


async def test_a_mistake_is_told_before_anything_is_sent(settings: EngineSettings) -> None:
    await install(settings, *ACTIVITIES)
    async with client_of(settings) as client:
        with pytest.raises(DefinitionError, match="dependency 'x' is no node"):
            await client.start({"name": "test", "nodes": [{"id": "a", "name": "a", "dependencies": ["x"]}]}, {})
        with pytest.raises(StartError, match="node 'a', idempotency_key: the input has no 'order_id'"):
            await client.start(definition(node("a", idempotency_key="k_{order_id}")), {})
    assert await read_topic(settings, Naming(settings.prefix).topic(topics.IN_WORKFLOWS)) == []


async def test_without_agents_the_error_says_what_to_look_at(settings: EngineSettings) -> None:
    await install(settings, *ACTIVITIES)
    async with client_of(settings, answer_within=timedelta(milliseconds=500)) as client:
        with pytest.raises(WorkflowTimeoutError, match=r"nobody has taken or refused it within 0.5 s.*acgs status"):
            await client.start(definition(node("a")), {})


async def test_a_failure_undoes_what_was_done_and_the_events_tell_it(settings: EngineSettings) -> None:
    def answer(command: ActivityCommand) -> object:
        return Outcome.NO_EFFECT if command.activity == "do_c" else "done"

    saga = definition(node("a"), node("b", "a"), node("c", "b"))
    async with orchestrated(settings, *ACTIVITIES, answer=answer), client_of(settings) as client:
        handle = await client.start(saga, {})
        async with aclosing(handle.events()) as happening:
            events = [event async for event in happening]
        outcome = await handle.result(SOON)
    assert (outcome.state, outcome.success, outcome.results) == (WorkflowState.COMPENSATED, False, {})
    assert outcome.cause == "c: as the test says"
    undone = [event.node for event in events if event.direction is Direction.UNDO]
    assert (events[0].event, undone, events[-1].state) == (EventKind.STARTED, ["b", "a"], WorkflowState.COMPENSATED)


async def test_a_workflow_that_was_closed_before_the_client_came_is_found(settings: EngineSettings) -> None:
    saga = definition(node("a"))
    async with orchestrated(settings, *ACTIVITIES, answer=well):
        async with client_of(settings) as client:
            for number in range(20):
                await (await client.start(saga, {"order_id": number}, workflow_id=f"w{number}")).result(SOON)
        async with client_of(settings) as later:
            outcomes = await asyncio.gather(*(later.handle(f"w{number}").result(SOON) for number in range(20)))
            with pytest.raises(WorkflowUnknownError, match="there is no workflow other"):
                await later.handle("other").result(SOON)
    assert [outcome.results["a"] for outcome in outcomes] == [f"do_a of {number}" for number in range(20)]


async def test_commands_change_a_workflow_and_what_it_does_not_take_is_refused(settings: EngineSettings) -> None:
    wait = node("paid", "a", kind=Kind.SIGNAL, signal=SignalWait(deadline_ms=60_000))
    saga = definition(node("a"), wait, node("b", "paid"))
    async with orchestrated(settings, *ACTIVITIES, answer=well), client_of(settings) as client:
        handle = await client.start(saga, {"order_id": 7})
        await eventually(lambda: _waits(handle))
        assert (await handle.pause("counting")).state is WorkflowState.PAUSED
        assert (await handle.resume("counted")).state is WorkflowState.RUNNING
        signalled = await handle.signal("paid", {"amount": 12})
        outcome = await handle.result(SOON)
        with pytest.raises(WorkflowRejectedError, match="it is completed") as refused:
            await handle.cancel("too late")
    assert signalled.result is not None
    assert (signalled.by, signalled.node, signalled.result.value) == ("ada", "paid", {"amount": 12})
    assert outcome.results == {"b": "do_b of 7"}
    assert refused.value.reason == Reason.NOT_APPLICABLE


async def _waits(handle: WorkflowHandle) -> bool:
    return (await handle.status()).attention_count > 0


async def test_a_parked_workflow_is_waited_for_until_an_operator_frees_it(settings: EngineSettings) -> None:
    bad = {"do_b"}

    def answer(command: ActivityCommand) -> object:
        return Outcome.FINAL if command.activity in bad else "done"

    saga = definition(node("a", undo=False, pivot=True), node("b", "a", retry=ONCE), node("c", "b"))
    async with orchestrated(settings, *ACTIVITIES, answer=answer), client_of(settings) as client:
        handle = await client.start(saga, {})
        parked = await handle.result(SOON, until_parked=True)
        waiting = asyncio.create_task(handle.result(SOON))
        with pytest.raises(WorkflowTimeoutError, match=r"is parked_forward after 0.2 s and goes on"):
            await handle.result(timedelta(milliseconds=200))
        with pytest.raises(WorkflowRejectedError, match="look again"):
            await handle.retry("b", parked.status.version - 1, "it was mended")
        assert not waiting.done()
        bad.clear()
        event = await handle.retry("b", parked.status.version, "it was mended")
        freed = await waiting
    assert parked.state is WorkflowState.PARKED_FORWARD
    assert [(one.node, one.status) for one in parked.status.attention] == [("b", StepStatus.UNKNOWN)]
    assert event.version == parked.status.version + 1
    assert freed.state is WorkflowState.COMPLETED


async def test_every_parked_node_of_many_workflows_is_retried_and_refusals_are_told(settings: EngineSettings) -> None:
    bad = {"do_a", "do_b"}

    def answer(command: ActivityCommand) -> object:
        return Outcome.FINAL if command.activity in bad else "done"

    both = [node(id_, "c", retry=ONCE) for id_ in ("a", "b")]
    saga = definition(node("c", undo=False, pivot=True), *both)
    async with orchestrated(settings, *ACTIVITIES, answer=answer), client_of(settings) as client:
        handles = [await client.start(saga, {}, workflow_id=f"w{number}") for number in range(10)]
        for handle in handles:
            await eventually(lambda handle=handle: _counts(handle, 2))
        found = retryable(Selection(name="test").of(await WorkflowBoard(settings).look(), 0))
        bad.clear()
        await handles[3].retry("a", found[[one.workflow_id for one in found].index("w3")].version, "by somebody else")
        told = await retry_all(client, found, "it was mended", lambda _: None)
        states = [(await handle.result(SOON)).state for handle in handles]
    assert set(states) == {WorkflowState.COMPLETED}
    assert (told.done, told.retried) == (10, 19)
    assert [(one.workflow_id, one.node) for one in told.refused] == [("w3", "a")]


async def _counts(handle: WorkflowHandle, nodes: int) -> bool:
    return (await handle.status()).attention_count == nodes


async def test_results_too_large_for_the_status_are_read_from_the_events(settings: EngineSettings) -> None:
    large = "x" * 15_000
    nodes = [node(f"n{number}", activity="do_a", undo=False) for number in range(20)]
    async with (
        orchestrated(settings, *ACTIVITIES, answer=lambda command: f"{command.node}{large}"),
        client_of(settings) as client,
    ):
        outcome = await (await client.start(definition(*nodes), {})).result(SOON)
    assert outcome.status.results is None
    assert outcome.results == {f"n{number}": f"n{number}{large}" for number in range(20)}


async def test_a_result_that_is_kept_elsewhere_is_fetched_where_a_store_is_given(
    settings: EngineSettings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = open_claims(str(tmp_path_factory.mktemp("claims")))
    claim = await store.put(b'{"rows": 3}')
    async with orchestrated(settings, *ACTIVITIES, answer=lambda _: Given(claim=claim)):
        async with client_of(settings, claims=store) as client:
            fetched = await (await client.start(definition(node("a")), {}, workflow_id="w")).result(SOON)
        async with client_of(settings) as client:
            kept = await client.handle("w").result(SOON)
    await store.aclose()
    assert fetched.results == {"a": {"rows": 3}}
    assert kept.results == {"a": Claim(sha256=claim.sha256, bytes=claim.bytes)}


async def test_the_board_has_the_newest_first_and_goes_on_from_where_it_was(settings: EngineSettings) -> None:
    async with orchestrated(settings, *ACTIVITIES, answer=well), client_of(settings) as client:
        board = WorkflowBoard(settings)
        assert await board.look() == []
        for number in range(3):
            await (await client.start(definition(node("a")), {}, workflow_id=f"w{number}")).result(SOON)
        assert [status.workflow_id for status in await board.look()] == ["w2", "w1", "w0"]
        await (await client.start(definition(node("a")), {}, workflow_id="w3")).result(SOON)
        found = await board.look()
        assert (await status_of(settings, "w1")).results is not None
    assert [(status.workflow_id, status.state) for status in found] == [
        (f"w{number}", WorkflowState.COMPLETED) for number in (3, 2, 1, 0)
    ]


async def test_a_client_that_closes_tells_those_who_wait(settings: EngineSettings) -> None:
    async with orchestrated(settings, *ACTIVITIES, answer=lambda _: None):
        async with client_of(settings) as client:
            handle = await client.start(definition(node("a")), {})
            waiting = asyncio.create_task(handle.result())
            await handle.status()
        with pytest.raises(WorkflowError, match="the client of workflows is closed"):
            await waiting
