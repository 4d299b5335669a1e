"""Scenarios as code describes them, and chaos within one process."""

import asyncio
import time
from typing import Any

import pytest

from compensation.errors import ConstitutionalError
from schemas.chaos import ChaosOrder, ChaosParameters, ChaosType
from streams.chaos import ChaosError, ChaosRunner, ChaosScenario, InjectedError, Operator, commands
from tests.support.chaotic import OLGA, scenario_id
from tests.support.product import HASH
from tests.support.signing import key

OPERATOR = Operator(name=OLGA, key=key(OLGA), constitutional_hash=HASH)


def test_the_seeds_scenario_is_written_as_it_stands() -> None:
    made = ChaosScenario(
        name="slow bank",
        chaos_type=ChaosType("latency"),
        target="bank",
        duration_s=10.0,
        max_duration_s=300.0,
        blast_radius={"bank", "shop"},
        require_hash_validation=True,
    )
    assert (made.duration_ms, made.blast_radius) == (10_000, {"bank", "shop"})
    assert ChaosScenario("slow bank", ChaosType.LATENCY, "bank").blast_radius == {"bank"}


def test_the_seeds_six_types_have_its_values() -> None:
    assert {one.name: one.value for one in ChaosType} == {
        "LATENCY": "latency",
        "ERROR": "error",
        "CIRCUIT_BREAKER": "circuit_breaker",
        "RESOURCE_EXHAUSTION": "resource_exhaustion",
        "NETWORK_PARTITION": "network_partition",
        "TIMEOUT": "timeout",
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"require_hash_validation": False}, "always validated"),
        ({"duration_s": 300.1}, "300 at most"),
        ({"duration_s": 0}, "above 0"),
        ({"duration_s": float("nan")}, "above 0"),
        ({"duration_s": 11.0, "max_duration_s": 10.0}, "10 at most"),
        ({"max_duration_s": 301.0}, "300 at most"),
        ({"max_duration_s": float("inf")}, "300 at most"),
        ({"blast_radius": {"shop"}}, "outside of the blast radius"),
    ],
)
def test_a_scenario_that_breaks_a_limit_cannot_be_made(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ChaosScenario("x", ChaosType.ERROR, "bank", **changes)


def test_a_lane_is_inside_its_agents_blast_radius() -> None:
    made = ChaosScenario("x", ChaosType.ERROR, "lane:triage/0", blast_radius={"agent:triage"})
    assert made.blast_radius == {"agent:triage"}


def test_a_command_says_what_its_scenario_does_and_is_void_two_minutes_later() -> None:
    made = ChaosScenario("x", ChaosType.LATENCY, "agent:triage", 0.5)
    command = commands.run(OPERATOR, made, "game day", scenario_id(0)).command
    assert (command.command, command.duration_ms, command.blast_radius) == (ChaosOrder.RUN, 500, ("agent:triage",))
    assert command.parameters == ChaosParameters(latency_ms=100)
    assert (command.expires_at - command.created_at).total_seconds() == 120


@pytest.mark.parametrize("target", ["bank", "service:bank", "agent:*"])
def test_a_command_that_the_contract_does_not_know_is_not_even_sent(target: str) -> None:
    with pytest.raises(ChaosError):
        commands.run(OPERATOR, ChaosScenario("x", ChaosType.ERROR, target), "game day", scenario_id(0))
    with pytest.raises(ChaosError, match="scenario_id"):
        commands.stop(OPERATOR, "no uuid", "game day")


# Within one process


@pytest.mark.parametrize(
    ("chaos_type", "error"),
    [
        (ChaosType.ERROR, InjectedError),
        (ChaosType.CIRCUIT_BREAKER, InjectedError),
        (ChaosType.NETWORK_PARTITION, ConnectionError),
        (ChaosType.TIMEOUT, TimeoutError),
    ],
)
async def test_a_target_fails_while_its_scenario_is_in_force_and_no_other_does(
    chaos_type: ChaosType, error: type[Exception]
) -> None:
    async with ChaosRunner(HASH) as runner, asyncio.timeout(10):
        runner.begin(ChaosScenario("x", chaos_type, "bank", 0.3), HASH)
        await runner.reach("shop")
        with pytest.raises(error, match="bank"):
            await runner.reach("bank")


async def test_latency_holds_up_and_a_scenario_ends_by_itself() -> None:
    async with ChaosRunner(HASH) as runner, asyncio.timeout(10):
        late = ChaosScenario("x", ChaosType.LATENCY, "bank", 0.2, parameters=ChaosParameters(latency_ms=5_000))
        runner.begin(late, HASH)
        began = time.monotonic()
        await runner.reach("bank")
        assert 0.1 < time.monotonic() - began < 3
        assert runner.in_force == []


async def test_an_emergency_stop_lets_everything_go() -> None:
    async with ChaosRunner(HASH) as runner, asyncio.timeout(10):
        first = runner.begin(ChaosScenario("x", ChaosType.ERROR, "bank", 300), HASH)
        second = runner.begin(ChaosScenario("y", ChaosType.NETWORK_PARTITION, "bank", 300), HASH)
        assert runner.in_force == [first, second]
        runner.stop(first)
        assert runner.in_force == [second]
        runner.emergency_stop()
        await runner.reach("bank")
        assert runner.in_force == []


async def test_the_hash_is_validated_before_anything_is_done() -> None:
    async with ChaosRunner(HASH) as runner:
        with pytest.raises(ConstitutionalError):
            runner.begin(ChaosScenario("x", ChaosType.ERROR, "bank"), "f" * 16)
        assert runner.in_force == []


async def test_nothing_is_begun_in_a_runner_that_is_not_entered_or_has_been_left() -> None:
    runner, fails = ChaosRunner(HASH), ChaosScenario("x", ChaosType.ERROR, "bank")
    with pytest.raises(RuntimeError, match="enter the runner"):
        runner.begin(fails, HASH)
    async with runner:
        runner.begin(fails, HASH)
    with pytest.raises(RuntimeError, match="enter the runner"):
        runner.begin(fails, HASH)
    await runner.reach("bank")


async def test_parameters_of_another_type_are_refused() -> None:
    async with ChaosRunner(HASH) as runner:
        with pytest.raises(ValueError, match="memory_mib does not belong to error"):
            runner.begin(ChaosScenario("x", ChaosType.ERROR, "bank", parameters=ChaosParameters(memory_mib=1)), HASH)
        with pytest.raises(ValueError, match="needs memory_mib"):
            runner.begin(ChaosScenario("x", ChaosType.RESOURCE_EXHAUSTION, "bank"), HASH)
