"""Commands for workflows as a client makes them, and who is told what becomes of them."""

import asyncio
import math

import orjson
import pytest
from pydantic import JsonValue

from compensation.definition import MAX_BYTES, WorkflowDefinition
from compensation.errors import DefinitionError, StartError
from handlers.gateway import Admission, Admitted
from schemas import envelope
from schemas.activity import MAX_RESULT_BYTES
from schemas.policy import published
from schemas.workflow import MAX_INPUT_BYTES, CommandKind, EventKind, WorkflowCommand, WorkflowEvent, WorkflowState
from streams.engine.records import InputRecord
from streams.errors import BrokerError
from streams.refusals import Refusals
from streams.workflows import WorkflowRejectedError, WorkflowUnknownError, commands
from streams.workflows.answering import Answers
from streams.workflows.commands import Prepared, Sender
from streams.workflows.watching import Watch
from tests.support.product import HASH, policy
from tests.support.saga import definition, node
from tests.support.workflow_log import RUN, status

SENDER = Sender(tenant_id="acme", requested_by="ada", constitutional_hash=HASH)
COMMAND_ID = "0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10"
GATEWAY = Admission(WorkflowCommand, lambda command: command.workflow_id)


def start(saga: WorkflowDefinition | dict[str, object], given: dict[str, JsonValue], **changes: object) -> Prepared:
    named = {"workflow_id": "w", "tags": (), **changes}
    return commands.start(SENDER, saga, given, **named)  # type: ignore[arg-type]  # a test's fields


def admitted(value: bytes) -> object:
    decided = GATEWAY.decide(value, (), published(policy().canonical()), 0)
    return decided.key if isinstance(decided, Admitted) else decided


def test_what_is_sent_passes_the_gateway_and_says_the_same() -> None:
    saga = definition(node("a"), node("b", "a", idempotency_key="k_{order_id}"))
    given: dict[str, JsonValue] = {"order_id": "A-1", "lines": [{"n": 1, "gift": None}], "price": 1.5}
    prepared = start(saga, given, tags=("shop",))
    assert admitted(prepared.value) == b"w"
    sent = WorkflowCommand.model_validate_json(prepared.value)
    assert (sent.input, sent.tags, sent.command_id) == (given, ("shop",), prepared.command.command_id)
    assert WorkflowDefinition.parse(orjson.dumps(sent.definition)).digest() == saga.digest()


@pytest.mark.parametrize("payload", [{"amount": None}, [], 0, False, "x"])
def test_a_payload_is_sent_as_it_is(payload: JsonValue) -> None:
    prepared = commands.order(SENDER, CommandKind.SIGNAL, "w", node="paid", payload=payload)
    assert orjson.loads(prepared.value)["payload"] == payload
    assert admitted(prepared.value) == b"w"


def test_every_problem_of_a_definition_is_told_with_its_place() -> None:
    with pytest.raises(DefinitionError) as told:
        start({"name": "x", "nodes": [{"id": "a", "name": "a", "dependencies": ["b"]}]}, {})
    assert told.value.problems == (
        "node 'a': dependency 'b' is no node",
        "node 'a': a node of kind activity needs activity",
    )


def test_every_template_that_the_input_does_not_fill_is_told_with_its_place() -> None:
    saga = definition(node("a", idempotency_key="{x}"), node("b", idempotency_key="{y}"))
    with pytest.raises(StartError) as told:
        start(saga, {"y": 1.5})
    assert "node 'a', idempotency_key: the input has no 'x'" in str(told.value)
    assert "node 'b', idempotency_key: 'y', which '{y}' needs, is no text or integer" in str(told.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": 2**53}, "the input is not JSON that every reader reads alike"),
        ({"n": math.nan}, "the input is not JSON that every reader reads alike"),
        ({"n": "\ud800"}, "the input is not JSON that every reader reads alike"),
        ({"n": "x" * MAX_INPUT_BYTES}, "allowed are 262144"),
    ],
)
def test_an_input_that_the_gateway_would_refuse_is_not_sent(given: dict[str, JsonValue], words: str) -> None:
    with pytest.raises(StartError, match=words):
        start(definition(node("a")), given)


def test_an_input_may_be_nested_as_deep_as_the_gateway_takes_it_and_no_deeper() -> None:
    assert admitted(start(definition(node("a")), nested(31)).value) == b"w"
    with pytest.raises(StartError, match="nested deeper than 32"):
        start(definition(node("a")), nested(32))


def nested(depth: int) -> dict[str, JsonValue]:
    made: dict[str, JsonValue] = {}
    for _ in range(depth - 1):
        made = {"x": made}
    return made


def test_what_is_too_large_is_not_sent() -> None:
    with pytest.raises(StartError, match="the payload has 16377 bytes as JSON"):
        commands.order(SENDER, CommandKind.SIGNAL, "w", node="a", payload="x" * (MAX_RESULT_BYTES - 9))
    large = {"name": "x" * 200, "nodes": [{"id": f"n{n}", "name": "x" * 200, "activity": "a"} for n in range(2_500)]}
    with pytest.raises(DefinitionError, match=f"allowed are {MAX_BYTES}"):
        start(large, {})


