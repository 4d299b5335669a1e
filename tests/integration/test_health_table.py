"""The health table on a real broker: from what services say of their breakers to what dashboards read."""

from dataclasses import replace

from schemas import envelope, topics
from schemas.breaker import BreakerState
from schemas.reasons import Reason
from streams import control
from streams.engine import client
from streams.engine.client import EngineSettings
from streams.engine.status import State
from streams.health.rows import encode
from tests.support.eventually import eventually
from tests.support.health import (
    agree,
    event,
    folded_apart,
    gateway,
    health_table,
    observed,
    publish,
    rows,
    system_rows,
)
from tests.support.kafka import header, read_topic, write
from tests.support.product import PARTITIONS, install_product, policy
from tests.support.workers import running

CLOSED, OPEN, HALF_OPEN = BreakerState


async def test_what_services_say_is_a_row_each_and_one_of_the_system(settings: EngineSettings) -> None:
    await install_product(settings)
    async with observed(settings) as health:
        await publish(settings, [event("payments"), event("stock"), event("mail", breaker="smtp")])
        await health.until("payments", "healthy")
        await health.until("stock", "healthy")
        await health.until("mail", "healthy")
        await publish(settings, [event("stock", OPEN, reason="timeouts")])
        await health.until("stock", "critical")

        async def is_told() -> bool:
            _, document = await health.get()
            return document["system"] is not None and document["system"]["services"]["critical"] == 1

        await eventually(is_told)
        code, document = await health.get()
        _, stock = await health.get("/health/stock")
    assert code == 200
    assert [(one["service"], one["status"]) for one in document["services"]] == [
        ("mail", "healthy"),
        ("payments", "healthy"),
        ("stock", "critical"),
    ]
    system = document["system"]
    assert (system["status"], system["total_breakers"], system["open_breakers"]) == ("degraded", 3, 1)
    assert [(one["service"], one["why"]) for one in system["named"]] == [
        ("stock", "ledger is open at host-1 (timeouts)")
    ]
    assert (stock["closed_breakers"], stock["open_breakers"], stock["recent_flaps"]) == (0, 1, 1)
    assert stock["place"]["topic"] == "health"
    assert stock["age_ms"] >= 0
    found = await rows(settings)
    assert {name: row.status.value for name, row in found.items()} == {
        "mail": "healthy",
        "payments": "healthy",
        "stock": "critical",
    }
    assert (await system_rows(settings))[-1].status.value == "degraded"


async def test_a_service_that_falls_silent_is_written_as_unknown_and_never_called_healthy(
    settings: EngineSettings,
) -> None:
    await install_product(settings)
    async with observed(settings) as health:
        await publish(settings, [event("payments", ttl_s=2), event("stock", ttl_s=3_600)])
        await health.until("payments", "healthy")
        await health.until("payments", "unknown")

        async def is_written() -> bool:
            found = await rows(settings)
            return found["payments"].status.value == "unknown"

        await eventually(is_written)
        await eventually(lambda: health.process.readiness().ok)
        found = await rows(settings)
        _, document = await health.get()
        await publish(settings, [event("payments", kind="heartbeat")])
        await health.until("payments", "healthy")
    assert found["payments"].why == "ledger at host-1 is silent, was closed"
    assert found["payments"].since == found["payments"].breakers[0].fresh_until
    assert found["stock"].status.value == "healthy"
    assert document["system"]["services"] == {"healthy": 1, "degraded": 0, "critical": 0, "unknown": 1}


async def test_a_breaker_that_flaps_for_a_moment_is_seen(settings: EngineSettings) -> None:
    await install_product(settings)
    async with observed(settings) as health:
        await publish(settings, [event("payments"), event("payments", OPEN), event("payments")])

        async def has_flapped() -> bool:
            _, document = await health.get("/health/payments")
            return document.get("recent_flaps") == 2

        await eventually(has_flapped)
        assert await health.status("payments") == "healthy"


async def test_a_service_that_says_good_bye_is_dropped(settings: EngineSettings) -> None:
    await install_product(settings)
    async with observed(settings) as health:
        await publish(settings, [event("payments")])
        await health.until("payments", "healthy")
        await publish(settings, [event("payments", kind="retired")])

        async def is_gone() -> bool:
            code, document = await health.get("/health/payments")
            return (code, document["why"]) == (404, "nothing has been heard of it")

        await eventually(is_gone)
        _, document = await health.get()
    assert document["services"] == []
    assert await rows(settings) == {}


