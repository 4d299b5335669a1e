"""One lane's trail, from its first audit record to its last: chain, inputs, decisions and outputs."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from schemas.audit import AuditRecord
from streams.audit import chain, inputs
from streams.audit.again import Again
from streams.audit.apart import Different, tell_apart
from streams.audit.entries import Entry, entries, expected_hash, last_position
from streams.audit.erased import NOTHING, Erased
from streams.audit.facts import TopicFacts
from streams.audit.findings import Kind, Open
from streams.audit.log import Log
from streams.audit.produced import Produced
from streams.audit.rebuilt import Rebuilt, last_known_before
from streams.audit.releases import Pythons, ReleaseError
from streams.audit.report import LaneReport, Window
from streams.audit.subject import subject
from streams.engine import digest
from streams.engine.agent import Agent
from streams.engine.rerun import Range
from streams.engine.state import Position
from streams.engine.turn import Turn

_SAYS_EVERY = 50
_NO_OTHERS: Pythons = {}


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
        erased: Erased = NOTHING,
        pythons: Pythons = _NO_OTHERS,
        on_turns: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._lane = subject(agent, lane, log, facts, window=window or Window(), erased=erased)
        self._report, self._on_turns = self._lane.report, on_turns
        self._inputs = inputs.Inputs(self._lane.log, lane)
        self._produced = Produced(self._lane)
        self._again = Again(self._lane, self._produced, pythons)
        self._rebuilt = Rebuilt(self._lane.log, (agent.topics.changelog, lane))
        self._passes_over_until = 0

    async def run(self) -> LaneReport:
        """Reads the trail to its end and says what came of it."""
        lane = self._lane
        try:
            if lane.window.since_ms is not None and lane.agent.rows is not None:
                async with aclosing(self._trail()) as trail:
                    self._passes_over_until = await last_known_before(lane, lane.window.since_ms, trail)
            async with aclosing(self._trail(self._count)) as trail:
                await self._read(trail)
        finally:
            await self._inputs.close()
            await self._produced.close()
            await self._rebuilt.close()
            await self._again.close()
        self._report.head = lane.rerun.position.head if self._report.last_seq else None
        return self._report

    def _trail(self, on_records: Callable[[int], None] = lambda _: None) -> AsyncGenerator[Entry, None]:
        lane = self._lane
        return entries(lane.log, lane.audit, lane.key, lane.window.until_ms, on_records)

    def _count(self, records: int) -> None:
        self._report.trail += records

    async def _read(self, trail: AsyncGenerator[Entry, None]) -> None:
        lane = self._lane
        end = await self._end()
        entry = await anext(trail, None)
        while entry is not None:
            following = await anext(trail, None)
            await self._take(entry, following, end)
            self._report.turns += 1
            self._report.before += not lane.window.has(entry.at_ms)
            if self._report.turns % _SAYS_EVERY == 0:
                self._on_turns(_SAYS_EVERY)
                await asyncio.sleep(0)
            entry = following
        self._on_turns(self._report.turns % _SAYS_EVERY)
        if lane.window.until_ms is None:
            chain.compare_end(lane, end)

    async def _end(self) -> Position | None:
        changelog = self._lane.agent.topics.changelog, self._lane.lane
        try:
            return await last_position(self._lane.log, changelog)
        except ValueError as error:
            self._report.say(Kind.CHAIN_BROKEN, None, f"where its changelog says the lane stands: {error}", None)
            return None

    async def _take(self, entry: Entry, following: Entry | None, end: Position | None) -> None:
        lane = self._lane
        turn = chain.follows(lane, entry)
        if turn is None:
            return
        if self._passes_over(entry, turn):
            await self._pass_over(entry, turn)
        else:
            await self._verify(entry, turn, expected_hash(following, turn.seq, end))
        self._report.last_seq = max(self._report.last_seq, turn.seq)
        if end is not None and turn.seq == end.seq and lane.knows_head and lane.rerun.position.head != end.head:
            words = f"turn {turn.seq} is not the audit record that the lane's changelog names by its hash"
            self._report.say(Kind.CHAIN_BROKEN, turn.seq, words, lane.at(entry))

    # One turn

    def _passes_over(self, entry: Entry, turn: AuditRecord) -> bool:
        """Whether nothing that was asked for depends on the turn."""
        lane = self._lane
        if lane.agent.rows is None:
            return not lane.window.has(entry.at_ms)
        return turn.seq <= self._passes_over_until

    async def _pass_over(self, entry: Entry, turn: AuditRecord) -> None:
        """Verifies the turn's place in the chain alone."""
        lane = self._lane
        chain.stand_where_it_says(lane, entry, turn)
        lane.forget_state()
        lane.knows_control = False
        chain.move_on(lane, entry, turn)
        if turn.seq == self._passes_over_until:
            await self._take_up_again(turn)

    async def _take_up_again(self, turn: AuditRecord) -> None:
        """Where the rows are not known any more: those of the changelog, if the turn's digest vouches for them."""
        if turn.state_digest is not None and not self._lane.knows_state:
            await self._rebuilt.adopt(self._lane, turn.seq, turn.state_digest)

    async def _verify(self, entry: Entry, turn: AuditRecord, expected: str | None) -> None:
        await self._verify_turn(entry, turn, expected)
        if expected is None or expected == entry.hash:
            await self._take_up_again(turn)

    async def _verify_turn(self, entry: Entry, turn: AuditRecord, expected: str | None) -> None:
        lane = self._lane
        chain.stand_where_it_says(lane, entry, turn)
        is_sure = expected is None or expected == entry.hash
        if not self._again.has(turn.decision_version) and is_sure:
            ours = lane.agent.decision_version
            words = f"by decision_version {turn.decision_version}; this release decides by {ours}"
            self._skip(entry, turn, Open.OTHER_RELEASE, words)
            return
        gone = self._inputs.deleted(turn)
        if gone is not None:
            self._skip(entry, turn, Open.INPUTS_DELETED, gone)
            return
        ranges = await self._inputs.of(turn)
        erased = lane.erased.read_by(turn) if lane.erased.inputs else 0
        if erased and inputs.fits_with_erased(turn, ranges, lane.erased):
            words = f"{erased} of the records that the turn read; with their hashes it is what it read"
            self._skip(entry, turn, Open.ERASED, words)
            return
        await self._again.adopt_control(turn)
        if not lane.knows_state:
            self._only_inputs(entry, turn, ranges)
            return
        try:
            derived = await self._again.take(entry, turn, ranges)
        except ReleaseError as error:
            words = f"the release of decision_version {turn.decision_version} cannot take it again: {error}"
            self._skip(entry, turn, Open.OTHER_RELEASE, words)
            return
        if lane.trail_of(derived) == entry.raw:
            await self._compare_outputs(entry, turn, derived)
        else:
            await tell_apart(lane, self._produced, Different(entry, turn, ranges, derived), expected)
        await self._keep(entry, turn, derived, expected)

    async def _compare_outputs(self, entry: Entry, turn: AuditRecord, derived: Turn[Any, Any]) -> None:
        """The turn comes out as recorded: what it wrote has to be in the log."""
        if self._lane.window.has(entry.at_ms):
            self._report.verified += await self._produced.compare(turn, derived, entry.at_ms)
            self._report.decisions += derived.records

    async def _keep(self, entry: Entry, turn: AuditRecord, derived: Turn[Any, Any], expected: str | None) -> None:
        lane = self._lane
        await self._again.keep(derived)
        trail = lane.trail_of(derived)
        if trail == entry.raw or digest.of_bytes(trail) == expected or not lane.knows_head:
            return
        now = lane.rerun.position
        lane.rerun.stand_at(Position(now.offsets, turn.seq, entry.hash, turn.clock))

    def _skip(self, entry: Entry, turn: AuditRecord, kind: Open, words: str) -> None:
        """A turn that cannot be taken again: its place in the chain is all that was verified."""
        lane = self._lane
        self._report.say(kind, turn.seq, words, lane.at(entry))
        self._report.count_unresolved(turn)
        lane.forget_state()
        lane.knows_control = False
        chain.move_on(lane, entry, turn)

    def _only_inputs(self, entry: Entry, turn: AuditRecord, ranges: Sequence[Range]) -> None:
        lane = self._lane
        for kind, words, at in inputs.differences(turn, ranges):
            self._report.say(kind, turn.seq, words, at)
        words = "chain and inputs were verified, the decisions were not"
        self._report.say(Open.STATE_UNKNOWN, turn.seq, words, lane.at(entry))
        self._report.count_unresolved(turn)
        chain.move_on(lane, entry, turn)
