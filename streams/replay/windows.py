"""Where a span of time begins and ends in the partitions of topics."""

import asyncio
from collections.abc import Collection

from streams.audit.log import Place
from streams.broker import reading
from streams.engine import client
from streams.engine.client import EngineSettings, TopicPartition
from streams.replay.marker import Window


async def windows(settings: EngineSettings, topics: dict[str, int], since: int, until: int) -> list[Window]:
    """For each partition of topics (given with their partition counts) the offsets of that span.

    `since` belongs to it, `until` does not: broker times in milliseconds since 1970.

    Raises:
        BrokerError: the broker cannot be reached or refuses.
    """
    every = [client.topic_partition(topic, p) for topic, count in topics.items() for p in range(count)]
    async with reading(settings) as consumer, asyncio.timeout(settings.turn_timeout.total_seconds()):
        begins, ends = await consumer.beginning_offsets(every), await consumer.end_offsets(every)
        first = await consumer.offsets_for_times(dict.fromkeys(every, since))
        after = await consumer.offsets_for_times(dict.fromkeys(every, until))

    def window(tp: TopicPartition) -> Window:
        begin, end = first.get(tp), after.get(tp)
        begins_at = ends[tp] if begin is None else begin.offset
        ends_at = ends[tp] if end is None else min(end.offset, ends[tp])
        is_cut = begins[tp] > 0 and begins_at <= begins[tp]
        return Window(topic=tp.topic, partition=tp.partition, first=begins_at, next=max(begins_at, ends_at), cut=is_cut)

    return [window(tp) for tp in every]


async def begins(settings: EngineSettings, places: Collection[Place], since: int) -> dict[Place, tuple[int, int]]:
    """For each partition the first offset from a time on, and the present end.

    Raises:
        BrokerError: the broker cannot be reached or refuses.
    """
    every = [client.topic_partition(*place) for place in places]
    async with reading(settings) as consumer, asyncio.timeout(settings.turn_timeout.total_seconds()):
        ends = await consumer.end_offsets(every)
        first = await consumer.offsets_for_times(dict.fromkeys(every, since))

    def begin(tp: TopicPartition) -> int:
        found = first.get(tp)
        return ends[tp] if found is None else found.offset

    return {(tp.topic, tp.partition): (begin(tp), ends[tp]) for tp in every}
