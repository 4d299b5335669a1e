"""Breakers of a service, all the way to the health table, with Kafka there, away, and back."""

import asyncio
from datetime import timedelta
from pathlib import Path

import purgatory
import pybreaker

from schemas import topics
from schemas.breaker import BreakerEvent, BreakerEventKind
from streams.agents.naming import Naming
from streams.engine.client import EngineSettings
from streams.health import BreakerPublisher, HealthAggregator, purgatory_listener, pybreaker_listener
from tests.support.broker import embedded, engine_settings
from tests.support.eventually import eventually
from tests.support.health import observed
from tests.support.kafka import read_topic
from tests.support.product import HASH, install_product

SOON = timedelta(seconds=1)


async def told(settings: EngineSettings) -> list[BreakerEvent]:
    """What is on `in.breakers`, by sequence."""
    records = await read_topic(settings, Naming(settings.prefix).topic(topics.IN_BREAKERS))
    events = [BreakerEvent.model_validate_json(record.value or b"") for record in records]
    return sorted(events, key=lambda one: one.sequence)


async def test_breakers_of_both_libraries_are_seen_and_say_good_bye(settings: EngineSettings) -> None:
    await install_product(settings)
    async with observed(settings) as seen:
        with BreakerPublisher(settings, service="payments", constitutional_hash=HASH) as publisher:
            health = HealthAggregator(HASH, publisher=publisher)
            ledger = pybreaker.CircuitBreaker(name="ledger", fail_max=1)
            pybreaker_listener.listen(health, ledger)
            factory = purgatory.AsyncCircuitBreakerFactory(default_threshold=1)
            purgatory_listener.listen(health, factory)
            async with await factory.get_breaker("mail"):
                await seen.until("payments", "healthy")
            try:
                ledger.call(_fails)
            except pybreaker.CircuitBreakerError:
                await seen.until("payments", "degraded")
            _, document = await seen.get("/health/payments")
            await asyncio.to_thread(ledger.close)
            await seen.until("payments", "healthy")

        async def is_gone() -> bool:
            return (await seen.get("/health/payments"))[0] == 404

        await eventually(is_gone)
    assert {one["breaker"]: one["state"] for one in document["breakers"]} == {"ledger": "open", "mail": "closed"}
    assert publisher.counts.published == len(await told(settings))


def _fails() -> None:
    raise ConnectionError("the ledger does not answer")


async def test_signs_of_life_keep_a_service_known(settings: EngineSettings) -> None:
    await install_product(settings)
    with BreakerPublisher(settings, service="payments", constitutional_hash=HASH, ttl=SOON) as publisher:
        publisher.on_circuit_state_change("ledger", "closed")

        async def beats() -> bool:
            kinds = [one.kind for one in await told(settings)]
            return kinds.count(BreakerEventKind.HEARTBEAT) >= 3

        await eventually(beats)
    assert (await told(settings))[-1].kind is BreakerEventKind.RETIRED


async def test_what_changes_while_kafka_is_away_is_told_when_it_is_back(prefix: str, tmp_path: Path) -> None:
    with embedded(tmp_path / "kafka") as own_broker:
        assert own_broker.kafka is not None
        settings = engine_settings(own_broker, prefix)
        await install_product(settings)
        with BreakerPublisher(settings, service="payments", constitutional_hash=HASH, most_waiting=5) as publisher:
            publisher.on_circuit_state_change("ledger", "closed")
            await eventually(lambda: publisher.counts.published == 1)
            await asyncio.to_thread(own_broker.kafka.kill)
            for number in range(100):
                publisher.on_circuit_state_change("ledger", ("open", "closed")[number % 2])
                publisher.on_circuit_state_change("mail", ("open", "closed")[number % 2])
            await asyncio.to_thread(own_broker.kafka.restart)

            async def are_told() -> bool:
                changes = [one for one in await told(settings) if one.kind is BreakerEventKind.STATE_CHANGE]
                return sum(one.changes for one in {one.sequence: one for one in changes}.values()) == 201

            await eventually(are_told, timedelta(seconds=120))
        events = await told(settings)
    last = {one.breaker: one.state.value for one in events if one.kind is BreakerEventKind.STATE_CHANGE}
    assert last == {"ledger": "closed", "mail": "closed"}
    assert publisher.counts.merged > 0
