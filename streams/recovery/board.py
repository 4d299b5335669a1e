"""How every recovery stands, and what has happened to one."""

from collections.abc import Collection

from pydantic import ValidationError

from handlers.recovery.transitions import UNDER_WAY
from schemas import topics
from schemas.recovery import RecoveryEvent, RecoveryState, RecoveryStatus
from streams.agents.naming import Naming
from streams.broker import records_of, require_topics
from streams.engine.client import EngineSettings
from streams.places import partition_of
from streams.recovery.errors import RecoveryUnknownError

NEEDED = UNDER_WAY | {RecoveryState.FAILED}
"""What somebody who looks for trouble wants to see: what is under way, and what has failed."""


async def statuses(settings: EngineSettings, states: Collection[RecoveryState] = NEEDED) -> list[RecoveryStatus]:
    """Every recovery in one of those states: the lowest priority number first, then the earliest due time.

    Raises:
        InstallationError: there is no topic of statuses.
        BrokerError: the broker cannot be reached or refuses.
    """
    topic = Naming(settings.prefix).topic(topics.RECOVERY_STATUS)
    partitions = (await require_topics(settings, [topic]))[topic]
    found: dict[bytes, bytes | None] = {}
    async for record in records_of(settings, topic, range(partitions)):
        if record.key is not None:
            found[record.key] = record.value
    known = [status for value in found.values() if (status := _status(value)) is not None and status.state in states]
    return sorted(known, key=lambda status: (status.priority, status.due or 0, status.service))


async def status_of(settings: EngineSettings, service: str) -> RecoveryStatus:
    """How one recovery stands.

    Raises:
        RecoveryUnknownError: there is none of this service.
        InstallationError: there is no topic of statuses.
        BrokerError: the broker cannot be reached or refuses.
    """
    found = None
    for value in await _values(settings, topics.RECOVERY_STATUS, service):
        found = _status(value)
    if found is None:
        raise RecoveryUnknownError(service)
    return found


async def events_of(settings: EngineSettings, service: str) -> list[RecoveryEvent]:
    """What has happened to the recoveries of a service, as far as retention has left it, in order.

    Raises:
        InstallationError: there is no topic of events.
        BrokerError: the broker cannot be reached or refuses.
    """
    values = await _values(settings, topics.RECOVERY_EVENTS, service)
    return [event for value in values if (event := event_in(value)) is not None]


def event_in(value: bytes | None) -> RecoveryEvent | None:
    """An event; None for one of another version of this program."""
    try:
        return None if value is None else RecoveryEvent.model_validate_json(value)
    except ValidationError:
        return None


async def _values(settings: EngineSettings, name: str, service: str) -> list[bytes | None]:
    topic = Naming(settings.prefix).topic(name)
    partitions = (await require_topics(settings, [topic]))[topic]
    place, key = partition_of(topic, service, partitions), service.encode()
    return [record.value async for record in records_of(settings, topic, [place.partition]) if record.key == key]


def _status(value: bytes | None) -> RecoveryStatus | None:
    try:
        return None if value is None else RecoveryStatus.model_validate_json(value)
    except ValidationError:
        return None  # of another version of this program
