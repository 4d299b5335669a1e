"""The client behind the engine, where it does not end as it should."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from streams import loop
from streams.engine import client
from tests.support.broker import Broker, engine_settings
from tests.support.eventually import eventually
from tests.support.kafka import create_topics


async def test_a_consumer_whose_stop_fails_keeps_no_connection(broker: Broker, prefix: str) -> None:
    settings = engine_settings(broker, prefix)
    await create_topics(settings, [f"{prefix}in"], 1)
    consumer: Any = client.reader(settings)
    await consumer.start()
    partition = client.topic_partition(f"{prefix}in", 0)
    consumer.assign([partition])
    consumer.seek(partition, 0)
    await consumer.getmany(timeout_ms=100)
    connections = list(consumer._client._conns.values())  # noqa: SLF001  # the client's insides are what is tested
    stop_fetching = consumer._fetcher.close  # noqa: SLF001

    async def fails() -> None:
        await stop_fetching()
        raise KafkaError("as when its sender or coordinator ended in an error")

    consumer._fetcher.close = fails  # noqa: SLF001
    assert any(connection.connected() for connection in connections)
    await client.close(consumer, settings.turn_timeout)
    assert not any(connection.connected() for connection in connections)


async def test_a_consumer_that_is_about_to_fetch_again_closes_without_cancelling_who_closes_it(
    broker: Broker, prefix: str
) -> None:
    settings = engine_settings(broker, prefix)
    await create_topics(settings, [f"{prefix}in"], 1)
    consumer: Any = client.reader(settings)
    await consumer.start()
    fetcher: Any = consumer._fetcher  # noqa: SLF001  # the client's insides are what is tested
    has_failed = asyncio.Event()

    async def fails(*_: object, **__: object) -> None:
        has_failed.set()
        raise KafkaConnectionError("as when the broker has gone")

    consumer._client.send = fails  # noqa: SLF001
    fetcher._retry_backoff = 60  # noqa: SLF001
    partition = client.topic_partition(f"{prefix}in", 0)
    consumer.assign([partition])
    consumer.seek(partition, 0)
    await has_failed.wait()
    await asyncio.wait_for(client.close(consumer, settings.turn_timeout), timeout=30)
    assert not any(connection.connected() for connection in consumer._client._conns.values())  # noqa: SLF001


async def test_closing_a_consumer_can_be_cancelled(broker: Broker, prefix: str) -> None:
    settings = engine_settings(broker, prefix)
    consumer: Any = client.reader(settings)
    await consumer.start()
    closes, own_close = asyncio.Event(), consumer._fetcher.close  # noqa: SLF001

    async def takes_for_ever() -> None:
        closes.set()
        await own_close()
        await asyncio.Event().wait()

    consumer._fetcher.close = takes_for_ever  # noqa: SLF001
    closing = asyncio.create_task(client.close(consumer, settings.turn_timeout))
    await closes.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert not any(connection.connected() for connection in consumer._client._conns.values())  # noqa: SLF001


def test_a_request_on_a_connection_that_has_just_closed_is_one_that_the_client_tries_again(
    broker: Broker, prefix: str
) -> None:
    async def scenario() -> bool:
        consumer: Any = client.reader(engine_settings(broker, prefix))
        await consumer.start()
        try:
            connection = await consumer._client._get_conn(0)  # noqa: SLF001  # the client's insides are what is tested
            transport = connection._writer.transport  # noqa: SLF001
            transport.abort()
            while "closed=True" not in repr(transport):  # noqa: ASYNC110  # the broker is gone, the client not yet told
                await asyncio.sleep(0)
            with pytest.raises(KafkaConnectionError, match="the handler is closed"):
                connection.send(MetadataRequest([]))
            return bool(await consumer._client.force_metadata_update())  # noqa: SLF001
        finally:
            await consumer.stop()

    assert loop.run(scenario())


async def test_a_consumer_that_cannot_learn_of_its_coordinator_any_more_is_noticed(broker: Broker, prefix: str) -> None:
    consumer: Any = client.reader(engine_settings(broker, prefix))
    await consumer.start()
    try:
        client.raise_if_ended(consumer)

        async def fails(*_: object) -> None:
            raise ValueError("as nobody has foreseen")

        consumer._client._metadata_update = fails  # noqa: SLF001
        consumer._client.force_metadata_update()  # noqa: SLF001
        await eventually(consumer._client._sync_task.done)  # noqa: SLF001
        with pytest.raises(KafkaError, match="as nobody has foreseen"):
            client.raise_if_ended(consumer)
        consumer._client._sync_task = None  # noqa: SLF001  # its own stop would raise what ended it
    finally:
        await consumer.stop()
