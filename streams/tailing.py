"""Following a topic: its committed records as they come."""

import difflib
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

from streams.agents.naming import Naming
from streams.broker import SILENT_S, reading, require_topics
from streams.engine import client
from streams.engine.client import Consumer, EngineSettings, TopicPartition
from streams.engine.records import Record
from streams.errors import InstallationError

_POLL_MS = 250
_SOME = 3

BEGINNING = "beginning"
END = "end"


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin on every partition: BEGINNING, END, or an offset."""

    at: str | int


async def full_name(settings: EngineSettings, name: str) -> str:
    """The topic that a user means by a name of the catalogue or a full name.

    Raises:
        InstallationError: there is no such topic; the message names similar ones.
        BrokerError: the broker cannot be asked.
    """
    naming = Naming(settings.prefix)
    existing = await require_topics(settings, [])
    for candidate in (naming.topic(name), name):
        if candidate in existing:
            return candidate
    ours = [topic.removeprefix(naming.prefix) for topic in existing if topic.startswith(naming.prefix)]
    close = difflib.get_close_matches(name, ours, _SOME, 0.5)
    meant = f"Did you mean {' or '.join(close)}?" if close else "'acgs topics list' shows what is there"
    raise InstallationError(f"there is no topic {name}, and no {naming.topic(name)}. {meant}")


async def tail(
    settings: EngineSettings, topic: str, start: Start, *, follow: bool
) -> AsyncGenerator[Sequence[Record], None]:
    """The committed records of all partitions, some at a time; within these, ordered by the broker's time.

    Without `follow` it ends where the log ended at the call.

    Raises:
        InstallationError: there is no such topic.
        BrokerError: the broker cannot be reached or refuses.
    """
    counts = await require_topics(settings, [topic])
    partitions = [client.topic_partition(topic, partition) for partition in range(counts[topic])]
    async with reading(settings, follows=follow) as consumer:
        consumer.assign(partitions)
        begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, _offset(start, begins[partition], ends[partition]))
        heard = time.monotonic()
        while follow or not await _has_reached(consumer, ends):
            batches = await consumer.getmany(timeout_ms=_POLL_MS)
            records = [
                record
                for partition, batch in batches.items()
                for record in batch
                if follow or record.offset < ends[partition]
            ]
            heard = time.monotonic() if records or follow else heard
            if time.monotonic() - heard > SILENT_S:
                raise TimeoutError(f"{topic} has more, but nothing comes")
            if records:
                yield sorted(records, key=lambda record: (record.timestamp, record.partition, record.offset))


def _offset(start: Start, begin: int, end: int) -> int:
    if start.at == BEGINNING:
        return begin
    return end if start.at == END else min(max(begin, int(start.at)), end)


async def _has_reached(consumer: Consumer, ends: Mapping[TopicPartition, int]) -> bool:
    positions = [await consumer.position(partition) for partition in ends]
    return all(position >= end for position, end in zip(positions, ends.values(), strict=True))
