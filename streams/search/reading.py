"""Single records read from their places in the log: just these, and their own bytes."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from streams.audit.log import Place
from streams.broker import SILENT_S, told_errors
from streams.engine import client
from streams.engine.client import Consumer, EngineSettings, TopicPartition
from streams.engine.records import Record

_POLL_MS = 200
_NEAR = 200
"""Offsets between two wanted records up to which it is quicker to read on than to ask the broker anew."""

At = tuple[str, int, int]
"""Topic, partition and offset."""


class Found(NamedTuple):
    """A record, or why there is none: retention has deleted it, or nothing is at that offset."""

    record: Record | None
    why_not: str = ""


class RecordsAt(Protocol):
    """Where records are read one by one."""

    async def read(self, wanted: Iterable[At]) -> Mapping[At, Found]:
        """Every wanted place with what is there."""
        ...


class Places:
    """Reads records by their places, with a started reader of committed records."""

    def __init__(self, settings: EngineSettings, consumer: Consumer) -> None:
        self._settings, self._consumer = settings, consumer

    async def read(self, wanted: Iterable[At]) -> dict[At, Found]:
        """Every wanted place with what is there.

        Raises:
            BrokerError: the broker cannot be reached or refuses, or says nothing for 30 s although there is more.
        """
        offsets: dict[Place, set[int]] = {}
        for topic, partition, offset in wanted:
            offsets.setdefault((topic, partition), set()).add(offset)
        with told_errors(self._settings):
            return await self._read({place: sorted(some) for place, some in offsets.items()})

    async def _read(self, offsets: Mapping[Place, Sequence[int]]) -> dict[At, Found]:
        partitions = {place: client.topic_partition(*place) for place in offsets}
        if not partitions:
            return {}
        self._consumer.assign(list(partitions.values()))  # else each topic's metadata is asked for by itself: 0.1 s
        begins = await self._consumer.beginning_offsets(list(partitions.values()))
        ends = await self._consumer.end_offsets(list(partitions.values()))
        found: dict[At, Found] = {}
        spans: dict[TopicPartition, Iterator[Sequence[int]]] = {}
        for place, some in offsets.items():
            partition = partitions[place]
            there = [offset for offset in some if begins[partition] <= offset < ends[partition]]
            for offset in set(some).difference(there):
                is_old = offset < begins[partition]
                why = "deleted by retention" if is_old else "the log ends before it"
                found[*place, offset] = Found(None, why)
            if there:
                spans[partition] = _spans(there)
        while now := {partition: span for partition, rest in spans.items() if (span := next(rest, None)) is not None}:
            found |= await self._together(now)
        return found

    async def _together(self, spans: Mapping[TopicPartition, Sequence[int]]) -> dict[At, Found]:
        """Reads a span of each partition, all at once."""
        self._consumer.assign(list(spans))
        for partition, span in spans.items():
            self._consumer.seek(partition, span[0])
        wanted: set[At] = {(*_place(partition), offset) for partition, span in spans.items() for offset in span}
        found: dict[At, Found] = {}
        left, heard = dict(spans), time.monotonic()
        while left:
            read = await self._consumer.getmany(*left, timeout_ms=_POLL_MS, max_records=_NEAR)
            every = (record for records in read.values() for record in records)
            found |= {where: Found(record) for record in every if (where := _where(record)) in wanted}
            left = await self._unread(left)
            if read:
                heard = time.monotonic()
            elif left and time.monotonic() - heard > SILENT_S:
                raise TimeoutError(f"nothing of {len(left)} partitions for {SILENT_S:.0f} s")
        gone = Found(None, "nothing is at this offset any more")
        return {where: found.get(where, gone) for where in wanted}

    async def _unread(self, spans: Mapping[TopicPartition, Sequence[int]]) -> dict[TopicPartition, Sequence[int]]:
        """The spans that are not read to their ends; of the other partitions nothing more is fetched."""
        left: dict[TopicPartition, Sequence[int]] = {}
        for partition, span in spans.items():
            if await self._consumer.position(partition) > span[-1]:
                self._consumer.pause(partition)
            else:
                left[partition] = span
        return left


def _place(partition: TopicPartition) -> Place:
    return partition.topic, partition.partition


def _where(record: Record) -> At:
    return record.topic, record.partition, record.offset


def _spans(offsets: Sequence[int]) -> Iterator[Sequence[int]]:
    """Wanted offsets, in groups that are read in one go."""
    group: list[int] = []
    for offset in offsets:
        if group and offset - group[-1] > _NEAR:
            yield group
            group = []
        group.append(offset)
    yield group
