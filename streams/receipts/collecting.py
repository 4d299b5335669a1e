"""A receipt out of the log: from the message to the turn that read it, to what that wrote, to who read that."""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from prometheus_client import CollectorRegistry

from schemas import envelope, topics
from schemas.audit import AuditRecord
from schemas.envelope import SourcePosition
from schemas.receipt import Receipt, ShownTurn
from streams.agents.building import build_agents
from streams.audit.facts import InstalledTopics
from streams.audit.log import Log
from streams.engine.agent import Agent
from streams.engine.records import Record, first_header
from streams.metrics import Measures
from streams.receipts.deciding import Deciding, is_timer
from streams.receipts.drawing import Drawing
from streams.receipts.errors import NotKeptError, UnprovableError
from streams.receipts.retaking import Entry, LaneTrail, OnRecords, Retaken
from streams.receipts.subject import Subject
from streams.receipts.turns import Wrote

_ORDER = (topics.GATEWAY_MESSAGES, topics.TRIAGE, topics.GATEWAY_DECISIONS, topics.DELIBERATOR)


async def collect(
    log: Log, facts: InstalledTopics, message_id: str, source: SourcePosition, on_records: OnRecords = lambda _: None
) -> Receipt:
    """The receipt of the message at that place of the log, as the log is now.

    Raises:
        UnprovableError: the log lacks what it takes, or does not bear it out.
    """
    return await _Collector(log, facts, message_id, source, on_records).run()


