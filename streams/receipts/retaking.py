"""The turns of one lane as the log has them, found, and taken again for the hashes of their records."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from schemas.audit import AuditRecord
from streams.audit.facts import InstalledTopics
from streams.audit.inputs import Inputs, differences
from streams.audit.log import Log, Place
from streams.audit.outputs import Written
from streams.engine.agent import Agent
from streams.engine.digest import NO_HASH
from streams.engine.errors import ControlRefusedError
from streams.engine.rerun import Past, Range, Rerun
from streams.engine.state import Position
from streams.engine.trail import trail_key
from streams.engine.turn import Turn
from streams.receipts.errors import NotKeptError, UnprovableError

OnRecords = Callable[[int], None]
"""Is told how many more records were read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An audit record as the log has it, and the one before it."""

    raw: bytes
    previous: bytes | None
    turn: AuditRecord
    at_ms: int

    @property
    def name(self) -> str:
        """How people call it."""
        return f"{self.turn.agent}/{self.turn.lane} turn {self.turn.seq}"


@dataclass(frozen=True, slots=True)
class Retaken:
    """A turn, the records it read, and everything it wrote, as it comes out now and as its audit record has it."""

    entry: Entry
    ranges: Sequence[Range]
    derived: Turn[Any, Any]


class LaneTrail:
    """The turns of one lane. Close it after use."""

    def __init__(
        self, log: Log, facts: InstalledTopics, agent: Agent[Any, Any], lane: int, on_records: OnRecords
    ) -> None:
        self.agent, self.lane = agent, lane
        self._log, self._facts, self._on_records = log, facts, on_records
        self._inputs = Inputs(log, lane)
        self._rerun: Rerun[Any, Any] = Rerun(agent, lane)
        self._inbox: Written | None = None

    async def close(self) -> None:
        """Lets go of the readers."""
        await self._inputs.close()
        if self._inbox is not None:
            await self._inbox.close()

    async def entries(self) -> AsyncGenerator[Entry, None]:
        """The audit records of the lane, in order.

        Raises:
            UnprovableError: one is none.
        """
        audit = self.agent.topics.audit
        place, key = (audit, self.lane % self._facts.partitions[audit]), trail_key(self.agent.name, self.lane)
        previous: bytes | None = None
        async for records in self._log.read(place, self._log.begin(place)):
            self._on_records(len(records))
            for record in records:
                if record.key != key:
                    continue
                raw = record.value or b""
                try:
                    turn = AuditRecord.model_validate_json(raw)
                except ValidationError as error:
                    words = f"{place[0]}/{place[1]}/{record.offset} is no audit record"
                    raise UnprovableError(f"{words}: 'acgs audit verify' says what was changed") from error
                yield Entry(raw, previous, turn, record.timestamp)
                previous = raw

    async def until(self, is_wanted: Callable[[AuditRecord], bool]) -> Entry | None:
        """The first turn that is wanted, None where there is none. Raises as entries()."""
        async with aclosing(self.entries()) as entries:
            async for entry in entries:
                if is_wanted(entry.turn):
                    return entry
        return None

    async def retake(self, entry: Entry) -> Retaken:
        """Takes a turn of an agent that keeps no rows again.

        Raises:
            UnprovableError: the records it read are gone or changed, or it does not come out as recorded.
        """
        ranges = await self.inputs(entry)
        await self._adopt_policy(entry)
        return await self._take(entry, ranges)

    async def every(self) -> AsyncGenerator[Retaken, None]:
        """Every turn from the first on, taken again in order: for agents that keep rows. Raises as retake()."""
        async with aclosing(self.entries()) as entries:
            async for entry in entries:
                taken = await self._take(entry, await self.inputs(entry))
                self._rerun.keep(taken.derived)
                yield taken

    async def inputs(self, entry: Entry) -> list[Range]:
        """What a turn read.

        Raises:
            NotKeptError: retention has deleted it.
            UnprovableError: not all of it is in the log as it was read.
        """
        gone = self._inputs.deleted(entry.turn)
        if gone is not None:
            raise NotKeptError(f"what {entry.name} read is not kept any more: {gone}")
        ranges = await self._inputs.of(entry.turn)
        self._on_records(sum(len(part.records) for part in ranges))
        told = differences(entry.turn, ranges)
        if told:
            raise UnprovableError(f"{entry.name}: {told[0][1]}. 'acgs audit verify' says more")
        return ranges

    async def policy_of(self, epoch: int) -> bytes:
        """The document of an epoch, from its log.

        Raises:
            UnprovableError: it is not there.
        """
        found: bytes | None = None
        async for document, number in self._policies():
            found = document if number == epoch else found
        if found is None:
            raise UnprovableError(f"epoch {epoch} of the policy is not in its log: 'acgs audit verify' says more")
        return found

    async def _adopt_policy(self, entry: Entry) -> None:
        """The policy in force before the turn, from its log."""
        control, state = self.agent.control, self._rerun.state
        before = None if entry.previous is None else AuditRecord.model_validate_json(entry.previous).epoch
        if control is not None:
            document = None if before is None else await self.policy_of(before)
            state.control_document = document
            state.control = None if document is None else control.follow(document, None)

    async def _policies(self) -> AsyncGenerator[tuple[bytes, int], None]:
        """The policies that came into force on the lane, with their epochs."""
        control = self.agent.control
        if control is None:
            return
        place, current = (control.topic, self.lane), None
        async for records in self._log.read(place, self._log.begin(place)):
            for record in records:
                try:
                    current = control.follow(record.value or b"", current)
                except ControlRefusedError:
                    continue
                yield record.value or b"", control.epoch(current)

    async def _take(self, entry: Entry, ranges: Sequence[Range]) -> Retaken:
        turn = entry.turn
        if turn.decision_version != self.agent.decision_version:
            words = f"{entry.name} was decided by decision_version {turn.decision_version}"
            raise UnprovableError(f"{words}: make the receipt with the release that decides by that")
        first = {part.topic: part.from_ for part in reversed(turn.inputs)}
        now = self._rerun.position
        clock = now.clock_ms
        if entry.previous is not None:
            clock = AuditRecord.model_validate_json(entry.previous).clock
        self._rerun.stand_at(Position({**now.offsets, **first}, turn.seq - 1, NO_HASH, clock))
        inbox = self.agent.inbox[0], self.lane
        recorded = sum(part.count for part in turn.outputs if (part.topic, part.partition) == inbox)
        fired = await self._fired(inbox, recorded, entry.at_ms)
        bounds = self._facts.bounds(self.agent.written_under(self._rerun.state.control))

        def attempt(keys: Sequence[str]) -> Turn[Any, Any]:
            past = Past(
                ranges=ranges,
                draw=bytes.fromhex(turn.entropy),
                bounds=bounds,
                timers=lambda emitted: keys[: max(0, recorded - emitted)],
            )
            return self._rerun.attempt(past)

        for keys in (fired, self._due_at(entry.at_ms)):
            derived = attempt(keys)
            if self._output_digest(derived) == turn.output_digest:
                if self._inbox is not None and recorded:
                    await self._inbox.find(derived.batches.get(inbox, ()), entry.at_ms)
                return Retaken(entry, ranges, derived)
        raise UnprovableError(f"{entry.name} does not come out as recorded: 'acgs audit verify' says what differs")

    async def _fired(self, inbox: Place, recorded: int, at_ms: int) -> Sequence[str]:
        if not recorded or self.agent.on_timer is None:
            return ()
        self._inbox = self._inbox or Written(self._log, inbox)
        return await self._inbox.timers(recorded, at_ms)

    def _due_at(self, at_ms: int) -> list[str]:
        rows = self._rerun.state.rows
        due = [(s.due_ms, key, s.version) for key, s in rows.items() if s.due_ms is not None and s.due_ms <= at_ms]
        return [key for _, key, _ in sorted(due)]

    def _output_digest(self, derived: Turn[Any, Any]) -> object:
        audit = self.agent.topics.audit
        raw = derived.batches[audit, self.lane % self._facts.partitions[audit]][0][1]
        return orjson.loads(raw or b"{}")["output_digest"]
