"""How every item stands."""

from collections.abc import Collection

from pydantic import ValidationError

from schemas import topics
from schemas.deliberation import DeliberationState, DeliberationStatus
from streams.agents.naming import Naming
from streams.approvals.errors import ItemUnknownError
from streams.broker import records_of, require_topics
from streams.engine.client import EngineSettings
from streams.places import partition_of

OPEN = frozenset({DeliberationState.PENDING})


async def statuses(settings: EngineSettings, states: Collection[DeliberationState] = OPEN) -> list[DeliberationStatus]:
    """Every item in one of those states, the earliest deadline first.

    Raises:
        InstallationError: there is no topic of statuses.
        BrokerError: the broker cannot be reached or refuses.
    """
    topic = Naming(settings.prefix).topic(topics.DELIBERATION_STATUS)
    partitions = (await require_topics(settings, [topic]))[topic]
    found: dict[bytes, bytes] = {}
    async for record in records_of(settings, topic, range(partitions)):
        if record.key is None:
            continue
        if record.value is None:
            found.pop(record.key, None)
        else:
            found[record.key] = record.value
    known = [status for value in found.values() if (status := parse(value)) is not None and status.state in states]
    return sorted(known, key=lambda status: (status.deadline or 0, status.item.item_id))


async def status_of(settings: EngineSettings, item_id: str) -> DeliberationStatus:
    """How one item stands.

    Raises:
        ItemUnknownError: there is no item of this id.
        InstallationError: there is no topic of statuses.
        BrokerError: the broker cannot be reached or refuses.
    """
    topic = Naming(settings.prefix).topic(topics.DELIBERATION_STATUS)
    partitions = (await require_topics(settings, [topic]))[topic]
    key, last = item_id.encode(), None
    place = partition_of(topic, item_id, partitions)
    async for record in records_of(settings, topic, [place.partition]):
        if record.key == key:
            last = record
    found = None if last is None or last.value is None else parse(last.value)
    if found is None:
        raise ItemUnknownError(item_id)
    return found


def parse(value: bytes) -> DeliberationStatus | None:
    """A status; None for one of another version of this program."""
    try:
        return DeliberationStatus.model_validate_json(value)
    except ValidationError:
        return None
