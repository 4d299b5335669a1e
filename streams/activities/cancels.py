"""Cancels: attempts whose results are not wanted any more, as the orchestrator tells every worker."""

import asyncio
import logging
import time
from datetime import timedelta
from operator import attrgetter

from pydantic import ValidationError

from schemas import topics
from schemas.activity import ActivityCancel, ActivityCommand
from streams.activities.attempt import Attempt, Cut
from streams.agents.naming import Naming
from streams.broker import reading, require_topics
from streams.engine import client
from streams.engine.client import EngineSettings, TopicPartition
from streams.errors import StreamsError

_log = logging.getLogger(__name__)

_MAX_REMEMBERED = 20_000
_REMEMBER_S = 3_600.0
_POLL_MS = 1_000
_RETRY = timedelta(seconds=2)

Identity = tuple[object, ...]

identity = attrgetter("workflow_id", "run", "node", "direction", "round", "attempt", "token")
"""What tells an attempt from every other."""


class Cancels:
    """Passes cancels on to the attempts that run here, and remembers those whose command has not come.

    Remembered are the last 20,000, for an hour: a command that waits longer runs although it is not wanted any more,
    as it may anyhow.
    """

    def __init__(self) -> None:
        self._running: dict[Identity, Attempt] = {}
        self._remembered: dict[Identity, float] = {}
        self._positions: dict[TopicPartition, int] = {}
        self.is_reading = asyncio.Event()
        """Set once no cancel that is given from now on is missed."""

    def begins(self, attempt: Attempt) -> None:
        """An attempt is here; it is cancelled at once if that was said before."""
        name = identity(attempt.command)
        self._running[name] = attempt
        if self._remembered and self._remembered.pop(name, 0.0) > time.monotonic():
            attempt.cut(Cut.CANCELLED)

    def ends(self, attempt: Attempt) -> None:
        """An attempt is gone."""
        name = identity(attempt.command)
        if self._running.get(name) is attempt:
            del self._running[name]

    def cancel(self, cancel: ActivityCancel | ActivityCommand) -> None:
        """Cancels the attempt of that identity, now or when it comes."""
        name = identity(cancel)
        attempt = self._running.get(name)
        if attempt is not None:
            attempt.cut(Cut.CANCELLED)
            return
        self._remembered[name] = time.monotonic() + _REMEMBER_S
        while len(self._remembered) > _MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    async def follow(self, settings: EngineSettings) -> None:
        """Takes every cancel that is given from now on, for ever."""
        while True:
            try:
                await self._read(settings)
            except StreamsError as error:
                _log.warning("cancels cannot be read, trying again: %s", error)
            await asyncio.sleep(_RETRY.total_seconds())

    async def _read(self, settings: EngineSettings) -> None:
        topic = Naming(settings.prefix).topic(topics.ACTIVITY_CANCELS)
        count = (await require_topics(settings, [topic]))[topic]
        partitions = [client.topic_partition(topic, number) for number in range(count)]
        async with reading(settings, follows=True) as consumer:
            consumer.assign(partitions)
            begins = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            for partition in partitions:
                position = self._positions.get(partition, -1)
                is_there = begins[partition] <= position <= ends[partition]
                self._positions[partition] = position if is_there else ends[partition]
                consumer.seek(partition, self._positions[partition])
            self.is_reading.set()
            while True:
                for partition, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                    for record in records:
                        self._take(record.value or b"", f"{topic}/{record.partition}/{record.offset}")
                        self._positions[partition] = record.offset + 1

    def _take(self, value: bytes, place: str) -> None:
        try:
            self.cancel(ActivityCancel.model_validate_json(value))
        except ValidationError as error:
            _log.error("the cancel at %s cannot be read: %s", place, error.errors(include_input=False))
