"""Chaos on a real broker: of each type, stopped in the middle, under SIGKILL, and where nobody allowed it."""

import time
from pathlib import Path

import pytest

from schemas import topics
from schemas.chaos import ChaosParameters, ChaosState, ChaosType
from streams.chaos import ChaosRefusedError, ChaosScenario, statuses
from streams.chaos.statuses import is_in_force
from streams.engine.client import EngineSettings
from tests.support.eventually import eventually
from tests.support.gameday import PATIENCE, GameDay
from tests.support.kafka import read_topic

TRIAGE, GATEWAY = f"agent:{topics.TRIAGE}", f"agent:{topics.GATEWAY_MESSAGES}"
BOTH = frozenset({TRIAGE, GATEWAY})
SLOW = ChaosParameters(latency_ms=400)
QUICK_S = 10
FULL = ChaosParameters(memory_mib=64, cpu_percent=30)


def scenario(chaos_type: ChaosType, target: str = TRIAGE, seconds: float = 4, **changes: object) -> ChaosScenario:
    parameters = {ChaosType.LATENCY: SLOW, ChaosType.RESOURCE_EXHAUSTION: FULL}.get(chaos_type, ChaosParameters())
    given = {"duration_s": seconds, "blast_radius": BOTH | {target}, "parameters": parameters, **changes}
    return ChaosScenario(f"{chaos_type} of {target}", chaos_type, target, **given)  # type: ignore[arg-type]


EVIDENCE = {
    ChaosType.ERROR: ("InjectedError", "is settled: committed", "is settled: never_happened"),
    ChaosType.TIMEOUT: ("TimeoutError",),
    ChaosType.NETWORK_PARTITION: ("has cut lane gateway-messages/1 off from Kafka",),
}
"""What the pipeline's log says once chaos has done all of its work."""


@pytest.mark.timeout(600)
async def test_under_chaos_of_each_type_nothing_is_lost_or_doubled(settings: EngineSettings, tmp_path: Path) -> None:
    async with GameDay(settings, tmp_path) as day:
        await day.flows()
        for one in (
            scenario(ChaosType.LATENCY),
            scenario(ChaosType.ERROR, GATEWAY, seconds=120),
            scenario(ChaosType.TIMEOUT, "lane:triage/0", seconds=120),
            scenario(ChaosType.NETWORK_PARTITION, "lane:gateway-messages/1"),
            scenario(ChaosType.RESOURCE_EXHAUSTION),
            scenario(ChaosType.CIRCUIT_BREAKER, "service:bank", seconds=1),
        ):
            status = await day.run(one)
            assert (status.state, status.target) == (ChaosState.IN_FORCE, one.target)
            if one.chaos_type is not ChaosType.CIRCUIT_BREAKER:
                await has_worked(day, one.chaos_type)
            if one.duration_s > QUICK_S:
                await day.client.stop(status.scenario_id, "seen enough")
            assert (await day.client.ended(status.scenario_id)).state is not ChaosState.IN_FORCE
            await day.flows()
        await day.nothing_is_left()
        await day.is_accounted_for()


async def has_worked(day: GameDay, chaos_type: ChaosType) -> None:
    """Returns when chaos of the type has been done, and what follows from it has happened."""

    async def is_done() -> bool:
        said = all(day.pipeline.has_said(words) for words in EVIDENCE.get(chaos_type, ()))
        return said and await day.done(chaos_type) > 0

    await eventually(is_done, PATIENCE, day.pipeline.last_words)


@pytest.mark.timeout(300)
async def test_an_emergency_stop_in_the_middle_leaves_no_trace(settings: EngineSettings, tmp_path: Path) -> None:
    async with GameDay(settings, tmp_path) as day:
        await day.flows()
        for one in (
            scenario(ChaosType.NETWORK_PARTITION, TRIAGE, seconds=300),
            scenario(ChaosType.ERROR, GATEWAY, seconds=300),
            scenario(ChaosType.CIRCUIT_BREAKER, "service:bank", seconds=300),
        ):
            await day.run(one)
        await eventually(day.is_failing, PATIENCE)
        stop = await day.client.stop_all("a real incident")
        assert len(stop.stopped) == 3
        assert {one.state for one in await statuses(settings)} == {ChaosState.STOPPED}
        await day.nothing_is_left()
        kinds = [one.value for one in await read_topic(settings, day.naming.topic(topics.BREAKERS)) if one.value]
        assert [b'"retired"' in value for value in kinds] == [False, False, True]
        await day.flows()
        await day.is_accounted_for()


