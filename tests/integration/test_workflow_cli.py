"""`acgs workflow` as its users run it, with the agents of the product behind it."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from compensation.definition import Kind, Retry, SignalWait
from schemas import topics
from schemas.activity import ActivityCommand, Outcome
from schemas.registry import Sender
from streams import control
from streams.agents.naming import Naming
from streams.engine.client import EngineSettings
from streams.errors import InstallationError
from streams.workflows import WorkflowHandle
from tests.integration.test_cli import Acgs
from tests.support.eventually import eventually
from tests.support.kafka import read_topic
from tests.support.orchestrated import workflow_policy
from tests.support.saga import definition, node
from tests.support.signing import approver, key, public
from tests.support.workflows import client_of, install, orchestrated

ACTIVITIES = [f"{kind}_{id_}" for kind in ("do", "undo") for id_ in ("a", "b", "c")]
SIGNAL = definition(node("a"), node("paid", "a", kind=Kind.SIGNAL, signal=SignalWait(deadline_ms=60_000)))


@pytest.fixture
def acgs(settings: EngineSettings) -> Acgs:
    return Acgs(settings)


def well(command: ActivityCommand) -> object:
    return {"of": command.input.get("order_id")}


async def test_a_workflow_is_started_from_a_file_waited_for_listed_and_shown(
    acgs: Acgs, settings: EngineSettings, tmp_path: Path
) -> None:
    file = tmp_path / "order.json"
    file.write_bytes(definition(node("a"), node("b", "a")).canonical())
    (tmp_path / "input.json").write_text('{"order_id": "A-1"}')
    begin = ("workflow", "start", str(file), "--id", "w", "--tag", "shop", "--tenant", "acme")
    async with orchestrated(settings, *ACTIVITIES, answer=well):
        started = await acgs(*begin, "--input", f"@{tmp_path / 'input.json'}", "--wait", "--as", "ada")
        again = await acgs(*begin, "--input", '{"order_id": "A-1"}', "--wait", "--json")
        listed = await acgs("workflow", "list", "--tag", "shop", "--json")
        shown = await acgs("workflow", "show", "w")
        other = await acgs("workflow", "show", "other")
    assert (started.code, started.out.splitlines()[0]) == (0, "w")
    assert started.out.splitlines()[1].startswith("completed after ")
    assert started.out.splitlines()[2] == 'b  {"of": "A-1"}'
    assert json.loads(again.out)["results"] == {"b": {"of": "A-1"}}
    assert [(one["workflow_id"], one["state"], one["requested_by"]) for one in listed.documents] == [
        ("w", "completed", "ada")
    ]
    assert "✓ a  completed\n✓ b  completed\n" in shown.out
    assert "started by ada" in shown.out
    assert "\x1b" not in shown.out
    assert (other.code, "acgs workflow list" in other.err) == (1, True)


async def test_a_definition_that_cannot_run_is_told_line_by_line_and_not_sent(acgs: Acgs) -> None:
    bad = b'{"name": "x", "nodes": [{"id": "a", "name": "a", "dependencies": ["b"]}]}'
    told = await acgs("workflow", "start", "-", stdin=bad)
    assert told.code == 1
    assert "\n  node 'a': dependency 'b' is no node\n  node 'a': a node of kind activity needs activity" in told.err


async def test_a_workflow_that_is_undone_makes_the_exit_code_1(
    acgs: Acgs, settings: EngineSettings, tmp_path: Path
) -> None:
    file = tmp_path / "order.json"
    file.write_bytes(definition(node("a"), node("b", "a")).canonical())

    def answer(command: ActivityCommand) -> object:
        return Outcome.NO_EFFECT if command.activity == "do_b" else "done"

    async with orchestrated(settings, *ACTIVITIES, answer=answer):
        told = await acgs("workflow", "start", str(file), "--id", "w", "--wait")
        followed = await acgs("workflow", "show", "w", "--watch")
    assert told.code == 1
    assert "compensated after" in told.out
    assert "acgs workflow show w" in told.out
    lines = [line.split("  ", 1)[1].strip() for line in followed.out.splitlines() if line[:2].isdecimal()]
    assert [line for line in lines if "undone" in line] == ["a  undone"]
    assert followed.out.splitlines()[-1].endswith(": b: as the test says")


async def test_operators_stop_go_on_and_signal(acgs: Acgs, settings: EngineSettings) -> None:
    async with orchestrated(settings, *ACTIVITIES, answer=well), client_of(settings) as client:
        handle = await client.start(SIGNAL, {}, workflow_id="w")
        await eventually(lambda: _counts(handle, 1))
        needing = await acgs("workflow", "list", "--needs-attention")
        paused = await acgs("workflow", "pause", "w", "--reason", "counting", "--as", "bob")
        advised = await acgs("workflow", "show", "w", "--json")
        resumed = await acgs("workflow", "resume", "w", "--reason", "counted")
        signalled = await acgs("workflow", "signal", "w", "paid", "--payload", '{"amount": 7}')
        refused = await acgs("workflow", "cancel", "w", "--reason", "too late")
        outcome = await handle.result()
    assert (needing.code, "paid: it waits for a signal" in needing.out) == (1, True)
    assert paused.out.startswith("w: paused; it is paused")
    assert [one["commands"][0] for one in json.loads(advised.out)["next"]] == [
        "acgs workflow resume w --reason WHY",
        "acgs workflow signal w paid --payload JSON",
    ]
    assert (resumed.code, signalled.code) == (0, 0)
    assert outcome.results == {"paid": {"amount": 7}}
    assert (refused.code, "not_applicable: it is completed" in refused.err) == (1, True)


async def test_a_parked_node_is_ordered_at_the_version_that_was_seen(acgs: Acgs, settings: EngineSettings) -> None:
    saga = definition(node("a", undo=False, pivot=True), node("b", "a", retry=Retry(attempts=1)), node("c", "b"))

    def answer(command: ActivityCommand) -> object:
        return Outcome.FINAL if command.activity == "do_b" else "done"

    async with orchestrated(settings, *ACTIVITIES, answer=answer), client_of(settings) as client:
        handle = await client.start(saga, {}, workflow_id="w")
        parked = await handle.result(until_parked=True)
        version = str(parked.status.version)
        unnamed = await acgs("workflow", "skip", "w", "b", "--reason", "x")
        stale = await acgs("workflow", "skip", "w", "b", "--version", "1", "--reason", "x")
        retried = await acgs("workflow", "retry", "w", "b", "--version", version, "--reason", "x")
        again = await handle.result(until_parked=True)
        by_hand = ("workflow", "mark-done", "w", "b", "--payload", "5", "--reason", "x")
        marked = await acgs(*by_hand, "--version", str(again.status.version))
        outcome = await handle.result()
    assert (unnamed.code, "add --version N" in unnamed.err) == (2, True)
    assert (stale.code, "look again" in stale.err) == (1, True)
    assert (retried.code, marked.code) == (0, 0)
    assert outcome.results == {"c": "done"}


async def test_once_the_policy_names_operators_their_orders_are_signed(
    acgs: Acgs, settings: EngineSettings, tmp_path: Path
) -> None:
    saga = definition(node("a", undo=False, pivot=True), node("b", "a", retry=Retry(attempts=1)))
    for name in ("olga", "lee", "nobody"):
        key(name).save(tmp_path / name)

    def answer(command: ActivityCommand) -> object:
        return Outcome.FINAL if command.activity == "do_b" else "done"

    def order(version: int, *by: str) -> tuple[str, ...]:
        return ("workflow", "mark-done", "w", "b", "--reason", "by hand", "--version", str(version), *by)

    registry = {"approvers": (approver("olga"), approver("lee")), "operators": ("olga",)}
    async with orchestrated(settings, *ACTIVITIES, answer=answer, **registry), client_of(settings) as client:
        handle = await client.start(saga, {}, workflow_id="w")
        version = (await handle.result(until_parked=True)).status.version
        unsigned = await acgs(*order(version, "--as", "olga"))
        approver_only = await acgs(*order(version, "--key", str(tmp_path / "lee")))
        unknown = await acgs(*order(version, "--key", str(tmp_path / "nobody")))
        signed = await acgs(*order(version, "--key", str(tmp_path / "olga")))
        await handle.result()
        events = await read_topic(settings, Naming(settings.prefix).topic(topics.WORKFLOW_EVENTS))
    assert (unsigned.code, "unsigned" in unsigned.err) == (1, True)
    assert (approver_only.code, "unknown_operator" in approver_only.err) == (1, True)
    assert (unknown.code, "is no approver's by epoch 1" in unknown.err) == (1, True)
    assert signed.code == 0
    (told,) = [one for one in map(json.loads, (event.value or b"" for event in events)) if one["event"] == "ordered"]
    assert (told["by"], told["verified"]) == ("olga", True)


async def test_a_start_is_signed_by_the_sender_whose_key_it_is(
    acgs: Acgs, settings: EngineSettings, tmp_path: Path
) -> None:
    file = tmp_path / "order.json"
    file.write_bytes(definition(node("a")).canonical())
    key("planner").save(tmp_path / "planner.key")
    signed = ("--key", str(tmp_path / "planner.key"), "--wait", "--json")
    senders = (Sender(agent="planner", tenant_id="acme", keys=(public("planner"),)),)
    async with orchestrated(settings, *ACTIVITIES, answer=well, senders=senders, signed_tenants=("acme",)):
        begin = ("workflow", "start", str(file), "--tenant", "acme")
        ended = await acgs(*begin, "--id", "signed", *signed)
        elsewhere = await acgs("workflow", "start", str(file), "--tenant", "bank", *signed)
        await acgs(*begin, "--id", "unsigned", "--as", "planner")
        shown = await acgs("workflow", "show", "unsigned")
    assert (ended.code, ended.documents[0]["state"]) == (0, "completed")
    assert (elsewhere.code, "of tenant 'acme': --tenant names it" in elsewhere.err) == (1, True)
    assert "waits for" in shown.out


async def test_every_parked_node_is_retried_once_somebody_agreed(acgs: Acgs, settings: EngineSettings) -> None:
    bad = {"do_b"}

    def answer(command: ActivityCommand) -> object:
        return Outcome.FINAL if command.activity in bad else "done"

    saga = definition(node("a", undo=False, pivot=True), node("b", "a"))
    async with orchestrated(settings, *ACTIVITIES, answer=answer), client_of(settings) as client:
        tags = [("eu",), ("us",), ("us",)]
        handles = [await client.start(saga, {}, workflow_id=f"w{n}", tags=tag) for n, tag in enumerate(tags)]
        await asyncio.gather(*(handle.result(until_parked=True) for handle in handles))
        bad.clear()
        all_parked = ("workflow", "retry", "--all-parked", "--reason", "it was mended")
        asked = await acgs(*all_parked)
        some = await acgs(*all_parked, "--tag", "us", "--yes")
        rest = await acgs(*all_parked, "--yes")
        none = await acgs(*all_parked, "--yes")
    assert (asked.code, "add --yes" in asked.err) == (2, True)
    assert (some.code, some.out.splitlines()[-1]) == (0, "2 nodes of 2 workflows tried anew, 0 refused.")
    assert rest.out.splitlines()[-1] == "1 node of 1 workflow tried anew, 0 refused."
    assert (none.code, none.out) == (0, "There is no workflow with a parked or blocked node.\n")


async def test_an_interrupted_wait_leaves_the_workflow_as_it_is(
    acgs: Acgs, settings: EngineSettings, tmp_path: Path
) -> None:
    file = tmp_path / "order.json"
    file.write_bytes(SIGNAL.canonical())
    async with orchestrated(settings, *ACTIVITIES, answer=well):
        async with acgs.started("workflow", "start", str(file), "--id", "w", "--tenant", "acme", "--wait") as process:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"w\n"
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
        async with client_of(settings) as client:
            status = await client.handle("w").status()
    assert (process.returncode, out, b"Traceback" in err) == (130, b"", False)
    assert status.state == "running"


async def test_without_workflows_a_list_is_empty_and_without_topics_it_says_what_to_do(
    acgs: Acgs, settings: EngineSettings
) -> None:
    missing = await acgs("workflow", "list")
    await install(settings)
    empty = await acgs("workflow", "list")
    assert (missing.code, "acgs topics create" in missing.err) == (1, True)
    assert (empty.code, empty.out) == (0, "0 workflows.\n")


async def test_a_policy_whose_queue_has_no_topic_is_refused_with_the_command_that_makes_it(
    acgs: Acgs, settings: EngineSettings
) -> None:
    naming = await install(settings)
    document = workflow_policy(2, queues=("default", "payments"), tenant_topics=("globex",))
    with pytest.raises(
        InstallationError, match=r"activities of payments.*topics create --tenant globex --queue payments"
    ):
        await control.publish(settings, document)
    made = await acgs("topics", "create", "--tenant", "globex", "--queue", "payments")
    await control.publish(settings, document)
    again, listed = await acgs("topics", "create"), await acgs("topics", "list", "--json")
    name = naming.topic("activities.payments")
    assert f"made     {name}" in made.out
    assert f"existed  {name}" in again.out
    assert [one["state"] for one in listed.documents if one["topic"] == name] == ["as declared"]


async def _counts(handle: WorkflowHandle, nodes: int) -> bool:
    return (await handle.status()).attention_count == nodes
