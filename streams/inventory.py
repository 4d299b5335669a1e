"""The catalogue's topics beside what the broker has."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.topics import Topic
from streams.agents.naming import Naming
from streams.broker import told_errors
from streams.control import in_force
from streams.engine.admin import Admin
from streams.engine.client import EngineSettings
from streams.errors import InstallationError
from streams.named import NOTHING_NAMED, Named


@dataclass(frozen=True, slots=True)
class Stocked:
    """A topic of the catalogue, by full name, and what the broker has of it: `partitions` None where it is missing.

    `configuration` has the broker's value and `declared` the catalogue's of each setting that the catalogue names.
    """

    name: str
    topic: Topic
    partitions: int | None
    declared: Mapping[str, str]
    configuration: Mapping[str, str | None]

    @property
    def differing(self) -> list[str]:
        """The settings that are not as declared."""
        return [key for key, value in self.declared.items() if self.configuration.get(key) != value]


async def inventory(settings: EngineSettings, replication: int, named: Named = NOTHING_NAMED) -> list[Stocked]:
    """Every topic of the catalogue.

    Raises:
        BrokerError: the broker cannot be reached or refuses.
    """
    naming = Naming(settings.prefix)
    wanted = {naming.topic(topic.name): topic for topic in named.catalogue()}
    with told_errors(settings):
        async with asyncio.timeout(settings.turn_timeout.total_seconds()), Admin(settings) as admin:
            existing = await admin.topics()
            configured = await admin.configurations([name for name in wanted if name in existing])
    return [
        _stocked(name, topic, existing.get(name), topic.configuration(replication), configured.get(name, {}))
        for name, topic in wanted.items()
    ]


def _stocked(
    name: str, topic: Topic, partitions: int | None, declared: Mapping[str, str], found: Mapping[str, str]
) -> Stocked:
    return Stocked(name, topic, partitions, declared, {key: found.get(key) for key in declared})


async def named_in_force(settings: EngineSettings) -> Named:
    """What the policy in force names that has topics of its own; nothing before there is one.

    Raises:
        BrokerError: the broker cannot be reached or refuses.
    """
    try:
        current = await in_force(settings)
    except InstallationError:
        return NOTHING_NAMED
    return Named.of(current.policy) if current else NOTHING_NAMED
