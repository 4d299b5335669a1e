"""Records that no turn has written: what is on the topics of lanes, less what all the lanes claim."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from streams.audit.cells import Cells, Present
from streams.audit.erased import NOTHING, Erased, without
from streams.audit.facts import InstalledTopics
from streams.audit.findings import Finding, Kind, position
from streams.audit.log import Log, Place
from streams.audit.redriven import account, redriven
from streams.audit.report import LaneReport
from streams.engine.records import Record

_NAMED = 10
_LOST = "they may be those of audit records that are missing"
_BESIDE = 500
"""How many offsets to both sides are searched for the record that an added one is a copy of."""


async def unaccounted(
    whole: Log, facts: InstalledTopics, places: Sequence[Place], lanes: Sequence[LaneReport], erased: Erased = NOTHING
) -> AsyncIterator[Finding | int]:
    """How many records each partition has, and a finding for each that has more than the turns have written.

    Those that an operator redrove from a dead letter, as its resolution says, are none of them. What stands in the
    place of an erased record is one, unless a turn has written what the hash is of.
    """
    log = without(whole, erased)
    again = await redriven(log, facts)
    for place in places:
        present = await _present(log, place, lanes, facts)
        present.add(await _in_the_place_of_erased(whole, place, lanes, erased), whole.settled(place))
        cells = Cells()
        cells.take(present.cells)
        unresolved = 0
        for lane in lanes:
            unresolved += lane.unresolved.get(place, 0)
            if place in lane.claims:
                cells.take(lane.claims[place])
        yield present.count
        if cells.left > unresolved and place in again:
            await account(log, place, again[place], cells)
        if cells.left > unresolved:
            found = await _finding(log, place, cells, cells.left - unresolved, is_certain=unresolved == 0)
            yield (
                replace(found, words=f"{found.words} ({_LOST})") if any(one.has_lost_turns for one in lanes) else found
            )


async def _in_the_place_of_erased(
    whole: Log, place: Place, lanes: Sequence[LaneReport], erased: Erased
) -> list[Record]:
    """What stands where the list of erased records names one that no turn is found to have written."""
    left = erased.of(place).difference(*(lane.erased.get(place, ()) for lane in lanes))
    if not left:
        return []
    return [record async for records in whole.read(place, min(left)) for record in records if record.offset in left]


async def _present(log: Log, place: Place, lanes: Sequence[LaneReport], facts: InstalledTopics) -> Present:
    """What is there: as far as a lane has counted on its way, and then the rest."""
    counted = [lane.present[place] for lane in lanes if place in lane.present]
    fresh = Present(log.begin(place), is_counted=facts.counted_on(place[0]))
    present = max(counted, key=lambda one: one.next, default=fresh)
    settled = log.settled(place)
    async for records in log.read(place, present.next):
        present.add(records, settled)
    return present


async def _finding(log: Log, place: Place, cells: Cells, more: int, *, is_certain: bool) -> Finding:
    topic, partition = place
    alone = cells.alone()
    words = f"{more} {'record' if more == 1 else 'records'} that no turn of any lane has written"
    if not is_certain or not alone:
        return Finding(Kind.OUTPUT_ADDED, topic, partition, None, words, f"{topic}/{partition}")
    if len(alone) > 1:
        words = f"{words}, at offsets {', '.join(map(str, alone[:_NAMED]))}{' and more' if len(alone) > _NAMED else ''}"
    original = await _original(log, place, alone[0])
    if original is not None:
        words = f"{words}; it is the same as the record at offset {original}"
    return Finding(Kind.OUTPUT_ADDED, topic, partition, None, words, position(place, alone[0]))


async def _original(log: Log, place: Place, offset: int) -> int | None:
    near: list[Record] = []
    async for records in log.read(place, max(log.begin(place), offset - _BESIDE)):
        near += [record for record in records if record.offset <= offset + _BESIDE]
        if records and records[-1].offset > offset + _BESIDE:
            break
    added = next((record for record in near if record.offset == offset), None)
    if added is None:
        return None
    image = added.key, added.value, tuple(added.headers)
    return next((r.offset for r in near if r is not added and (r.key, r.value, tuple(r.headers)) == image), None)
