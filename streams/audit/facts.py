"""What the verifier knows of an installation's topics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from schemas import topics
from schemas.topics import Cleanup
from streams.agents.naming import Naming
from streams.audit.cells import IsCounted
from streams.engine.dead_letters import is_letter
from streams.engine.turn import Bounds


class TopicFacts(Protocol):
    """What is asked about topics by who verifies one lane."""

    def bounds(self, names: Sequence[str]) -> Bounds:
        """Partition counts and size limits, as they are now, of those that exist."""
        ...

    def is_kept(self, topic: str) -> bool:
        """Whether each record of it stays: compacted topics lose what a later record replaces."""
        ...

    def is_lanes_alone(self, topic: str) -> bool:
        """Whether nobody but lanes writes to it, or nobody else what counted_on() counts."""
        ...

    def counted_on(self, topic: str) -> IsCounted | None:
        """Which records of such a topic must be some turn's; None if all."""
        ...


@dataclass(frozen=True)
class InstalledTopics:
    """Topics as they are on the broker: partition counts and size limits by full name."""

    naming: Naming
    partitions: Mapping[str, int]
    max_bytes: Mapping[str, int]

    def bounds(self, names: Sequence[str]) -> Bounds:
        """Of those that exist."""
        there = [name for name in names if name in self.partitions]
        return Bounds({name: self.partitions[name] for name in there}, {name: self.max_bytes[name] for name in there})

    def is_kept(self, topic: str) -> bool:
        """False for compacted topics."""
        return topic not in self._compacted

    def is_lanes_alone(self, topic: str) -> bool:
        """By the catalogue: kept topics that only agents on lanes may write to, and those of dead letters."""
        return topic in self.lanes_alone or topic in self.boxes

    def counted_on(self, topic: str) -> IsCounted | None:
        """The letters, where operators write what became of them."""
        return is_letter if topic in self.boxes else None

    @cached_property
    def lanes_alone(self) -> frozenset[str]:
        """The kept topics that only agents on lanes may write to, by full name."""
        return frozenset(
            self.naming.topic(topic.name)
            for topic in self._catalogue()
            if topic.cleanup is Cleanup.DELETE
            and topic.name != topics.AUDIT
            and set(topic.writers) <= set(topics.LANE_AGENTS)
            and self.naming.topic(topic.name) in self.partitions
        )

    @cached_property
    def boxes(self) -> frozenset[str]:
        """The topics of dead letters, by full name."""
        names = (self.naming.own(agent).dead_letters for agent in topics.LANE_AGENTS)
        return frozenset(name for name in names if name in self.partitions)

    @cached_property
    def _compacted(self) -> frozenset[str]:
        return frozenset(
            self.naming.topic(topic.name) for topic in topics.catalogue() if topic.cleanup is Cleanup.COMPACT
        )

    def _catalogue(self) -> tuple[topics.Topic, ...]:
        return topics.catalogue(
            self._named_after(topics.deliveries_of("")), self._named_after(topics.activities_of(""))
        )

    def _named_after(self, begin: str) -> Iterator[str]:
        full = self.naming.topic(begin)
        return (name.removeprefix(full) for name in self.partitions if name.startswith(full))