async def test_what_is_no_breaker_event_is_refused_at_the_door_or_stays_where_it_is(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    public, inside = naming.topic(topics.IN_BREAKERS), naming.topic(topics.BREAKERS)
    good = event("payments").model_dump_json()
    async with observed(settings) as health:
        forged = event("forged").model_dump_json().encode()
        await write(settings, [(inside, 0, b"x", b"nonsense", ((envelope.SOURCE, b"p/0/0"),))])
        await write(settings, [(inside, 0, b"x", forged, ())])
        await write(settings, [(public, 0, b"x", good.replace("closed", "ajar").encode(), ())])
        await write(settings, [(public, 0, b"x", good.replace("cdd01ef066bc6cf2", "f" * 16).encode(), ())])
        await publish(settings, [event("payments", HALF_OPEN)])
        await health.until("payments", "degraded")
        _, document = await health.get()
    assert [one["service"] for one in document["services"]] == ["payments"]
    refused = await read_topic(settings, naming.topic(topics.REJECTED))
    reasons = {header(record, envelope.REASON) for record in refused}
    assert reasons == {Reason.INVALID_VALUE.value.encode(), Reason.HASH_UNKNOWN.value.encode()}


async def test_what_an_aborted_transaction_left_is_not_read(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    breakers = naming.topic(topics.BREAKERS)
    producer = client.transactional_producer(settings, f"{settings.prefix}aborts")
    async with observed(settings) as health:
        await producer.start()
        await producer.begin_transaction()
        headers = [(envelope.SOURCE, b"p/0/0")]
        for name in ("ghost", "phantom"):
            value = event(name).model_dump_json().encode()
            await producer.send_and_wait(breakers, value, name.encode(), partition=0, headers=headers)
        await producer.abort_transaction()
        await producer.stop()
        await publish(settings, [event("payments"), event("stock")])
        await health.until("payments", "healthy")
        await health.until("stock", "healthy")
        _, document = await health.get()
    assert [one["service"] for one in document["services"]] == ["payments", "stock"]


async def commit_to_the_end(settings: EngineSettings, topic: str, count: int) -> None:
    """Commits for the table's group more than it has folded, once that many events are there."""

    async def are_there() -> bool:
        return len([one for one in await read_topic(settings, topic) if header(one, envelope.SOURCE)]) == count

    await eventually(are_there)
    partitions = [client.topic_partition(topic, number) for number in range(PARTITIONS)]
    consumer = client.group_consumer(settings, "health-table.fold")
    consumer.assign(partitions)
    await consumer.start()
    await consumer.commit(await consumer.end_offsets(partitions))
    await consumer.stop()


async def test_a_table_goes_on_where_its_rows_stand_whatever_was_committed(settings: EngineSettings) -> None:
    breakers = (await install_product(settings)).topic(topics.BREAKERS)
    first = [event(f"service-{number % 40}", (CLOSED, OPEN)[number % 3 == 0]) for number in range(400)]
    later = [event(f"service-{number % 40}") for number in range(40)]
    async with running(gateway(settings), settings) as worker:
        await worker.until(State.RUNNING, PARTITIONS)
        async with health_table(settings) as health:
            await publish(settings, first)
            await eventually(lambda: health.folded() == (400, 0), account=health.folded)
        await publish(settings, later)
        await commit_to_the_end(settings, breakers, 440)
        async with health_table(settings) as health:
            await eventually(lambda: health.folded() == (40, 0), account=health.folded)
            await health.until("service-7", "healthy")
    agree(await rows(settings), await folded_apart(settings))


async def test_a_record_that_a_writer_cut_off_leaves_behind_is_passed_over_and_written_over(
    settings: EngineSettings,
) -> None:
    naming = await install_product(settings)
    async with observed(settings) as health:
        await publish(settings, [event("payments")])
        await health.until("payments", "healthy")
        old = (await rows(settings))["payments"]
        await publish(settings, [event("payments", OPEN)])
        await health.until("payments", "critical")
        await write(settings, [(naming.topic(topics.HEALTH), old.partition, b"payments", encode(old), ())])

        async def is_mended() -> bool:
            assert await health.status("payments") == "critical"
            return (await rows(settings))["payments"].status.value == "critical"

        await eventually(is_mended)


async def test_the_policy_says_which_services_are_critical(settings: EngineSettings) -> None:
    await install_product(settings)
    async with observed(settings) as health:
        opened = [event("payments", breaker=name) for name in "abc"] + [event("payments", OPEN, breaker="d")]
        await publish(settings, opened)
        await health.until("payments", "degraded")
        await control.publish(settings, policy(2, critical_services=("payments",)))
        await publish(settings, [event("payments", OPEN, breaker="d", kind="heartbeat")])
        await health.until("payments", "critical")


async def test_with_a_token_only_who_sends_it_is_answered(settings: EngineSettings) -> None:
    await install_product(settings)
    async with health_table(settings, token="0123456789abcdef") as health:  # noqa: S106
        assert (await health.get())[0] == 401
        assert (await health.get("/health", Authorization="Bearer wrong"))[0] == 401
        assert (await health.get("/health", Authorization="Bearer 0123456789abcdef"))[0] == 200
        assert (await health.get("/elsewhere", Authorization="Bearer 0123456789abcdef"))[0] == 404


async def test_another_table_takes_over_and_each_serves_all(settings: EngineSettings) -> None:
    await install_product(settings)
    names = [f"service-{number}" for number in range(10)]
    other = replace(settings, client_id="other")
    async with observed(settings) as first:
        await publish(settings, [event(name) for name in names])
        async with health_table(other) as second:
            await publish(settings, [event(name, OPEN) for name in names])
            for health in (first, second):
                for name in names:
                    await health.until(name, "critical")
        await publish(settings, [event(name) for name in names])
        for name in names:
            await first.until(name, "healthy")
