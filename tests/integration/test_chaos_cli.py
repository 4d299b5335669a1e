"""`acgs chaos` as operators use it, and calls of activities in workers that were started with --chaos."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from schemas import topics
from schemas.activity import Outcome
from schemas.chaos import ChaosState, ChaosType
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.chaos import ChaosClient, ChaosScenario, statuses
from streams.engine.client import EngineSettings
from streams.engine.status import State
from streams.metrics import Measures
from tests.integration.test_activity_worker import Shop
from tests.integration.test_cli import Acgs, Told
from tests.support.attempts import command
from tests.support.chaotic import OLGA, OTTO
from tests.support.eventually import eventually
from tests.support.gameday import GOVERNORS, install, operator
from tests.support.product import PARTITIONS
from tests.support.signing import key
from tests.support.workers import running


@pytest.fixture
def acgs(settings: EngineSettings) -> Acgs:
    return Acgs(settings)


@asynccontextmanager
async def governed(settings: EngineSettings) -> AsyncIterator[None]:
    """The agents that decide on chaos."""
    await install(settings)
    built = build_agents(GOVERNORS, Naming(settings.prefix), Measures(CollectorRegistry()))
    async with running(built, settings) as worker:
        await worker.until(State.RUNNING, len(built) * PARTITIONS)
        yield


def key_file(folder: Path, name: str) -> str:
    file = folder / f"{name}.key"
    key(name).save(file)
    return str(file)


SLOW = ("slow", "--type", "latency", "--target", "agent:triage", "--latency", "100", "--reason", "game day")


async def test_a_scenario_is_run_listed_and_stopped(acgs: Acgs, settings: EngineSettings, tmp_path: Path) -> None:
    olga, otto = key_file(tmp_path, OLGA), key_file(tmp_path, OTTO)
    async with governed(settings):
        assert "No chaos is in force." in (await acgs("chaos", "list")).err
        begun = await acgs("chaos", "run", *SLOW, "--duration", "300", "--key", olga)
        assert begun.code == 0, begun.err
        assert "latency on agent:triage, 100 ms" in begun.out
        listed = await acgs("chaos", "list")
        assert "1 scenario in force." in listed.err
        (line,) = [line for line in listed.out.splitlines() if "agent:triage" in line]
        assert all(words in line for words in ("in force", "slow", "100 ms", OLGA, "game day", "min"))
        (document,) = (await acgs("chaos", "list", "--json")).documents
        assert f"acgs chaos stop {document['scenario_id']} --key {olga}" in begun.out
        stopped = await acgs("chaos", "stop", document["scenario_id"], "--key", otto, "--reason", "seen enough")
        assert stopped.out == "Stopped: slow.\n"
        assert (await acgs("chaos", "list")).out == ""
        (ended,) = (await acgs("chaos", "list", "--all", "--json")).documents
        assert (ended["state"], ended["ended_by"], ended["why"]) == ("stopped", OTTO, "seen enough")
        again = await acgs("chaos", "stop", document["scenario_id"], "--key", otto, "--reason", "again")
        assert (again.code, "scenario_ended" in again.err) == (1, True)


async def test_the_emergency_stop_ends_all_of_it(acgs: Acgs, settings: EngineSettings, tmp_path: Path) -> None:
    olga = key_file(tmp_path, OLGA)
    async with governed(settings):
        nothing = await acgs("chaos", "stop", "--all", "--key", olga, "--reason", "to be sure")
        assert nothing.out == "Stopped: 0 scenarios. Nothing is in force.\n"
        await acgs("chaos", "run", *SLOW, "--duration", "300", "--key", olga)
        breaker = ("bank", "--type", "circuit_breaker", "--target", "service:bank", "--reason", "who notices?")
        await acgs("chaos", "run", *breaker, "--duration", "300", "--key", olga)
        stopped = await acgs("chaos", "stop", "--all", "--key", olga, "--reason", "a real incident", "--json")
        assert len(stopped.documents[0]["stopped"]) == 2
        assert {one.state for one in await statuses(settings)} == {ChaosState.STOPPED}


async def test_who_waits_sees_it_end(acgs: Acgs, settings: EngineSettings, tmp_path: Path) -> None:
    async with governed(settings):
        told = await acgs("chaos", "run", *SLOW, "--duration", "1", "--key", key_file(tmp_path, OLGA), "--wait")
        assert told.code == 0
        assert told.out.splitlines()[-1] == "slow is over: its time is over."


async def test_ctrl_c_stops_what_is_waited_for(acgs: Acgs, settings: EngineSettings, tmp_path: Path) -> None:
    async with governed(settings):
        arguments = ("chaos", "run", *SLOW, "--duration", "300", "--key", key_file(tmp_path, OLGA), "--wait", "--json")
        async with acgs.started(*arguments) as process:
            assert process.stdout is not None
            begun = json.loads(await process.stdout.readline())
            assert begun["state"] == "in_force"
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
        assert process.returncode == 130, err
        assert json.loads(out)["state"] == "stopped"
        assert [one.why for one in await statuses(settings)] == ["interrupted"]


async def test_refusals_and_mistakes_are_told(acgs: Acgs, settings: EngineSettings, tmp_path: Path) -> None:
    olga, stranger = key_file(tmp_path, OLGA), key_file(tmp_path, "stranger")
    error = ("--type", "error", "--reason", "game day")

    async def run(*arguments: str, key: str = olga) -> Told:
        return await acgs("chaos", "run", "no", *arguments, "--key", key)

    async with governed(settings):
        for arguments, code, words in (
            ((*error, "--target", "agent:chaos"), 1, "protected_target"),
            ((*error, "--target", "agent:nobody"), 1, "unknown_target"),
            ((*error, "--target", "agent:triage", "--blast-radius", "agent:orchestrator"), 2, "outside of the blast"),
            ((*error, "--target", "agent:triage", "--duration", "301"), 2, "301"),
            ((*error, "--target", "triage"), 1, "target"),
            ((*error, "--target", "service:bank"), 1, "error cannot be done to service"),
            ((*error, "--target", "agent:triage", "--latency", "5"), 1, "latency_ms does not belong to error"),
        ):
            told = await run(*arguments)
            assert (told.code, told.out) == (code, ""), told
            assert words in told.err, told.err
        told = await run(*error, "--target", "agent:triage", key=stranger)
        assert (told.code, "is no approver's by epoch 1" in told.err) == (1, True)
        both = await acgs("chaos", "stop", "x", "--all", "--key", olga, "--reason", "no")
        assert (both.code, "name a SCENARIO, or say --all" in both.err) == (2, True)
        assert await statuses(settings) == []


# Activity workers


async def test_calls_are_refused_while_their_breaker_is_forced_open_and_made_once_it_is_not(
    settings: EngineSettings, tmp_path: Path
) -> None:
    shop = Shop(settings, tmp_path)
    async with governed(settings), shop.worker("--chaos") as worker, ChaosClient(settings, operator()) as client:
        target = f"queue:{topics.DEFAULT_QUEUE}"
        await client.run(ChaosScenario("open", ChaosType.CIRCUIT_BREAKER, target, 300.0), "game day")
        await eventually(lambda: "chaos is in force" in worker.said)
        refused = command("echo", 1)
        await shop.send(refused)
        answer = await shop.result(refused)
        assert (answer.outcome, "its breaker is open" in (answer.error or "")) == (Outcome.NEVER_STARTED, True)
        assert await worker.metric("acgs_chaos_injections_total", type="circuit_breaker") == 1
        await client.stop_all("enough")
        await eventually(lambda: "chaos has ended" in worker.said)
        made = command("echo", 2)
        await shop.send(made)
        assert (await shop.result(made)).outcome is Outcome.COMPLETED
        assert shop.begun == {made.workflow_id: 1}


async def test_an_activity_worker_without_chaos_makes_every_call(settings: EngineSettings, tmp_path: Path) -> None:
    shop = Shop(settings, tmp_path)
    async with governed(settings), shop.worker() as worker, ChaosClient(settings, operator()) as client:
        await client.run(ChaosScenario("open", ChaosType.CIRCUIT_BREAKER, "activity:echo", 300.0), "game day")
        commands = [command("echo", number) for number in range(20)]
        await shop.send(*commands)
        assert {one.outcome for one in await shop.all_results(20)} == {Outcome.COMPLETED}
        assert "chaos" not in worker.said


async def test_an_activity_worker_killed_under_chaos_comes_back_without_it_once_it_has_ended(
    settings: EngineSettings, tmp_path: Path
) -> None:
    shop = Shop(settings, tmp_path)
    async with governed(settings), ChaosClient(settings, operator()) as client:
        waits = command("echo", 1)
        async with shop.worker("--chaos") as worker:
            status = await client.run(ChaosScenario("stuck", ChaosType.TIMEOUT, "activity:echo", 300.0), "game day")
            await eventually(lambda: "chaos is in force" in worker.said)
            await shop.send(waits)

            async def is_held() -> bool:
                return await worker.metric("acgs_chaos_injections_total", type="timeout") == 1

            await eventually(is_held)
            worker.signal(signal.SIGKILL)
            await worker.ended()
        await client.stop(status.scenario_id, "enough")
        async with shop.worker("--chaos") as worker:
            assert (await shop.result(waits)).outcome in {Outcome.COMPLETED, Outcome.NEVER_STARTED}
            assert "chaos is in force" not in worker.said
