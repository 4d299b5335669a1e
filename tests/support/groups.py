"""Consumer groups, as an operator handles them."""

from datetime import timedelta
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import DeleteGroupsRequest

from streams.engine.client import EngineSettings
from tests.support.eventually import eventually

_NO_ERROR, _GROUP_ID_NOT_FOUND = 0, 69


async def delete_group(settings: EngineSettings, group: str, deadline: timedelta = timedelta(seconds=60)) -> None:
    """Deletes a group with its offsets, once its last member has left."""
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()

    async def deleted() -> bool:
        coordinator = await admin.find_coordinator(group)
        response = await admin._send_request(DeleteGroupsRequest([group]), coordinator)  # noqa: SLF001  # no public way
        ((_, code),) = response.results
        return code in {_NO_ERROR, _GROUP_ID_NOT_FOUND}

    try:
        await eventually(deleted, deadline)
    finally:
        await admin.close()


async def commits(settings: EngineSettings, group: str) -> dict[tuple[str, int], tuple[int, str]]:
    """What a group has committed: offset and metadata by topic and partition."""
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(group)
        return {(place.topic, place.partition): (one.offset, one.metadata) for place, one in found.items()}
    finally:
        await admin.close()
