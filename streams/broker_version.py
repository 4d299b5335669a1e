"""Which release of Kafka a broker is, as far as it can be told: brokers name the requests they know, not themselves."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import aiokafka.conn

from streams.engine.client import EngineSettings

_FETCH, _DESCRIBE_CONFIGS, _STREAMS_GROUP_HEARTBEAT = 1, 32, 88
_BY_FETCH_VERSION = ((17, "3.8"), (16, "3.7"), (15, "3.5"))

_connections: Any = aiokafka.conn


async def broker_version(settings: EngineSettings) -> str:
    """The release, such as `4.1 or later`.

    Raises:
        KafkaError, OSError, TimeoutError: no broker can be asked.
    """
    host, _, port = settings.bootstrap_servers.split(",")[0].strip().rpartition(":")
    async with asyncio.timeout(settings.turn_timeout.total_seconds()):
        connection = await _connections.create_conn(
            host.strip("[]"), int(port), client_id=settings.client_id, **settings.security
        )
    try:
        return release(cast("Mapping[int, tuple[int, int]]", connection._versions))  # noqa: SLF001  # else unasked
    finally:
        connection.close()


def release(known: Mapping[int, tuple[int, int]]) -> str:
    """The earliest release that knows these requests, by lowest and highest version of each.

    4.1 brought groups of Kafka Streams, 4.0 dropped version 0 of DescribeConfigs; the versions of Fetch are those of
    the table of APIs in Kafka's wiki.
    """
    if _STREAMS_GROUP_HEARTBEAT in known:
        return "4.1 or later"
    if known.get(_DESCRIBE_CONFIGS, (0, 0))[0] >= 1:
        return "4.0"
    highest = known.get(_FETCH, (0, 0))[1]
    return next((f"{name} or later" for version, name in _BY_FETCH_VERSION if highest >= version), "older than 3.5")