@pytest.mark.parametrize(
    ("changes", "place"), [({"workflow_id": "no spaces"}, "workflow_id"), ({"tags": ("",)}, "tags.0")]
)
def test_a_field_that_is_not_as_the_contract_says_is_named(changes: dict[str, object], place: str) -> None:
    with pytest.raises(StartError, match=f"^{place}: "):
        start(definition(node("a")), {}, **changes)


# What becomes of them


def event(**changes: object) -> InputRecord:
    about: dict[str, object] = {"workflow_id": "w", "run": RUN, "version": 2, "at": 1, "state": WorkflowState.RUNNING}
    made = WorkflowEvent.model_validate({"event": EventKind.PAUSED, "command_id": COMMAND_ID, **about, **changes})
    return InputRecord("events", 0, 0, 0, b"w", made.model_dump_json().encode())


def refusal(source: bytes, reason: bytes = b"not_applicable") -> InputRecord:
    own = ((envelope.SOURCE, source), (envelope.REASON, reason), (envelope.DETAIL, b"it is closed"))
    return InputRecord("rejected", 0, 0, 0, b"w", b"{}", (*own, (envelope.SOURCE, b"a producer's own")))


async def test_an_answer_is_the_event_of_the_same_command() -> None:
    answers = Answers()
    with answers.expecting("w", COMMAND_ID) as answer:
        answers.take(event(command_id=None))
        answers.take(event(command_id="1" * 8 + COMMAND_ID[8:]))
        assert not answer.done()
        answers.take(event(version=7))
        assert (await answer).version == 7


async def test_a_refusal_is_told_by_its_place_even_if_it_comes_before_the_place_is_known() -> None:
    answers, refusals = Answers(), Refusals("p.in.workflows", WorkflowRejectedError)
    with answers.expecting("w", COMMAND_ID) as answer:
        refusals.take(refusal(b"p.in.workflows/0/8"))
        with refusals.expecting(b"p.in.workflows/0/7", answer):
            assert not answer.done()
        refusals.take(refusal(b"p.in.workflows/0/7"))
        with (
            refusals.expecting(b"p.in.workflows/0/7", answer),
            pytest.raises(WorkflowRejectedError, match="not_applicable: it is closed"),
        ):
            await answer


async def test_refusals_of_other_topics_push_out_none_of_ours() -> None:
    answers, refusals = Answers(), Refusals("p.in.workflows", WorkflowRejectedError)
    refusals.take(refusal(b"p.in.workflows/0/7"))
    for offset in range(2_000):
        refusals.take(refusal(b"p.in.messages/0/%d" % offset))
    with (
        answers.expecting("w", COMMAND_ID) as answer,
        refusals.expecting(b"p.in.workflows/0/7", answer),
        pytest.raises(WorkflowRejectedError),
    ):
        await answer


def record(offset: int, value: bytes | None) -> InputRecord:
    return InputRecord("status", 0, offset, 0, b"w", value)


def said(version: int, state: WorkflowState = WorkflowState.RUNNING) -> bytes:
    return status(version=version, state=state).model_dump_json().encode()


async def test_a_watch_keeps_the_newest_whatever_comes_first() -> None:
    watch = Watch("w")
    watch.take(record(9, said(3)))
    watch.take(record(4, said(1)))
    watch.take(record(10, b"of another version"))
    assert (await watch.until(lambda _: True)).version == 3


async def test_all_who_wait_are_woken_by_what_they_wait_for() -> None:
    watch = Watch("w")
    waiting = [asyncio.create_task(watch.until(lambda one: one.state is WorkflowState.COMPLETED)) for _ in range(3)]
    await asyncio.sleep(0)
    watch.take(record(1, said(1)))
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    watch.take(record(2, said(2, WorkflowState.COMPLETED)))
    assert [(await task).version for task in waiting] == [2, 2, 2]


async def test_who_waits_for_a_workflow_that_is_forgotten_is_told() -> None:
    watch = Watch("w")
    watch.take(record(1, said(1)))
    waiting = asyncio.create_task(watch.until(lambda one: one.state is WorkflowState.COMPLETED))
    await asyncio.sleep(0)
    watch.take(record(2, None))
    with pytest.raises(WorkflowUnknownError):
        await waiting


async def test_who_looked_in_vain_is_told_and_not_who_knows_that_it_has_begun() -> None:
    unknown, begun = Watch("w"), Watch("w")
    begun.expect()
    for watch in (unknown, begun):
        watch.look_ended()
    with pytest.raises(WorkflowUnknownError):
        await unknown.until(lambda _: True)
    waiting = asyncio.create_task(begun.until(lambda _: True))
    await asyncio.sleep(0)
    begun.take(record(1, said(1)))
    assert (await waiting).version == 1


async def test_a_failure_reaches_those_who_wait_now_and_those_who_come_later() -> None:
    watch = Watch("w")
    waiting = asyncio.create_task(watch.until(lambda _: True))
    await asyncio.sleep(0)
    watch.fail(BrokerError("gone"))
    with pytest.raises(BrokerError, match="gone"):
        await waiting
    with pytest.raises(BrokerError, match="gone"):
        await watch.until(lambda _: True)
