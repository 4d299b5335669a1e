"""Topics, read as they are written."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Self

from aiokafka.errors import KafkaError

from streams.engine import client
from streams.engine.admin import Admin
from streams.engine.client import EngineSettings
from streams.engine.records import Record

_AGAIN_S = 0.2


class Follower:
    """Hands every record of some topics to `take`, from their beginning. An async context manager.

    Waits for a broker that is down. What else goes wrong, in `take` too, ends it.
    """

    def __init__(self, settings: EngineSettings, topics: Iterable[str], take: Callable[[str, Record], None]) -> None:
        self._settings, self._topics, self._take = settings, list(topics), take
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *about: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def raise_if_ended(self) -> None:
        if self._task is not None and self._task.done():
            self._task.result()

    async def _follow(self) -> None:
        consumer: Any = client.reader(self._settings)
        await consumer.start()
        try:
            async with Admin(self._settings) as admin:
                partitions = await admin.topics()
            tps = [client.topic_partition(topic, p) for topic in self._topics for p in range(partitions[topic])]
            consumer.assign(tps)
            for tp in tps:
                consumer.seek(tp, 0)
            while True:
                await self._take_some(consumer)
        finally:
            await consumer.stop()

    async def _take_some(self, consumer: Any) -> None:  # noqa: ANN401
        try:
            fetched = await consumer.getmany(timeout_ms=200)
        except KafkaError:  # the broker is down; the storm means it to be
            await asyncio.sleep(_AGAIN_S)
            return
        for tp, records in fetched.items():
            for record in records:
                self._take(tp.topic, record)
