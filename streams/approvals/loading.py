"""Reading held records where they stand."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager

from schemas.deliberation import DeliberationStatus
from streams.approvals.errors import DeliberationError
from streams.approvals.pending import PendingItem, pending_item
from streams.broker import reading
from streams.engine import client
from streams.engine.client import Consumer, EngineSettings
from streams.engine.records import Record

_GAP = 1_000
"""How many records are read over rather than sought past."""
_POLL_MS = 500


class Loader:
    """Reads the records of items. Made by loading()."""

    def __init__(self, settings: EngineSettings, consumer: Consumer, topic: str) -> None:
        self._settings, self._consumer, self._topic = settings, consumer, topic
        self._one_at_a_time = asyncio.Lock()

    async def load(self, statuses: Collection[DeliberationStatus]) -> list[PendingItem]:
        """The items with what they hold, by partition and place.

        Raises:
            DeliberationError: a record is gone, or is not what its item says.
            TimeoutError: the broker does not give them in time.
        """
        found: list[PendingItem] = []
        async with self._one_at_a_time:
            for partition in sorted({status.partition for status in statuses}):
                wanted = sorted((s for s in statuses if s.partition == partition), key=lambda status: status.offset)
                found += await self._load(partition, wanted)
        return found

    async def _load(self, partition: int, wanted: Sequence[DeliberationStatus]) -> list[PendingItem]:
        place = client.topic_partition(self._topic, partition)
        self._consumer.assign([place])
        found: list[PendingItem] = []
        batch: list[Record] = []
        at: int | None = None
        for status in wanted:
            if at is None or status.offset - at > _GAP:
                self._consumer.seek(place, status.offset)
                batch = []
            at = status.offset
            async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
                while not batch or batch[-1].offset < at:
                    batch = list((await self._consumer.getmany(place, timeout_ms=_POLL_MS)).get(place, ()))
            record = next((one for one in batch if one.offset == at), None)
            if record is None:
                raise DeliberationError(
                    f"the record of item {status.item.item_id} is gone from {self._topic}/{partition}/{at}: 'acgs "
                    "topics list' shows whether its retention was changed"
                )
            found.append(pending_item(status, record))
        return found


@asynccontextmanager
async def loading(settings: EngineSettings, topic: str) -> AsyncGenerator[Loader, None]:
    """A loader with a connection of its own.

    Raises:
        BrokerError: the broker cannot be reached or refuses, then or within the block.
    """
    async with reading(settings) as consumer:
        yield Loader(settings, consumer, topic)
