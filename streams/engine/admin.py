"""What the engine and its tools ask of the broker about topics, behind types."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiokafka.admin
from aiokafka.admin import NewTopic as _KafkaNewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from streams.engine.client import EngineSettings, tune
from streams.engine.errors import ConfigurationError
from streams.engine.turn import Bounds

_Client: Any = aiokafka.admin.AIOKafkaAdminClient
_Resource: Any = ConfigResource
_NewTopic: Any = _KafkaNewTopic

_POLL_S = 0.05
_VISIBLE_WITHIN_S = 30
_MAX_BYTES = "max.message.bytes"


@dataclass(frozen=True, slots=True)
class NewTopic:
    """A topic to be made."""

    name: str
    partitions: int
    replication: int
    configuration: Mapping[str, str]


class Admin:
    """One connection for questions about topics; an async context manager."""

    def __init__(self, settings: EngineSettings) -> None:
        tune()
        self._client = _Client(
            bootstrap_servers=settings.bootstrap_servers,
            client_id=f"{settings.client_id}-admin",
            **settings.security,
        )

    async def __aenter__(self) -> Self:
        await self._client.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def topics(self) -> dict[str, int]:
        """Every topic's number of partitions."""
        described = await self._client.describe_topics()
        return {entry["topic"]: len(entry["partitions"]) for entry in described if not entry["error_code"]}

    async def cluster_id(self) -> str:
        """The id that the cluster was given when it was made."""
        described = await self._client.describe_cluster()
        return str(described["cluster_id"])

    async def create(self, wanted: Sequence[NewTopic]) -> list[str]:
        """Makes topics; one that exists already is left as it is. Returns the names of those that were made.

        Raises:
            KafkaError: the broker refuses one; the message names it.
        """
        if not wanted:
            return []
        response = await self._client.create_topics(
            [
                _NewTopic(topic.name, topic.partitions, topic.replication, topic_configs=dict(topic.configuration))
                for topic in wanted
            ]
        )
        for name, code, *words in response.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise KafkaError(f"{name}: {for_code(code).__name__} {' '.join(map(str, words))}")
        return [name for name, code, *_ in response.topic_errors if not code]

    async def delete(self, names: Sequence[str]) -> None:
        """Deletes topics, and returns when the broker shows them no more; one that does not exist is no error.

        Raises:
            KafkaError: the broker refuses one; the message names it.
            TimeoutError: one is still there after 30 s.
        """
        if not names:
            return
        response = await self._client.delete_topics(list(names))
        for name, code, *words in response.topic_error_codes:
            if code and for_code(code) is not UnknownTopicOrPartitionError:
                raise KafkaError(f"{name}: {for_code(code).__name__} {' '.join(map(str, words))}")
        async with asyncio.timeout(_VISIBLE_WITHIN_S):
            while set(names) & (await self.topics()).keys():  # noqa: ASYNC110  # the broker has to be asked
                await asyncio.sleep(_POLL_S)

    async def wait_for(self, names: Collection[str]) -> None:
        """Returns when the broker shows all these topics.

        Raises:
            TimeoutError: not within 30 s.
        """
        async with asyncio.timeout(_VISIBLE_WITHIN_S):
            while not set(names) <= (await self.topics()).keys():  # noqa: ASYNC110  # the broker has to be asked
                await asyncio.sleep(_POLL_S)

    async def configurations(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """The settings of topics, as the broker has them now; none of a topic of which it may not tell them."""
        if not names:
            return {}
        responses = await self._client.describe_configs([_Resource(ConfigResourceType.TOPIC, name) for name in names])
        return {
            resource[3]: {entry[0]: entry[1] for entry in resource[4]}
            for response in responses
            for resource in response.resources
        }

    async def set_configuration(self, name: str, configuration: Mapping[str, str]) -> None:
        """Replaces the settings of a topic."""
        await self._client.alter_configs([_Resource(ConfigResourceType.TOPIC, name, configs=dict(configuration))])

    async def bounds(self, names: Sequence[str]) -> Bounds:
        """Partition counts and size limits of topics.

        Raises:
            ConfigurationError: a topic does not exist.
            TopicAuthorizationFailedError: the broker does not tell the limits of one (right DescribeConfigs).
        """
        existing = await self.topics()
        missing = sorted(name for name in names if name not in existing)
        if missing:
            raise ConfigurationError(f"topics are missing on the broker: {', '.join(missing)}; create them first")
        configured = await self.configurations(names)
        untold = [name for name in names if _MAX_BYTES not in configured.get(name, {})]
        if untold:
            raise TopicAuthorizationFailedError(f"DescribeConfigs of {', '.join(untold)}")
        limits = {name: int(settings[_MAX_BYTES]) for name, settings in configured.items()}
        return Bounds({name: existing[name] for name in names}, limits)
