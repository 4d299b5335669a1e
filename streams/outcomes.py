"""What became of the records that were published: delivered, held, rejected or dead-lettered, by source position."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from schemas import envelope, topics
from schemas.reasons import Reason
from schemas.score import ScoreCard, decode_card
from streams.agents.naming import Naming
from streams.broker import require_topics
from streams.engine import client, dead_letters
from streams.engine.client import Consumer, EngineSettings
from streams.engine.records import Record

_POLL_MS = 100


_ITEM_REFUSED = frozenset({Reason.DUPLICATE_ITEM, Reason.TOO_MANY_HELD, Reason.INVALID_ITEM, Reason.INVALID_POLICY})
"""Why deliberation does not take what triage holds; what was published has been decided on by then."""


class Fate(StrEnum):
    """What was decided on a published record first; there is exactly one such decision.

    What is held is decided on once more, by approvers.
    """

    DELIVERED = "delivered"
    HELD = "held"
    REJECTED = "rejected"
    DEAD_LETTERED = "dead-lettered"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One decided record."""

    fate: Fate
    source: str
    record: Record
    headers: dict[str, str]

    @property
    def card(self) -> ScoreCard | None:
        """The score card, where there is one."""
        text = self.headers.get(envelope.CARD)
        return None if text is None else decode_card(text.encode())


@dataclass(slots=True)
class Tally:
    """Counts of outcomes, and whether any record has more than one."""

    fates: Counter[Fate] = field(default_factory=Counter[Fate])
    seen: Counter[str] = field(default_factory=Counter[str])

    def add(self, outcome: Outcome) -> None:
        """Counts an outcome."""
        self.fates[outcome.fate] += 1
        self.seen[outcome.source] += 1

    def lost(self, sources: Iterable[str]) -> list[str]:
        """Those of the given sources that have no outcome."""
        return [source for source in sources if source not in self.seen]

    @property
    def doubled(self) -> list[str]:
        """Sources with more than one outcome."""
        return [source for source, count in self.seen.items() if count > 1]


class Outcomes:
    """Reads the topics where decisions end, from their ends at start() on. Committed records only."""

    def __init__(self, settings: EngineSettings) -> None:
        naming = Naming(settings.prefix)
        self._fates = {
            naming.topic(topics.DELIVERIES): Fate.DELIVERED,
            naming.topic(topics.DELIBERATION): Fate.HELD,
            naming.topic(topics.REJECTED): Fate.REJECTED,
            **{naming.topic(topics.dead_letters(agent)): Fate.DEAD_LETTERED for agent in topics.LANE_AGENTS},
        }
        self._settings = settings
        self._of_messages = f"{naming.topic(topics.IN_MESSAGES)}/"
        self._consumer: Consumer = client.reader(settings, follows=True)

    async def start(self) -> None:
        """Stands at the topics' ends.

        Raises:
            InstallationError: a topic is missing.
            BrokerError: the broker cannot be reached.
        """
        counts = await require_topics(self._settings, self._fates)
        consumer = self._consumer
        await consumer.start()
        partitions = [client.topic_partition(topic, p) for topic in self._fates for p in range(counts[topic])]
        consumer.assign(partitions)
        for tp, offset in (await consumer.end_offsets(partitions)).items():
            consumer.seek(tp, offset)

    async def next(self) -> list[Outcome]:
        """What has been decided since the last call, in the order decided; waits 100 ms for the first."""
        fetched = await self._consumer.getmany(timeout_ms=_POLL_MS)
        found = [self._outcome(record) for records in fetched.values() for record in records]
        return sorted(filter(self._is_first, found), key=lambda outcome: outcome.record.timestamp)

    async def stop(self) -> None:
        """Closes the connection."""
        await client.close(self._consumer, self._settings.turn_timeout)

    def _outcome(self, record: Record) -> Outcome:
        headers: dict[str, str] = {}
        for name, content in record.headers:
            headers.setdefault(name, (content or b"").decode("utf-8", "replace"))
        source = headers.get(envelope.SOURCE) or headers.get(dead_letters.SOURCE, "")
        return Outcome(self._fates[record.topic], source, record, headers)

    def _is_first(self, outcome: Outcome) -> bool:
        """Whether it is the first decision on a message, and not what became of it in deliberation."""
        if not outcome.source.startswith(self._of_messages):
            return False
        match outcome.fate:
            case Fate.DELIVERED:
                return envelope.ITEM not in outcome.headers
            case Fate.HELD:
                return envelope.ITEM in outcome.headers
            case Fate.REJECTED:
                return outcome.headers.get(envelope.REASON) not in _ITEM_REFUSED
            case Fate.DEAD_LETTERED:
                return envelope.ITEM not in outcome.headers