class _Collector:
    def __init__(
        self, log: Log, facts: InstalledTopics, message_id: str, source: SourcePosition, on_records: OnRecords
    ) -> None:
        self._log, self._facts, self._on_records = log, facts, on_records
        self._source = source
        self._subject = Subject(message_id, "/".join(map(str, source)), facts.naming)
        self._drawing = Drawing()

    async def run(self) -> Receipt:
        written = await self._through(topics.GATEWAY_MESSAGES, self._source, [self._source.offset])
        for admitted in self._on(written, topics.MESSAGES):
            place = SourcePosition(admitted.topic, admitted.partition, await self._offset(admitted))
            decided = await self._through(topics.TRIAGE, place, [place.offset])
            await self._deliberated({one.partition for one in self._subject.learn(decided)})
        return Receipt(
            v=1,
            message_id=self._subject.message_id,
            source=self._subject.source,
            prefix=self._facts.naming.prefix,
            policies=tuple(self._drawing.policies),
            turns=self._turns(),
            contents=self._drawing.contents,
        )

    def _turns(self) -> tuple[ShownTurn, ...]:
        """In the order of the story; of each lane by their numbers."""
        keys = sorted(self._drawing.turns, key=lambda key: (_ORDER.index(key[0]), *key[1:]))
        return tuple(self._drawing.turns[key] for key in keys)

    def _on(self, written: Sequence[Wrote], topic: str) -> list[Wrote]:
        return [one for one in written if one.topic == self._facts.naming.topic(topic)]

    # Agents that keep no rows

    async def _through(self, agent: str, at: SourcePosition, ours: Collection[int]) -> list[Wrote]:
        """Shows the turn that read a record, and of it all that is ours of that partition; returns what came of it.

        Nothing comes of a turn that is shown already.
        """
        async with self._trail(agent, at.partition) as trail:
            entry = await trail.until(lambda turn: _reads(turn, at.topic, at.offset))
            if entry is None:
                words = f"no turn of {trail.agent.name} has read {'/'.join(map(str, at))} yet"
                raise UnprovableError(f"{words}: try again when 'acgs status' shows that it has caught up")
            if (agent, trail.lane, entry.turn.seq) in self._drawing.turns:
                return []
            taken = await trail.retake(entry)
            deciding = Deciding(agent, trail.lane, self._facts.naming.prefix)
            await self._show_policy(trail, deciding, entry)
            return self._drawing.add(taken, deciding, lambda one: one.topic == at.topic and one.offset in ours)

    async def _show_policy(self, trail: LaneTrail, deciding: Deciding, entry: Entry) -> None:
        """Shows the turn that brought the policy in force before another; its document, if that is not kept."""
        epoch = None if entry.previous is None else AuditRecord.model_validate_json(entry.previous).epoch
        if epoch is None:
            return
        bringing = await trail.until(lambda turn: turn.epoch == epoch)
        if bringing is None:
            raise UnprovableError(f"no turn of {trail.agent.name}/{trail.lane} says when epoch {epoch} came into force")
        try:
            ranges = await trail.inputs(bringing)
        except NotKeptError:
            deciding.take_for_known(self._drawing.add_document(await trail.policy_of(epoch)))
            return
        self._drawing.add_policy(bringing, [record for part in ranges for record in part.records], deciding)

    async def _offset(self, written: Wrote) -> int:
        """Where a record that a turn wrote stands."""
        place, image = (written.topic, written.partition), (written.key, written.value, written.headers)
        async with aclosing(self._log.read(place, self._log.begin(place))) as read:
            async for records in read:
                self._on_records(len(records))
                for record in records:
                    if (record.key, record.value, tuple(record.headers)) == image:
                        return record.offset
        raise UnprovableError(
            f"a record that the story goes on with is not on {place[0]}/{place[1]} (any more): 'acgs audit verify' "
            "says whether it was deleted by retention or taken out"
        )

    # Deliberation

    async def _deliberated(self, lanes: set[int]) -> None:
        """Shows what deliberation decided, on each lane that an item came to: one that is reopened may change lanes."""
        done: set[int] = set()
        while left := sorted(lanes - done):
            votes: set[SourcePosition] = set()
            for one in await self._on_lane(left[0], votes):
                lanes.add(one.partition)
            done.add(left[0])
            await self._show_votes(votes)

    async def _on_lane(self, lane: int, votes: set[SourcePosition]) -> list[Wrote]:
        items: list[Wrote] = []
        bringing: Retaken | None = None
        async with self._trail(topics.DELIBERATOR, lane) as trail, aclosing(trail.every()) as turns:
            deciding = Deciding(topics.DELIBERATOR, lane, self._facts.naming.prefix)
            async for taken in turns:
                if any(self._is_ours(record) for part in taken.ranges for record in part.records):
                    if bringing is not None:
                        records = [record for part in bringing.ranges for record in part.records]
                        self._drawing.add_policy(bringing.entry, records, deciding)
                    written = self._drawing.add(taken, deciding, self._is_ours)
                    items += self._subject.learn(written)
                    votes |= set(self._votes_in(taken))
                if any(deciding.is_control(part.topic) and part.records for part in taken.ranges):
                    bringing = taken
        return items

    def _is_ours(self, record: Record) -> bool:
        return self._subject.has(topics.DELIBERATOR, record)

    def _votes_in(self, taken: Retaken) -> list[SourcePosition]:
        """Where the votes on the message stand that a turn of deliberation read."""
        found: list[SourcePosition] = []
        for record in (record for part in taken.ranges for record in part.records if self._is_ours(record)):
            source = first_header(record.headers, envelope.SOURCE)
            is_vote = not is_timer(record) and first_header(record.headers, envelope.ITEM) is None
            if is_vote and source is not None and first_header(record.headers, envelope.WITHDRAWN) is None:
                found.append(envelope.decode_source(source))
        return found

    async def _show_votes(self, votes: Collection[SourcePosition]) -> None:
        """Shows how votes came in, where that is still kept: what they did is proven without it."""
        for vote in sorted(votes):
            ours = {one.offset for one in votes if one.partition == vote.partition}
            with suppress(NotKeptError):
                await self._through(topics.GATEWAY_DECISIONS, vote, ours)

    @asynccontextmanager
    async def _trail(self, agent: str, lane: int) -> AsyncGenerator[LaneTrail, None]:
        naming = self._facts.naming
        made: Agent[Any, Any] = build_agents([agent], naming, Measures(CollectorRegistry()))[0]
        trail = LaneTrail(self._log, self._facts, made, lane, self._on_records)
        try:
            yield trail
        finally:
            await trail.close()


def _reads(turn: AuditRecord, topic: str, offset: int) -> bool:
    return any(part.topic == topic and part.from_ <= offset < part.to for part in turn.inputs)
