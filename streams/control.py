"""The policy in the log: which one is in force, and publishing the next."""

from collections.abc import Callable, Sequence

from schemas import topics
from schemas.policy import Policy, PublishedPolicy, published
from streams.agents.control import follow
from streams.agents.naming import Naming
from streams.broker import Outgoing, records_of, require_topics, write_once
from streams.engine.client import EngineSettings
from streams.engine.errors import ControlRefusedError
from streams.errors import InstallationError, PolicyRefusedError

KEY = b"policy"
"""The key of every record on the control topic."""


async def in_force(settings: EngineSettings) -> PublishedPolicy | None:
    """The policy that lanes decide by once they have read all of the log, or None while there is none.

    A record that cannot follow the one before it changes nothing, as in a lane.

    Raises:
        InstallationError: there is no control topic.
        BrokerError: the broker cannot be reached or refuses.
    """
    every = await epochs(settings)
    return every[-1] if every else None


async def epochs(settings: EngineSettings) -> list[PublishedPolicy]:
    """Every epoch that has come into force, the first one first.

    Raises:
        InstallationError: there is no control topic.
        BrokerError: the broker cannot be reached or refuses.
    """
    topic = Naming(settings.prefix).topic(topics.CONTROL)
    await require_topics(settings, [topic])
    found: list[PublishedPolicy] = []
    async for record in records_of(settings, topic, [0]):
        try:
            found.append(follow(record.value or b"", found[-1] if found else None))
        except ControlRefusedError:
            continue
    return found


async def accepted_hash(settings: EngineSettings) -> str:
    """A constitutional hash that the policy in force accepts, until further notice if there is one like that.

    Raises:
        PolicyRefusedError: no policy is in force.
        InstallationError: there is no control topic.
        BrokerError: the broker cannot be reached or refuses.
    """
    current = await in_force(settings)
    if current is None:
        raise PolicyRefusedError(
            "no policy is in force, so that no hash is accepted. 'acgs policy publish' publishes one"
        )
    return current.policy.preferred_hash


async def publish(settings: EngineSettings, document: Policy) -> PublishedPolicy:
    """Publishes the next epoch to every partition of the control topic, in one transaction.

    Of two publishers at once at most one succeeds with an epoch.

    Raises:
        PolicyRefusedError: it is not the epoch after the one in force, or that one names owners.
        InstallationError: there is no control topic, or none for a tenant or a queue that the policy names.
        BrokerError: the broker cannot be reached or refuses, or another publisher came between.
    """
    naming = Naming(settings.prefix)
    topic = naming.topic(topics.CONTROL)
    partitions = (await require_topics(settings, [topic]))[topic]
    await require_topics_of(settings, document)
    value = document.canonical()

    async def decide() -> Sequence[Outgoing]:
        require_next(document, await in_force(settings))
        return [Outgoing(topic, partition, KEY, value) for partition in range(partitions)]

    await write_once(settings, f"{settings.prefix}policy-publisher", decide)
    return published(value)


async def require_topics_of(settings: EngineSettings, document: Policy) -> None:
    """That whatever the policy names has its topics: lanes could not write to them otherwise.

    Raises:
        InstallationError: a topic is missing; the message says how to make it.
        BrokerError: the broker cannot be reached or refuses.
    """
    naming = Naming(settings.prefix)
    existing = await require_topics(settings, ())

    def missing(names: Sequence[str], topic_of: Callable[[str], str]) -> list[str]:
        return [name for name in names if naming.topic(topic_of(name)) not in existing]

    tenants, queues = (
        missing(document.tenant_topics, topics.deliveries_of),
        missing(document.queues, topics.activities_of),
    )
    if not tenants and not queues:
        return
    what = [f"the deliveries of {', '.join(tenants)}"] if tenants else []
    what += [f"the activities of {', '.join(queues)}"] if queues else []
    options = [f"--tenant {tenant}" for tenant in tenants] + [f"--queue {queue}" for queue in queues]
    raise InstallationError(
        f"no topic yet for {' and '.join(what)}: every lane would wait for it. Run "
        f"'acgs topics create {' '.join(options)}' first, then publish again"
    )


def require_next(document: Policy, current: PublishedPolicy | None) -> None:
    """Whether a document may be published over the one in force. While there is none, any epoch may begin.

    Raises:
        PolicyRefusedError: it may not; the message says why and what to do.
    """
    if current is None:
        return
    if current.policy.owners:
        raise PolicyRefusedError(
            f"epoch {current.policy.epoch} is in force and names owners ({', '.join(current.policy.owners)}): only a "
            "proposal signed by two of them may change it: 'acgs policy propose'"
        )
    require_epoch(document, current)


def require_epoch(document: Policy, current: PublishedPolicy) -> None:
    """That a document is the epoch after the one in force.

    Raises:
        PolicyRefusedError: it is another.
    """
    wanted = current.policy.epoch + 1
    if document.epoch != wanted:
        raise PolicyRefusedError(
            f"the document is epoch {document.epoch}, but epoch {current.policy.epoch} is in force, so that only "
            f"{wanted} can follow. Set 'epoch = {wanted}' in the document, or let --next-epoch number it"
        )
