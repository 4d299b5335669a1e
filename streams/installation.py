"""An installation's topics: made from the catalogue, and compared with it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import orjson
from aiokafka.errors import KafkaError

from schemas import topics
from schemas.topics import Topic
from streams.agents.naming import Naming
from streams.broker import Outgoing, reading, records_of, told_errors, write_once
from streams.engine import client
from streams.engine.admin import Admin, NewTopic
from streams.engine.client import EngineSettings
from streams.engine.state import NEW_KEY
from streams.errors import InstallationError
from streams.named import NOTHING_NAMED, Named

_INSTALLED = "installed/"


@dataclass(frozen=True, slots=True)
class Created:
    """What `create` did: the topics made, those that were there, and the agents whose changelog was lost."""

    made: tuple[str, ...]
    existed: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A topic that is not as the catalogue has it. Harmless differences are settings; a partition count is not."""

    topic: str
    what: str


class Installation:
    """The topics of one prefix on one broker."""

    def __init__(self, settings: EngineSettings, *, partitions: int, replication: int) -> None:
        self._settings, self._partitions, self._replication = settings, partitions, replication
        self._naming = Naming(settings.prefix)

    async def create(self, named: Named = NOTHING_NAMED) -> Created:
        """Makes what is missing, and marks the changelogs of agents that never ran as new.

        Safe to repeat. A lane starts at the log's start only by that mark: a changelog that was deleted and is made
        again gets none, so that its lanes stop and say so.

        Raises:
            InstallationError: the broker refuses, or a topic has another partition count.
            BrokerError: the broker cannot be reached.
        """
        wanted = {self._naming.topic(topic.name): topic for topic in named.catalogue()}
        with told_errors(self._settings):
            return await self._create(wanted)

    async def _create(self, wanted: Mapping[str, Topic]) -> Created:
        async with Admin(self._settings) as admin:
            existing = await admin.topics()
            missing = [name for name in wanted if name not in existing]
            try:
                await admin.create([self._new(name, wanted[name]) for name in missing])
            except KafkaError as error:
                raise InstallationError(f"the broker refuses to create topics: {error}") from error
            await admin.wait_for(wanted)
        self._check_partitions({name: existing[name] for name in wanted if name in existing})
        lost = await self._mark_new_agents()
        return Created(tuple(missing), tuple(name for name in wanted if name in existing), lost)

    async def differences(self, named: Named = NOTHING_NAMED) -> list[Difference]:
        """Where the broker's topics are not as the catalogue has them."""
        wanted = {self._naming.topic(topic.name): topic for topic in named.catalogue()}
        async with Admin(self._settings) as admin:
            existing = await admin.topics()
            configured = await admin.configurations([name for name in wanted if name in existing])
        found = [Difference(name, "is missing: acgs topics create") for name in wanted if name not in existing]
        for name, settings in configured.items():
            for key, value in wanted[name].configuration(self._replication).items():
                if settings.get(key) != value:
                    found.append(Difference(name, f"{key} is {settings.get(key)}, declared is {value}"))
        counts = {existing[name] for name, topic in wanted.items() if name in existing and topic.lane_input}
        if len(counts) > 1:
            found.append(
                Difference(self._naming.prefix, f"lane inputs have different partition counts: {sorted(counts)}")
            )
        return found

    def _new(self, name: str, topic: Topic) -> NewTopic:
        return NewTopic(name, self._partitions, self._replication, topic.configuration(self._replication))

    def _check_partitions(self, existing: dict[str, int]) -> None:
        for name, count in existing.items():
            if count != self._partitions:
                raise InstallationError(
                    f"{name} has {count} partitions, asked are {self._partitions}: partition counts never change; "
                    f"set ACGS_PARTITIONS={count}"
                )

    async def _mark_new_agents(self) -> tuple[str, ...]:
        """Marks the empty changelogs of agents never installed before; returns the agents whose changelog is lost."""
        installed = await self._installed()
        empty = [agent for agent in topics.LANE_AGENTS if await self._is_empty(agent)]
        new = [agent for agent in empty if agent not in installed]
        if new:
            await self._mark(new)
        return tuple(agent for agent in empty if agent in installed)

    async def _installed(self) -> Collection[str]:
        lanes = self._naming.topic(topics.LANES)
        keys = [record.key async for record in records_of(self._settings, lanes, range(self._partitions))]
        names = (key.decode() for key in keys if key is not None)
        return {name.removeprefix(_INSTALLED) for name in names if name.startswith(_INSTALLED)}

    async def _is_empty(self, agent: str) -> bool:
        topic = self._naming.own(agent).changelog
        async with reading(self._settings) as consumer:
            ends = await consumer.end_offsets([client.topic_partition(topic, p) for p in range(self._partitions)])
        return not any(ends.values())

    async def _mark(self, agents: Collection[str]) -> None:
        async def marks() -> Sequence[Outgoing]:
            return [mark for agent in agents for mark in self._marks_of(agent)]

        await write_once(self._settings, f"{self._settings.prefix}installation", marks)

    def _marks_of(self, agent: str) -> Sequence[Outgoing]:
        mark = orjson.dumps({"v": 1, "agent": agent, "partitions": self._partitions})
        changelog, lanes = self._naming.own(agent).changelog, self._naming.topic(topics.LANES)
        return [
            *(Outgoing(changelog, partition, NEW_KEY, mark) for partition in range(self._partitions)),
            Outgoing(lanes, 0, f"{_INSTALLED}{agent}".encode(), mark),
        ]
