"""`acgs health` and `acgs run health-table` as their users run them."""

import asyncio
import json
import os
import signal

import psutil
import pytest

from schemas import topics
from schemas.breaker import BreakerState
from streams.engine.client import EngineSettings
from streams.engine.status import State
from tests.integration.test_cli import Acgs
from tests.support.eventually import eventually
from tests.support.health import event, gateway, observed, publish, rows
from tests.support.product import PARTITIONS, install_product
from tests.support.workers import running

OPEN = BreakerState.OPEN


@pytest.fixture
def acgs(settings: EngineSettings) -> Acgs:
    return Acgs(settings)


async def test_services_are_shown_the_gravest_first_and_one_with_each_breaker(
    acgs: Acgs, settings: EngineSettings
) -> None:
    await install_product(settings)
    async with observed(settings) as health:
        lasting = {"ttl_s": 3_600}
        told = [event("alpha", **lasting), event("\x1b[31mbeta", OPEN, reason="time\nouts", **lasting)]
        await publish(settings, [*told, event("beta", OPEN, **lasting)])
        for name, status in (("alpha", "healthy"), ("beta", "critical")):
            await health.until(name, status)

        async def is_whole() -> bool:
            _, document = await health.get()
            return bool(document["system"]) and document["system"]["total_breakers"] == 3

        await eventually(is_whole)
        listed = await acgs("health")
        one = await acgs("health", "beta")
        as_json = await acgs("health", "--json")
        checks = [await acgs("health", name, "--check") for name in ("alpha", "beta", "nobody")]
        wrong = await acgs("health", "--watch", "--json")
    assert listed.code == 0
    lines = listed.out.splitlines()
    assert lines[0].startswith("system critical for ")
    assert [line.split()[0] for line in lines[2:]] == ["service", "\\x1b[31mbeta", "beta", "alpha"]
    assert "\x1b" not in listed.out
    assert "ledger   host-1    open" in one.out
    assert "health/" in one.out
    assert [found["service"] for found in json.loads(as_json.out)["services"]] == ["\x1b[31mbeta", "alpha", "beta"]
    assert [(told.code, told.out.split()[1].rstrip(":")) for told in checks] == [
        (0, "healthy"),
        (1, "critical"),
        (1, "unknown"),
    ]
    assert wrong.code == 2


async def test_without_a_health_table_it_says_so_and_what_is_known_is_as_of_now(
    acgs: Acgs, settings: EngineSettings
) -> None:
    await install_product(settings)
    nothing = await acgs("health")
    async with observed(settings) as health:
        await publish(settings, [event("alpha", ttl_s=3)])
        await health.until("alpha", "healthy")
        await health.until("alpha", "unknown")
    told = await acgs("health")
    assert "acgs run health-table" in nothing.out
    assert nothing.code == 0
    assert "alpha" in told.out
    assert "is silent, was closed" in told.out


async def test_watched_in_a_pipe_each_change_is_a_line_and_ctrl_c_ends_it(acgs: Acgs, settings: EngineSettings) -> None:
    await install_product(settings)
    async with observed(settings), acgs.started("health", "alpha", "--watch") as process:
        await publish(settings, [event("alpha")])
        assert process.stdout is not None
        first = await asyncio.wait_for(process.stdout.readline(), 60)
        await publish(settings, [event("alpha", OPEN)])
        second = await asyncio.wait_for(process.stdout.readline(), 60)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 60) == 130
    assert first.decode().split(" ", 1)[1] == "alpha is healthy: every breaker is closed\n"
    assert second.decode().split(" ", 1)[1] == "alpha is critical: ledger is open at host-1\n"


async def test_a_table_that_is_killed_is_started_again_and_nothing_is_forgotten(
    acgs: Acgs, settings: EngineSettings
) -> None:
    await install_product(settings)
    async with running(gateway(settings), settings) as worker:
        await worker.until(State.RUNNING, PARTITIONS)
        async with acgs.started("run", topics.HEALTH_TABLE) as process:
            await publish(settings, [event("alpha"), event("beta", OPEN)])

            async def are_folded() -> bool:
                found = await rows(settings)
                return {name: row.status.value for name, row in found.items()} == {
                    "alpha": "healthy",
                    "beta": "critical",
                }

            await eventually(are_folded)
            (child,) = _children(process.pid)
            os.kill(child, signal.SIGKILL)
            await publish(settings, [event("alpha", OPEN), event("beta")])

            async def are_folded_again() -> bool:
                found = await rows(settings)
                return {name: row.status.value for name, row in found.items()} == {
                    "alpha": "critical",
                    "beta": "healthy",
                }

            await eventually(are_folded_again)
            process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(process.wait(), 60) == 0


def _children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children()]
