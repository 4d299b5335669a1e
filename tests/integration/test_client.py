"""The client behind the engine, where it does not end as it should."""

from typing import Any

from aiokafka.errors import KafkaError

from streams.engine import client
from tests.support.broker import Broker, engine_settings
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
