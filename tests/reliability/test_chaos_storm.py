"""Chaos while the broker crashes and processes are killed: it ends by itself, and nothing is lost or doubled."""

import asyncio
import os
import random
from datetime import timedelta
from pathlib import Path

import pytest

from schemas import topics
from schemas.chaos import ChaosParameters, ChaosType
from streams.chaos import ChaosScenario
from streams.embedded import EmbeddedKafka, EmbeddedSettings
from tests.support.broker import Broker, engine_settings
from tests.support.eventually import eventually
from tests.support.gameday import GameDay

TARGETS = (f"agent:{topics.TRIAGE}", f"agent:{topics.GATEWAY_MESSAGES}")
LATENCY = ChaosParameters(latency_ms=400)
AFTERWARDS = timedelta(seconds=180)


def _scenario(chosen: random.Random) -> ChaosScenario:
    kind = chosen.choice(
        [ChaosType.LATENCY, ChaosType.ERROR, ChaosType.TIMEOUT, ChaosType.NETWORK_PARTITION, ChaosType.CIRCUIT_BREAKER]
    )
    target = "service:bank" if kind is ChaosType.CIRCUIT_BREAKER else chosen.choice(TARGETS)
    parameters = LATENCY if kind is ChaosType.LATENCY else ChaosParameters()
    return ChaosScenario(f"{kind} of {target}", kind, target, 15.0, blast_radius={target}, parameters=parameters)


@pytest.mark.storm
@pytest.mark.timeout(0)
async def test_chaos_ends_and_nothing_is_lost_whatever_dies_meanwhile(tmp_path: Path) -> None:
    rounds = int(os.environ.get("ACGS_STORM_CHAOS_ROUNDS", "6"))
    chosen = random.Random(int(os.environ.get("ACGS_STORM_SEED", "1")))  # noqa: S311  # chooses what is done
    with EmbeddedKafka(EmbeddedSettings(tmp_path / "kafka")) as kafka:
        settings = engine_settings(Broker(kafka.bootstrap_servers), "chaos.", "storm")
        async with GameDay(settings, tmp_path) as day:
            await day.flows()
            for number in range(rounds):
                await day.run(_scenario(chosen))
                match number % 3:
                    case 0:
                        await asyncio.to_thread(kafka.kill)
                        await asyncio.to_thread(kafka.restart)
                    case 1:
                        day.pipeline.kill()
                        day.pipeline = day.start_pipeline()
                    case _:
                        day.governors.kill()
                        day.governors = day.start_governors()

                async def none() -> bool:
                    return await day.in_force() == []

                await eventually(none, AFTERWARDS, day.pipeline.last_words)
                await day.flows()
            await day.nothing_is_left()
            await day.is_accounted_for()
