"""Telling operators of the lanes: their states on the compacted topic of lanes."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from aiokafka.errors import KafkaError

from streams.engine import client
from streams.engine.client import EngineSettings, Producer
from streams.engine.status import LaneStatus, State

_log = logging.getLogger(__name__)

_UNCHANGED_EVERY_S = 10.0
_BEHIND_MS = 1_000


class Teller:
    """Writes what is new of the lanes of one worker. What cannot be written harms no lane and is written later."""

    def __init__(self, settings: EngineSettings, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self._producer: Producer | None = None
        self._told: dict[bytes, tuple[float, LaneStatus]] = {}

    async def tell(self, statuses: Sequence[LaneStatus]) -> None:
        """Writes the statuses that changed, that are behind, or that were last told 10 s ago."""
        await self._write([status for status in statuses if self._is_news(status)])

    async def tell_the_end(self) -> None:
        """Says of every lane told of that it has ended here."""
        now_ms = int(time.time() * 1000)
        last = [status for _, status in self._told.values()]
        await self._write([replace(status, state=State.CLOSED, at_ms=now_ms, oldest_ms=None) for status in last])
        await self._abandon()

    def _is_news(self, status: LaneStatus) -> bool:
        at, before = self._told.get(status.key, (0.0, None))
        changed = before is None or (before.state, before.last_error) != (status.state, status.last_error)
        behind = status.oldest_ms is not None and status.at_ms - status.oldest_ms > _BEHIND_MS
        return changed or behind or time.monotonic() - at > _UNCHANGED_EVERY_S

    async def _write(self, news: Sequence[LaneStatus]) -> None:
        if not news:
            return
        try:
            async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
                producer = await self._started()
                sent = [await producer.send(self._topic, status.encode(), status.key) for status in news]
                await asyncio.gather(*sent)
        except (KafkaError, OSError, TimeoutError, AssertionError) as error:
            _log.debug("lane status not written: %r", error)
            await self._abandon()
        else:
            self._told |= {status.key: (time.monotonic(), status) for status in news}

    async def _started(self) -> Producer:
        if self._producer is None:
            self._producer = client.plain_producer(self._settings, "status")
            await self._producer.start()
        return self._producer

    async def _abandon(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await client.abandon(producer)