@pytest.mark.timeout(300)
async def test_a_worker_killed_under_chaos_comes_back_with_what_is_still_in_force_and_without_it_once_it_ended(
    settings: EngineSettings, tmp_path: Path
) -> None:
    async with GameDay(settings, tmp_path) as day:
        await day.flows()
        status = await day.run(scenario(ChaosType.NETWORK_PARTITION, TRIAGE, seconds=300))
        await eventually(day.is_failing, PATIENCE)
        day.pipeline.kill()
        day.pipeline = day.start_pipeline()
        await eventually(lambda: day.pipeline.has_said("chaos is in force"), PATIENCE)
        await eventually(lambda: day.pipeline.has_said("has cut lane triage"), PATIENCE)
        day.pipeline.kill()
        await day.client.stop(status.scenario_id, "seen enough")
        day.pipeline = day.start_pipeline()
        await day.flows()
        assert not day.pipeline.has_said("chaos is in force")
        assert not day.pipeline.has_said("has cut lane")
        assert await day.done(ChaosType.NETWORK_PARTITION) == 0
        await day.is_accounted_for()


@pytest.mark.timeout(300)
async def test_a_scenario_ends_although_what_should_end_it_is_dead(settings: EngineSettings, tmp_path: Path) -> None:
    async with GameDay(settings, tmp_path) as day:
        await day.flows()
        await day.run(scenario(ChaosType.CIRCUIT_BREAKER, "service:bank", seconds=8))
        status = await day.run(scenario(ChaosType.NETWORK_PARTITION, TRIAGE, seconds=8))
        day.governors.kill()
        await eventually(day.is_failing, PATIENCE)
        await day.flows()
        known = {one.scenario_id: one for one in await statuses(settings)}
        assert known[status.scenario_id].state is ChaosState.IN_FORCE
        assert not any(is_in_force(one, time.time() * 1_000) for one in known.values())
        day.governors = day.start_governors()
        assert (await day.client.ended(status.scenario_id)).state is ChaosState.OVER
        await day.nothing_is_left()
        await day.is_accounted_for()


@pytest.mark.timeout(300)
async def test_a_process_without_chaos_is_not_touched(settings: EngineSettings, tmp_path: Path) -> None:
    async with GameDay(settings, tmp_path, has_chaos=False) as day:
        await day.flows()
        for chaos_type in (ChaosType.NETWORK_PARTITION, ChaosType.ERROR, ChaosType.LATENCY):
            await day.run(scenario(chaos_type, seconds=300))
        for _ in range(3):
            await day.flows()
        assert len(await day.in_force()) == 3
        assert not day.pipeline.has_said("chaos")
        assert not await day.is_failing()
        await day.client.stop_all("enough")
        await day.is_accounted_for()


@pytest.mark.timeout(300)
async def test_a_scenario_ends_by_itself_soon_after_its_time_and_refusals_say_why(
    settings: EngineSettings, tmp_path: Path
) -> None:
    async with GameDay(settings, tmp_path) as day:
        status = await day.run(scenario(ChaosType.ERROR, seconds=2))
        with pytest.raises(ChaosRefusedError, match="duplicate_scenario"):
            await day.client.run(scenario(ChaosType.ERROR), "again", scenario_id=status.scenario_id)
        with pytest.raises(ChaosRefusedError, match="protected_target"):
            await day.run(scenario(ChaosType.ERROR, "agent:chaos"))
        ended = await day.client.ended(status.scenario_id)
        assert ended.state is ChaosState.OVER
        assert ended.ended_ms is not None
        assert 0 <= ended.ended_ms - ended.until_ms < 5_000
        with pytest.raises(ChaosRefusedError, match="scenario_ended"):
            await day.client.stop(status.scenario_id, "too late")
