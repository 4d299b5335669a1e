"""Full topic names of an installation: its prefix and the catalogue's names."""

from dataclasses import dataclass

from schemas import topics
from streams.engine.agent import Topics


@dataclass(frozen=True, slots=True)
class Naming:
    """Names within one installation. `prefix` begins every topic, group and transactional id, such as `acgs.`."""

    prefix: str

    def topic(self, name: str) -> str:
        """The full name of a topic of the catalogue."""
        return f"{self.prefix}{name}"

    def own(self, agent: str) -> Topics:
        """The topics that an agent's lanes keep for themselves."""
        return Topics(
            changelog=self.topic(topics.changelog(agent)),
            dead_letters=self.topic(topics.dead_letters(agent)),
            audit=self.topic(topics.AUDIT),
        )
