"""A game day of a service: its breaker is forced open, and the health table and recovery take it in earnest."""

from schemas.chaos import ChaosType
from schemas.health import SystemHealthStatus
from schemas.recovery import RecoveryState
from streams.chaos import ChaosScenario
from streams.engine.client import EngineSettings
from streams.recovery.board import events_of
from tests.support.chaotic import chaotic_policy
from tests.support.eventually import eventually
from tests.support.gameday import GOVERNORS, chaos_client
from tests.support.health import health_table, rows
from tests.support.recovered import PROBE, rule
from tests.support.recovering import breakers, recovering, until

S = RecoveryState
BANK = "bank"


async def test_a_service_that_is_forced_open_is_critical_and_recovered_and_stopping_leaves_nothing(
    settings: EngineSettings,
) -> None:
    said = chaotic_policy()
    allowed = {name: getattr(said, name) for name in ("approvers", "operators", "chaos")}
    allowed |= {"recoveries": {BANK: rule(initial_delay="PT0.2S")}, "critical_services": (BANK,)}
    async with (
        recovering(settings, lambda command: command.activity == PROBE, *GOVERNORS, **allowed),
        health_table(settings) as health,
        chaos_client(settings) as client,
    ):
        await breakers(settings, (BANK, "closed"))
        await health.until(BANK, SystemHealthStatus.HEALTHY)
        scenario = ChaosScenario(
            "the bank is down",
            ChaosType.CIRCUIT_BREAKER,
            f"service:{BANK}",
            duration_s=300,
            blast_radius=frozenset({f"service:{BANK}"}),
        )
        begun = await client.run(scenario, "game day")
        await health.until(BANK, SystemHealthStatus.CRITICAL)
        recovered = await until(settings, S.SUCCEEDED, BANK)
        assert (await rows(settings))[BANK].open_breakers == 1
        await client.stop(begun.scenario_id, "seen enough")
        await health.until(BANK, SystemHealthStatus.HEALTHY)

        async def is_written() -> bool:
            return (await rows(settings))[BANK].open_breakers == 0

        await eventually(is_written)
        row = (await rows(settings))[BANK]
        events = await events_of(settings, BANK)
    assert [one.instance for one in row.breakers] == ["shop-1"]
    assert (recovered.attempt, [event.state for event in events]) == (1, [S.SCHEDULED, S.IN_PROGRESS, S.SUCCEEDED])
