"""What a lane's turns wrote: looked for on the topics, claimed, and said where it is not as it was."""

from collections.abc import Sequence
from typing import Any

from schemas.audit import AuditRecord
from streams.audit import comparing
from streams.audit.cells import Cells, Present
from streams.audit.findings import Kind, Open, position
from streams.audit.log import Place
from streams.audit.outputs import Matched, Written
from streams.audit.subject import Subject
from streams.engine.turn import Output, Turn


class Produced:
    """The partitions that one lane writes to, each read once, forward, beside the lane's turns."""

    def __init__(self, lane: Subject) -> None:
        self._lane = lane
        self._written: dict[Place, Written] = {}

    async def compare(self, turn: AuditRecord, derived: Turn[Any, Any], at_ms: int) -> bool:
        """Whether what the turn comes out to write is in the log; says what is not."""
        is_whole = True
        for place, outputs in self.outputs_of(derived):
            told = await self.find(place, outputs, at_ms)
            is_whole &= self._say(turn, place, told)
        return is_whole

    async def claim_quietly(self, turn: AuditRecord, derived: Turn[Any, Any], at_ms: int) -> None:
        """Takes over the outputs that are there; those that are not follow from what was said already."""
        found = 0
        for place, outputs in self.outputs_of(derived):
            told = await self.find(place, outputs, at_ms)
            found += len(list(told.claimed))
        if found < sum(part.count for part in turn.outputs):
            self._lane.report.count_unresolved(turn)

    def outputs_of(self, derived: Turn[Any, Any], *, of_all: bool = False) -> list[tuple[Place, Sequence[Output]]]:
        """What the turn writes for others; `of_all` with compacted topics, whose records need not be there any more."""
        agent, facts = self._lane.agent, self._lane.facts
        own = {(agent.topics.changelog, self._lane.lane), self._lane.audit}
        return [
            (place, outputs)
            for place, outputs in derived.batches.items()
            if place not in own and (of_all or facts.is_kept(place[0]))
        ]

    async def find(self, place: Place, outputs: Sequence[Output], at_ms: int) -> Matched:
        """Finds records of a turn, and claims them."""
        lane = self._lane
        told = await self.written_to(place).find(outputs, at_ms)
        if lane.accounts_for(place[0]):
            cells = lane.report.claims.setdefault(place, Cells())
            settled = lane.log.settled(place)
            for offset in told.claimed:
                if offset < settled:
                    cells.remove(offset)
            if told.erased:
                lane.report.erased.setdefault(place, set()).update(told.erased)
        return told

    def written_to(self, place: Place) -> Written:
        """The reader of one partition."""
        if place not in self._written:
            self._written[place] = (
                self._counting(place)
                if self._counts(place)
                else Written(self._lane.log, place, erased=self._lane.erased)
            )
        return self._written[place]

    def _counts(self, place: Place) -> bool:
        """Whether to count what is there on the way: of all the lanes that read a partition, one of each agent does."""
        lane = self._lane
        return place[1] == lane.lane and lane.accounts_for(place[0])

    def _counting(self, place: Place) -> Written:
        lane = self._lane
        present = lane.report.present[place] = Present(
            lane.log.begin(place), is_counted=lane.facts.counted_on(place[0])
        )
        settled = lane.log.settled(place)
        return Written(lane.log, place, erased=lane.erased, on_records=lambda records: present.add(records, settled))

    async def close(self) -> None:
        """Lets go of the readers."""
        for written in self._written.values():
            await written.close()

    def _say(self, turn: AuditRecord, place: Place, told: Matched) -> bool:
        where, say = f"{place[0]}/{place[1]}", self._lane.report.say
        for key, _, _ in told.missing:
            say(Kind.OUTPUT_REMOVED, turn.seq, f"a record of {_named(key)} that the turn wrote is not there", where)
        for image, record in told.changed:
            words = f"the record was changed; {comparing.differing(image, record, comparing.CHANGED)}"
            say(Kind.OUTPUT_CHANGED, turn.seq, words, position(place, record.offset))
        for record in told.reordered:
            words = "the record stands before one that was written earlier"
            say(Kind.OUTPUT_REORDERED, turn.seq, words, position(place, record.offset))
        if told.gone:
            say(Open.OUTPUTS_DELETED, turn.seq, f"{told.gone} records of the turn", where)
        if told.erased:
            say(Open.ERASED, turn.seq, f"{len(told.erased)} records that the turn wrote", where)
        if told.unsought:
            words = f"{told.unsought} records of the turn were not looked for after so many that are missing"
            say(Kind.OUTPUT_REMOVED, turn.seq, words, where)
        return told.is_as_written


def _named(key: bytes | None) -> str:
    return "no key" if key is None else f"key {key[:60].decode('utf-8', 'backslashreplace')}"
