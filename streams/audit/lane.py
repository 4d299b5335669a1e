"""One lane's trail, from its first audit record to its last: chain, inputs, decisions and outputs."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
from pydantic import ValidationError

from schemas.audit import AuditRecord
from streams.audit import comparing, inputs
from streams.audit.cells import Cells
from streams.audit.findings import Finding, Findings, Kind, Open, position
from streams.audit.log import Log, Place
from streams.audit.outputs import Matched, Written
from streams.engine import digest
from streams.engine.agent import Agent
from streams.engine.dead_letters import Kind as LetterKind
from streams.engine.digest import NO_HASH
from streams.engine.errors import ControlRefusedError
from streams.engine.records import Record
from streams.engine.rerun import Past, Range, Rerun
from streams.engine.state import POSITION_KEY, Accepted, Position, decode_position
from streams.engine.trail import trail_key
from streams.engine.turn import Bounds, Output, Turn

_UNBOUNDED = 2**62
_LIMIT = re.compile(r"a record of \d+ bytes does not fit (\S+), which takes (\d+)$")
_CHANGELOG_LIMIT = re.compile(r"does not fit the changelog, whose limit is (\d+)$")
_BATCH_OVERHEAD = 128
_SAYS_EVERY = 50


class TopicFacts(Protocol):
    """What the verifier knows of the topics of the installation."""

    def bounds(self, names: Sequence[str]) -> Bounds:
        """Partition counts and size limits, as they are now, of those that exist."""
        ...

    def is_kept(self, topic: str) -> bool:
        """Whether each record of it stays: compacted topics lose what a later record replaces."""
        ...

    def is_lanes_alone(self, topic: str) -> bool:
        """Whether nobody but lanes writes to it."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """Turns whose audit records the broker wrote at or after `since_ms` and before `until_ms`."""

    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def is_everything(self) -> bool:
        """Whether no turn is left out."""
        return self.since_ms is None and self.until_ms is None

    def has(self, at_ms: int) -> bool:
        """Whether a turn of that time is to be verified."""
        return self.since_ms is None or at_ms >= self.since_ms


@dataclass(slots=True)
class LaneReport:
    """What came of one lane. `verified` are turns of which everything was compared and the same.

    `claims` are the records found that its turns wrote, `unresolved` how many it wrote that were not looked for.
    """

    agent: str
    lane: int
    turns: int = 0
    verified: int = 0
    decisions: int = 0
    head: str | None = None
    last_seq: int = 0
    has_lost_turns: bool = False
    findings: Findings = field(default_factory=Findings)
    claims: dict[Place, Cells] = field(default_factory=dict[Place, Cells])
    unresolved: dict[Place, int] = field(default_factory=dict[Place, int])


@dataclass(frozen=True, slots=True)
class _Entry:
    """An audit record as it is in the log."""

    raw: bytes
    at_ms: int
    offset: int
    turn: AuditRecord | None


class LaneAudit:
    """Verifies one lane. Needs memory for the lane's rows and for one turn, whatever the length of the log."""

    def __init__(
        self,
        agent: Agent[Any, Any],
        lane: int,
        log: Log,
        facts: TopicFacts,
        *,
        window: Window | None = None,
        on_turns: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._agent, self._lane, self._log, self._facts = agent, lane, log, facts
        self._window, self._on_turns = window or Window(), on_turns
        self._rerun: Rerun[Any, Any] = Rerun(agent, lane)
        self._inputs = inputs.Inputs(log, lane)
        self._written: dict[Place, Written] = {}
        self._report = LaneReport(agent.name, lane)
        self._audit: Place = (
            agent.topics.audit,
            lane % facts.bounds([agent.topics.audit]).partitions[agent.topics.audit],
        )
        self._knows_state = True
        self._knows_head = True
        self._knows_control = True
        self._tainted_since: int | None = None
        self._bounds: Bounds | None = None
        self._bounds_control: object = None

    async def run(self) -> LaneReport:
        """Reads the trail to its end and says what came of it."""
        try:
            async with aclosing(self._entries()) as entries:
                await self._read(entries)
        finally:
            await self._inputs.close()
            for written in self._written.values():
                await written.close()
        self._report.head = self._rerun.position.head if self._report.last_seq else None
        return self._report

    async def _read(self, entries: AsyncGenerator[_Entry, None]) -> None:
        end = await self._last_position()
        entry = await anext(entries, None)
        while entry is not None:
            following = await anext(entries, None)
            await self._take(entry, following, end)
            self._report.turns += 1
            if self._report.turns % _SAYS_EVERY == 0:
                self._on_turns(_SAYS_EVERY)
                await asyncio.sleep(0)
            entry = following
        self._on_turns(self._report.turns % _SAYS_EVERY)
        self._compare_end(end)

    # The trail

    async def _entries(self) -> AsyncGenerator[_Entry, None]:
        key = trail_key(self._agent.name, self._lane)
        async for records in self._log.read(self._audit, self._log.begin(self._audit)):
            for record in records:
                if record.key != key:
                    continue
                if self._window.until_ms is not None and record.timestamp >= self._window.until_ms:
                    return
                yield _entry(record)

    async def _last_position(self) -> Position | None:
        place = self._agent.topics.changelog, self._lane
        found: Record | None = None
        async for records in self._log.read(place, self._log.begin(place)):
            for record in records:
                if record.key == POSITION_KEY:
                    found = record
        return None if found is None or found.value is None else decode_position(found.value)

    async def _take(self, entry: _Entry, following: _Entry | None, end: Position | None) -> None:
        turn = entry.turn
        if turn is None:
            self._say(Kind.CHAIN_BROKEN, None, "this is no audit record any more", self._at(entry))
            self._lose_the_thread()
            return
        if not self._follows(turn, entry):
            return
        expected = _expected_hash(following, turn.seq, end)
        await self._verify(entry, turn, expected)
        self._report.last_seq = max(self._report.last_seq, turn.seq)
        if end is not None and turn.seq == end.seq and self._knows_head and self._rerun.position.head != end.head:
            words = f"turn {turn.seq} is not the audit record that the lane's changelog names by its hash"
            self._say(Kind.CHAIN_BROKEN, turn.seq, words, self._at(entry))

    def _follows(self, turn: AuditRecord, entry: _Entry) -> bool:
        """Whether this is a turn to look at; says so if it is not the next one."""
        seq = self._rerun.position.seq + 1
        if (turn.agent, turn.lane) != (self._agent.name, self._lane):
            words = f"it stands under this lane's key and says it is of {turn.agent}/{turn.lane}"
            self._say(Kind.CHAIN_BROKEN, turn.seq, words, self._at(entry))
            return False
        strange = [part.topic for part in turn.inputs if part.topic not in self._agent.inputs or part.from_ > part.to]
        if strange or any(part.partition != self._lane for part in turn.inputs):
            self._say(Kind.CHAIN_BROKEN, turn.seq, "it names inputs that the lane does not have", self._at(entry))
            self._lose_the_thread()
            return False
        if turn.seq < seq:
            words = f"turn {turn.seq} stands in the trail again, after turn {seq - 1}"
            self._say(Kind.CHAIN_BROKEN, turn.seq, words, self._at(entry))
            return False
        if turn.seq > seq:
            if self._report.turns == 0 and self._log.begin(self._audit) > 0:
                self._say(Open.TRAIL_DELETED, turn.seq, f"the trail begins with turn {turn.seq}", self._at(entry))
            else:
                missing = f"turn {seq} is" if turn.seq == seq + 1 else f"turns {seq} to {turn.seq - 1} are"
                self._say(Kind.CHAIN_BROKEN, turn.seq, f"{missing} missing before turn {turn.seq}", self._at(entry))
            self._lose_the_thread()
        if self._knows_head and turn.previous != self._rerun.position.head:
            words = f"turn {turn.seq} does not follow from the audit record before it: one of the two was changed"
            self._say(Kind.CHAIN_BROKEN, turn.seq, words, self._at(entry))
        return True

    def _lose_the_thread(self) -> None:
        """After audit records that are missing or not to be trusted, what the lane knew is not known."""
        self._knows_head = self._knows_control = False
        self._report.has_lost_turns = True
        if self._agent.rows is not None:
            self._knows_state = False

    def _compare_end(self, end: Position | None) -> None:
        if self._window.until_ms is not None:
            return
        last = self._report.last_seq
        if end is None:
            if last:
                self._say(Open.NO_POSITION, last, "nothing says how many turns there were", None)
        elif end.seq > last:
            words = f"the lane has taken {end.seq} turns by its changelog, and the trail ends with turn {last}"
            self._say(Kind.TRAIL_CUT, end.seq, words, f"{self._audit[0]}/{self._audit[1]}")

    # One turn

    async def _verify(self, entry: _Entry, turn: AuditRecord, expected: str | None) -> None:
        self._stand_where_it_says(entry, turn)
        is_sure = expected is None or expected == digest.of_bytes(entry.raw)
        if turn.decision_version != self._agent.decision_version and is_sure:
            words = (
                f"by decision_version {turn.decision_version}; this release decides by {self._agent.decision_version}"
            )
            await self._skip(entry, turn, Open.OTHER_RELEASE, words)
            return
        gone = self._inputs.deleted(turn)
        if gone is not None:
            await self._skip(entry, turn, Open.INPUTS_DELETED, gone)
            return
        ranges = await self._inputs.of(turn)
        await self._adopt_control(turn)
        if not self._knows_state:
            self._only_inputs(entry, turn, ranges)
            return
        derived = await self._derive(entry, turn, ranges)
        if self._trail_of(derived) == entry.raw:
            await self._compare_outputs(entry, turn, derived)
        elif digest.of_bytes(self._trail_of(derived)) == expected:
            changed = ", ".join(_fields_that_differ(entry.raw, self._trail_of(derived)))
            words = f"turn {turn.seq} was changed in {changed}: the chain has it as the turn comes out"
            self._say(Kind.CHAIN_BROKEN, turn.seq, words, self._at(entry))
            await self._claim_quietly(entry, turn, derived)
        elif not is_sure:
            words = f"turn {turn.seq} is not the audit record that the next one, or the changelog, follows"
            self._say(Kind.CHAIN_BROKEN, turn.seq, words, self._at(entry))
            await self._claim_quietly(entry, turn, derived)
            self._lose_the_thread()
        else:
            await self._tell_apart(entry, turn, ranges, derived)
        self._keep(entry, turn, derived, expected)

    def _keep(self, entry: _Entry, turn: AuditRecord, derived: Turn[Any, Any], expected: str | None) -> None:
        self._rerun.keep(derived)
        trail = self._trail_of(derived)
        if trail == entry.raw or digest.of_bytes(trail) == expected or not self._knows_head:
            return
        now = self._rerun.position
        self._rerun.stand_at(Position(now.offsets, turn.seq, digest.of_bytes(entry.raw), turn.clock))

    def _stand_where_it_says(self, entry: _Entry, turn: AuditRecord) -> None:
        """Takes over what nothing before the turn says: its first offsets, an operator's, a chain that begins here."""
        now = self._rerun.position
        offsets, head, seq = dict(now.offsets), now.head, turn.seq - 1
        if not self._knows_head:
            head = turn.previous
        accepted = None
        if turn.accepted is not None:
            accepted = Accepted(dict(turn.accepted.positions), seq, turn.accepted.operator, turn.accepted.reason)
            offsets.update(accepted.offsets)
            told = ", ".join(f"{topic} to {offset}" for topic, offset in accepted.offsets.items())
            words = f"{accepted.operator} put the lane from {now.offsets} to {told}: {accepted.reason}"
            self._say(Open.ACCEPTED, turn.seq, words, self._at(entry))
        at = dict(offsets)
        for part in turn.inputs:
            if part.topic not in at:
                self._say_where_it_began(turn, part.topic, part.from_)
                offsets[part.topic] = part.from_
            elif part.from_ != at[part.topic]:
                if self._knows_head:
                    words = f"the turn reads {part.topic} from {part.from_} on, the lane stood at {at[part.topic]}"
                    self._say(Kind.INPUT_GAP, turn.seq, words, position((part.topic, self._lane), at[part.topic]))
                offsets[part.topic] = part.from_
            at[part.topic] = part.to
        self._knows_head = True
        self._rerun.stand_at(Position(offsets, seq, head, now.clock_ms), accepted)

    def _say_where_it_began(self, turn: AuditRecord, topic: str, first: int) -> None:
        if first > 0 and self._report.turns == 0 and turn.seq == 1:
            words = f"the lane began at {topic}/{self._lane}/{first}; what stood before was never handled"
            self._say(Open.INPUTS_DELETED, turn.seq, words, position((topic, self._lane), 0))

    async def _skip(self, entry: _Entry, turn: AuditRecord, kind: Open, words: str) -> None:
        """A turn that cannot be taken again: its place in the chain is all that was verified."""
        self._say(kind, turn.seq, words, self._at(entry))
        self._count_unresolved(turn)
        if self._agent.rows is not None:
            self._knows_state = False
        self._knows_control = False
        self._move_on(entry, turn)

    def _only_inputs(self, entry: _Entry, turn: AuditRecord, ranges: Sequence[Range]) -> None:
        told = inputs.differences(turn, ranges)
        for kind, words, at in told:
            self._say(kind, turn.seq, words, at)
        self._say(
            Open.STATE_UNKNOWN, turn.seq, "chain and inputs were verified, the decisions were not", self._at(entry)
        )
        self._count_unresolved(turn)
        self._move_on(entry, turn)

    def _move_on(self, entry: _Entry, turn: AuditRecord) -> None:
        offsets = {**self._rerun.position.offsets, **{part.topic: part.to for part in turn.inputs}}
        self._rerun.stand_at(Position(offsets, turn.seq, digest.of_bytes(entry.raw), turn.clock))

    async def _adopt_control(self, turn: AuditRecord) -> None:
        """The policy in force before the turn, from its log, where turns before it were not taken again."""
        control, state = self._agent.control, self._rerun.state
        if self._knows_control or control is None or turn.epoch is None:
            return
        until = next((part.from_ for part in turn.inputs if part.topic == control.topic), None)
        state.control_document = state.control = None
        async for records in self._log.read((control.topic, self._lane), self._log.begin((control.topic, self._lane))):
            for record in records:
                is_there = state.control is not None and control.epoch(state.control) == turn.epoch
                if record.offset >= until if until is not None else is_there:
                    break
                try:
                    state.control = control.follow(record.value or b"", state.control)
                    state.control_document = record.value
                except ControlRefusedError:
                    continue
        self._knows_control = True

    # Taking it again

    async def _derive(self, entry: _Entry, turn: AuditRecord, ranges: Sequence[Range]) -> Turn[Any, Any]:
        """The turn as it comes out; of several ways that the trail leaves open, the one that it tells of."""
        bounds = self._bounds_now()
        inbox = self._agent.inbox[0], self._lane
        recorded = sum(part.count for part in turn.outputs if (part.topic, part.partition) == inbox)
        keys: list[str] = []
        if recorded and self._agent.on_timer is not None:
            keys = await self._written_to(inbox).timers(recorded, entry.at_ms)
        draw = bytes.fromhex(turn.entropy)

        def attempt(bounds: Bounds, keys: Sequence[str]) -> Turn[Any, Any]:
            def timers(emitted: int) -> Sequence[str]:
                return keys[: max(0, recorded - emitted)]

            return self._rerun.attempt(Past(ranges=ranges, draw=draw, bounds=bounds, timers=timers))

        first = attempt(bounds, keys)
        if self._comes_out(first, turn):
            return first
        if recorded and self._agent.on_timer is not None:
            told = attempt(bounds, self._due_at(entry.at_ms))
            if self._comes_out(told, turn):
                return told
        for other in (await self._bounds_of_letters(bounds, entry.at_ms), _unbounded(bounds)):
            told = attempt(other, keys)
            if self._comes_out(told, turn):
                return told
        return first

    def _comes_out(self, derived: Turn[Any, Any], turn: AuditRecord) -> bool:
        return bool(orjson.loads(self._trail_of(derived))["output_digest"] == turn.output_digest)

    def _due_at(self, at_ms: int) -> list[str]:
        """The rows whose timers were due, in the order in which a lane fires them."""
        rows = self._rerun.state.rows
        due = [(s.due_ms, key, s.version) for key, s in rows.items() if s.due_ms is not None and s.due_ms <= at_ms]
        return [key for _, key, _ in sorted(due)]

    def _bounds_now(self) -> Bounds:
        control = self._rerun.state.control
        if self._bounds is None or self._bounds_control is not control:
            self._bounds = self._facts.bounds(self._agent.written_under(control))
            self._bounds_control = control
        return self._bounds

    async def _bounds_of_letters(self, bounds: Bounds, at_ms: int) -> Bounds:
        """The limits that dead letters of that time name: a topic's limit may have been another one then."""
        topic = self._agent.topics.dead_letters
        limits = dict(bounds.max_bytes)
        for letter in await self._written_to((topic, self._lane % bounds.partitions[topic])).letters(at_ms):
            if letter.kind is not LetterKind.OUTPUT_TOO_LARGE:
                continue
            if found := _LIMIT.search(letter.error):
                limits[found[1]] = int(found[2]) + _BATCH_OVERHEAD
            elif found := _CHANGELOG_LIMIT.search(letter.error):
                limits[self._agent.topics.changelog] = int(found[1])
        return Bounds(bounds.partitions, limits)

    def _trail_of(self, derived: Turn[Any, Any]) -> bytes:
        return derived.batches[self._audit][0][1] or b""

    # Comparing

    async def _compare_outputs(self, entry: _Entry, turn: AuditRecord, derived: Turn[Any, Any]) -> None:
        """The turn comes out as recorded: what it wrote has to be in the log."""
        is_whole = True
        if self._window.has(entry.at_ms):
            for place, outputs in self._outputs_of(derived):
                told = await self._find(place, outputs, entry.at_ms)
                is_whole &= self._say_of_outputs(turn, place, told)
            self._report.verified += is_whole
            self._report.decisions += derived.records

    def _say_of_outputs(self, turn: AuditRecord, place: Place, told: Matched) -> bool:
        where = f"{place[0]}/{place[1]}"
        for image in told.missing:
            words = f"a record of {_named(image[0])} that the turn wrote is not there"
            self._say(Kind.OUTPUT_REMOVED, turn.seq, words, where)
        for image, record in told.changed:
            words = f"the record was changed; {comparing.differing(image, record)}"
            self._say(
                Kind.OUTPUT_CHANGED, turn.seq, words.replace("is now", "was written as"), position(place, record.offset)
            )
        for record in told.reordered:
            words = "the record stands before one that was written earlier"
            self._say(Kind.OUTPUT_REORDERED, turn.seq, words, position(place, record.offset))
        if told.gone:
            self._say(Open.OUTPUTS_DELETED, turn.seq, f"{told.gone} records of the turn", where)
        if told.unsought:
            words = f"{told.unsought} records of the turn were not looked for after so many that are missing"
            self._say(Kind.OUTPUT_REMOVED, turn.seq, words, where)
        return not (told.missing or told.changed or told.reordered or told.gone or told.unsought)

    async def _claim_quietly(self, entry: _Entry, turn: AuditRecord, derived: Turn[Any, Any]) -> None:
        """Takes over the outputs that are there; those that are not follow from what was said already."""
        found = 0
        for place, outputs in self._outputs_of(derived):
            told = await self._find(place, outputs, entry.at_ms)
            found += len(list(told.claimed))
        if found < sum(part.count for part in turn.outputs):
            self._count_unresolved(turn)

    async def _tell_apart(
        self, entry: _Entry, turn: AuditRecord, ranges: Sequence[Range], derived: Turn[Any, Any]
    ) -> None:
        """The turn does not come out as recorded, and the chain vouches for the record: what is it that differs?"""
        told = inputs.differences(turn, ranges)
        for kind, words, at in told:
            self._say(kind, turn.seq, words, at)
        now = orjson.loads(self._trail_of(derived))
        if told or now["output_digest"] == turn.output_digest:
            if not told and now["clock"] != turn.clock:
                words = (
                    f"the times of its inputs are not the same: the lane's time was {turn.clock}, is now {now['clock']}"
                )
                self._say(Kind.INPUT_CHANGED, turn.seq, words, self._at(entry))
            elif not told and (others := _fields_that_differ(entry.raw, self._trail_of(derived)) - {"previous"}):
                words = f"turn {turn.seq} comes out otherwise in {', '.join(sorted(others))}"
                self._say(Kind.DECISION_DIFFERS, turn.seq, words, self._at(entry))
            await self._claim_quietly(entry, turn, derived)
            self._knows_state = self._agent.rows is None  # else rows come of inputs that are not the same any more
            return
        await self._tell_decisions_apart(entry, turn, derived)
        self._tainted_since = self._tainted_since or turn.seq

    async def _tell_decisions_apart(self, entry: _Entry, turn: AuditRecord, derived: Turn[Any, Any]) -> None:
        recorded = {(part.topic, part.partition): part.count for part in turn.outputs}
        outputs = list(self._outputs_of(derived, of_all=True))
        hashes: list[bytes] = []
        said: list[tuple[str, str]] = []
        is_encoding, claimed = True, 0
        for place, expected in outputs:
            told = await self._find(place, expected, entry.at_ms)
            claimed += len(list(told.claimed))
            prefix = digest.partition_prefix(*place)
            for record in told.records:
                if record is not None:
                    written = digest.output_image(prefix, record.key, record.headers, record.value)
                    hashes.append(digest.sha256(written))
            is_encoding &= not told.missing and not told.unsought
            for image, record in told.changed:
                is_encoding &= comparing.same_but_for_encoding(image, record)
                said.append((position(place, record.offset), comparing.differing(image, record)))
        counts = comparing.counts_differ(recorded, {place: len(expected) for place, expected in outputs})
        as_recorded = digest.of_hashes(hashes) == turn.output_digest
        at, words = said[0] if said else (self._at(entry), "")
        words = "; ".join(part for part in (words, counts) if part) or "what it writes is not what was recorded"
        if self._tainted_since is not None and self._agent.rows is not None:
            words = f"{words} (may follow from what differs since turn {self._tainted_since})"
        kind = Kind.ENCODING_DIFFERS if is_encoding and as_recorded and said else Kind.DECISION_DIFFERS
        self._say(kind, turn.seq, words, at)
        if claimed < sum(recorded.values()):
            self._count_unresolved(turn)

    def _outputs_of(self, derived: Turn[Any, Any], *, of_all: bool = False) -> list[tuple[Place, Sequence[Output]]]:
        own = {(self._agent.topics.changelog, self._lane), self._audit}
        return [
            (place, outputs)
            for place, outputs in derived.batches.items()
            if place not in own and (of_all or self._facts.is_kept(place[0]))
        ]

    async def _find(self, place: Place, outputs: Sequence[Output], at_ms: int) -> Matched:
        told = await self._written_to(place).find(outputs, at_ms)
        if self._facts.is_lanes_alone(place[0]) and self._window.is_everything:
            cells = self._report.claims.setdefault(place, Cells())
            settled = self._log.settled(place)
            for offset in told.claimed:
                if offset < settled:
                    cells.remove(offset)
        return told

    def _written_to(self, place: Place) -> Written:
        if place not in self._written:
            self._written[place] = Written(self._log, place)
        return self._written[place]

    def _count_unresolved(self, turn: AuditRecord) -> None:
        """The turn's records are in the log without being claimed: they are not to be taken for added ones."""
        for part in turn.outputs:
            place = part.topic, part.partition
            self._report.unresolved[place] = self._report.unresolved.get(place, 0) + part.count

    def _say(self, kind: Kind | Open, seq: int | None, words: str, at: str | None) -> None:
        self._report.findings.add(Finding(kind, self._agent.name, self._lane, seq, words, at))

    def _at(self, entry: _Entry) -> str:
        return position(self._audit, entry.offset)


def _entry(record: Record) -> _Entry:
    raw = record.value or b""
    try:
        turn = AuditRecord.model_validate_json(raw)
    except ValidationError:
        turn = None
    return _Entry(raw, record.timestamp, record.offset, turn)


def _expected_hash(following: _Entry | None, seq: int, end: Position | None) -> str | None:
    """The hash that the next audit record, or the changelog, has of this one; None where neither says."""
    if following is not None and following.turn is not None and following.turn.seq == seq + 1:
        return following.turn.previous
    return end.head if end is not None and end.seq == seq and end.head != NO_HASH else None


def _fields_that_differ(recorded: bytes, derived: bytes) -> set[str]:
    one: Mapping[str, object] = orjson.loads(recorded)
    other: Mapping[str, object] = orjson.loads(derived)
    names = {name for name in {*one, *other} if one.get(name) != other.get(name)}
    return names or {"its bytes"}


def _unbounded(bounds: Bounds) -> Bounds:
    return Bounds(bounds.partitions, dict.fromkeys(bounds.max_bytes, _UNBOUNDED))


def _named(key: bytes | None) -> str:
    return "no key" if key is None else f"key {key[:60].decode('utf-8', 'backslashreplace')}"
