"""Records that an operator wrote again from a dead letter: they stand on a lane's topic without a turn."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping

from schemas import topics
from streams.audit.cells import Cells
from streams.audit.facts import InstalledTopics
from streams.audit.log import Log, Place
from streams.engine import dead_letters, digest
from streams.engine.dead_letters import DeadLetter, resolution_of
from streams.engine.records import Record

_SAYS = "redriven by "


Redriven = dict[int, bytes | None]
"""Failed records of a partition by offset, and the hash of what was written again, where the letter has it."""


async def redriven(log: Log, facts: InstalledTopics) -> Mapping[Place, Redriven]:
    """What letters and their resolutions say was written again, by partition."""
    found: dict[Place, Redriven] = {}
    for agent in topics.LANE_AGENTS:
        topic = facts.naming.own(agent).dead_letters
        for partition in range(facts.partitions.get(topic, 0)):
            box = topic, partition
            keys = {record.key async for record in _of(log, box) if _is_redrive(record)}
            if keys:
                await _take_letters(log, box, keys, found)
    return found


async def account(log: Log, place: Place, told: Redriven, cells: Cells) -> None:
    """Claims the records that were written again: for each letter, one that stands behind the failed one."""
    begin, settled = log.begin(place), log.settled(place)
    may_follow = Counter(hashed for offset, hashed in told.items() if offset < begin and hashed is not None)
    prefix = digest.partition_prefix(*place)
    async for record in _of(log, place):
        try:
            hashed = digest.output_hash(prefix, record.key, record.headers, record.value)
        except UnicodeEncodeError:  # a header's name is not UTF-8: no lane wrote it
            continue
        if may_follow[hashed] and record.offset < settled:
            may_follow[hashed] -= 1
            cells.remove(record.offset)
        if record.offset in told:
            may_follow[hashed] += 1


async def _take_letters(log: Log, box: Place, keys: set[bytes | None], found: dict[Place, Redriven]) -> None:
    async for record in _of(log, box):
        if record.key not in keys or resolution_of(record.headers) is not None:
            continue
        try:
            letter = dead_letters.read(record)
        except (ValueError, KeyError):
            continue
        hashed = _hash(letter) if letter.has_value else None
        found.setdefault((letter.topic, letter.partition), {})[letter.offset] = hashed


def _hash(letter: DeadLetter) -> bytes:
    prefix = digest.partition_prefix(letter.topic, letter.partition)
    return digest.output_hash(prefix, letter.key, letter.headers, letter.value)


def _is_redrive(record: Record) -> bool:
    return (resolution_of(record.headers) or "").startswith(_SAYS)


async def _of(log: Log, place: Place) -> AsyncIterator[Record]:
    async for records in log.read(place, log.begin(place)):
        for record in records:
            yield record
