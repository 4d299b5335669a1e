"""What a policy names that has topics of its own."""

from dataclasses import dataclass
from typing import Self

from schemas import topics
from schemas.policy import Policy
from schemas.topics import Topic


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Tenants with deliveries of their own, and queues of activities besides the default one. No name stands twice."""

    tenants: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()

    @classmethod
    def of(cls, policy: Policy) -> Self:
        """What a policy names."""
        return cls(tenants=policy.tenant_topics, queues=policy.queues)

    def and_also(self, other: "Named") -> "Named":
        """These, then those of the other that are not among them."""
        return Named(
            tenants=tuple(dict.fromkeys((*self.tenants, *other.tenants))),
            queues=tuple(dict.fromkeys((*self.queues, *other.queues))),
        )

    def catalogue(self) -> tuple[Topic, ...]:
        """Every topic of an installation with these names."""
        return topics.catalogue(self.tenants, self.queues)


NOTHING_NAMED = Named()
