"""Telling differences apart: a turn does not come out as recorded; what is it that differs?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.audit import AuditRecord
from streams.audit import comparing, inputs
from streams.audit.entries import Entry
from streams.audit.findings import Kind, position
from streams.audit.produced import Produced
from streams.audit.subject import Subject
from streams.engine import digest
from streams.engine.rerun import Range
from streams.engine.turn import Turn


@dataclass(frozen=True, slots=True)
class Different:
    """A turn that comes out otherwise: as it is recorded, as its inputs are now, and as it comes out."""

    entry: Entry
    turn: AuditRecord
    ranges: Sequence[Range]
    derived: Turn[Any, Any]


async def tell_apart(lane: Subject, produced: Produced, told: Different, expected: str | None) -> None:
    """Says what differs. `expected` is the hash that others have of the audit record, None where nobody has it."""
    entry, turn = told.entry, told.turn
    trail = lane.trail_of(told.derived)
    if digest.of_bytes(trail) == expected:
        changed = ", ".join(fields_that_differ(entry.raw, trail))
        words = f"turn {turn.seq} was changed in {changed}: the chain has it as the turn comes out"
        lane.report.say(Kind.CHAIN_BROKEN, turn.seq, words, lane.at(entry))
        await produced.claim_quietly(turn, told.derived, entry.at_ms)
    elif expected is not None and expected != entry.hash:
        words = f"turn {turn.seq} is not the audit record that the next one, or the changelog, follows"
        lane.report.say(Kind.CHAIN_BROKEN, turn.seq, words, lane.at(entry))
        await produced.claim_quietly(turn, told.derived, entry.at_ms)
        lane.lose_the_thread()
    elif _says_of_inputs(lane, told):
        await produced.claim_quietly(turn, told.derived, entry.at_ms)
        lane.knows_state = lane.agent.rows is None  # else rows come of inputs that are not the same any more
    else:
        await _tell_decisions_apart(lane, produced, told)
        lane.tainted_since = lane.tainted_since or turn.seq


def fields_that_differ(recorded: bytes, derived: bytes) -> set[str]:
    """The fields of two audit records that are not the same."""
    one: Mapping[str, object] = orjson.loads(recorded)
    other: Mapping[str, object] = orjson.loads(derived)
    names = {name for name in {*one, *other} if one.get(name) != other.get(name)}
    return names or {"its bytes"}


def _says_of_inputs(lane: Subject, told: Different) -> bool:
    """Whether something else than what the turn writes differs: its inputs, their times, or what it says of itself."""
    entry, turn, report = told.entry, told.turn, lane.report
    differences = inputs.differences(turn, told.ranges)
    for kind, words, at in differences:
        report.say(kind, turn.seq, words, at)
    trail = lane.trail_of(told.derived)
    now = orjson.loads(trail)
    if differences:
        return True
    if now["output_digest"] != turn.output_digest:
        return False
    if now["clock"] != turn.clock:
        words = f"the times of its inputs are not the same: the lane's time was {turn.clock}, is now {now['clock']}"
        report.say(Kind.INPUT_CHANGED, turn.seq, words, lane.at(entry))
    elif others := fields_that_differ(entry.raw, trail) - {"previous"}:
        words = f"turn {turn.seq} comes out otherwise in {', '.join(sorted(others))}"
        report.say(Kind.DECISION_DIFFERS, turn.seq, words, lane.at(entry))
    return True


async def _tell_decisions_apart(lane: Subject, produced: Produced, different: Different) -> None:
    entry, turn = different.entry, different.turn
    recorded = {(part.topic, part.partition): part.count for part in turn.outputs}
    outputs = list(produced.outputs_of(different.derived, of_all=True))
    hashes: list[bytes] = []
    said: list[tuple[str, str]] = []
    is_encoding, claimed = True, 0
    for place, expected in outputs:
        told = await produced.find(place, expected, entry.at_ms)
        claimed += len(list(told.claimed))
        prefix = digest.partition_prefix(*place)
        hashes += [
            digest.output_hash(prefix, record.key, record.headers, record.value)
            for record in told.records
            if record is not None
        ]
        is_encoding &= not told.missing and not told.unsought
        for image, record in told.changed:
            is_encoding &= comparing.same_but_for_encoding(image, record)
            said.append((position(place, record.offset), comparing.differing(image, record)))
    counts = comparing.counts_differ(recorded, {place: len(expected) for place, expected in outputs})
    as_recorded = digest.of_hashes(hashes) == turn.output_digest
    at, words = said[0] if said else (lane.at(entry), "")
    words = "; ".join(part for part in (words, counts) if part) or "what it writes is not what was recorded"
    if lane.tainted_since is not None and lane.agent.rows is not None:
        words = f"{words} (may follow from what differs since turn {lane.tainted_since})"
    kind = Kind.ENCODING_DIFFERS if is_encoding and as_recorded and said else Kind.DECISION_DIFFERS
    lane.report.say(kind, turn.seq, words, at)
    if claimed < sum(recorded.values()):
        lane.report.count_unresolved(turn)
