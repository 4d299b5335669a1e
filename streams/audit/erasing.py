"""The hashes that records leave: to be taken before the records are erased."""

import re
from collections.abc import Sequence

from schemas import topics
from schemas.audit import ErasedRecord
from streams.agents.naming import Naming
from streams.audit.erased import ErasedError
from streams.broker import record_at, require_topics
from streams.engine import client, digest
from streams.engine.client import EngineSettings
from streams.engine.records import Record

PLACE = re.compile(r"(.+)/([0-9]{1,9})/([0-9]{1,18})")
"""A record's place, `topic/partition/offset`."""


async def hashes_of(settings: EngineSettings, places: Sequence[str]) -> list[ErasedRecord]:
    """What each record at a place, `topic/partition/offset`, leaves when it is erased.

    Raises:
        ErasedError: one is no place, no committed record is there, or it is of a trail or a changelog, of which nothing
            can be erased.
        InstallationError: a topic is not there.
        BrokerError: the broker cannot be reached or refuses.
    """
    found = [PLACE.fullmatch(place) for place in places]
    naming = Naming(settings.prefix)
    kept = {naming.topic(topics.AUDIT), *(naming.own(agent).changelog for agent in topics.LANE_AGENTS)}
    counts = await require_topics(settings, sorted({one[1] for one in found if one is not None}))
    hashes: list[ErasedRecord] = []
    for place, one in zip(places, found, strict=True):
        if one is None:
            raise ErasedError(f"{place!a} is no place of a record: TOPIC/PARTITION/OFFSET")
        topic, partition, offset = one[1], int(one[2]), int(one[3])
        if topic in kept:
            raise ErasedError(f"{place}: of a trail or a changelog nothing can be erased, and be proven afterwards")
        is_there = partition < counts[topic]
        record = await record_at(settings, client.topic_partition(topic, partition), offset) if is_there else None
        if record is None:
            raise ErasedError(f"there is no record at {place}: it was erased before, never committed, or is a marker")
        hashes.append(_of(record))
    return hashes


def _of(record: Record) -> ErasedRecord:
    prefix = digest.partition_prefix(record.topic, record.partition)
    try:
        written = digest.output_hash(prefix, record.key, record.headers, record.value).hex()
    except UnicodeEncodeError:  # no lane writes such a record
        written = None
    return ErasedRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        input_hash=digest.of_input(record).hex(),
        output_hash=written,
    )
