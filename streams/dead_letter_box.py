"""Dead letters: which are unresolved, and their redriving or discarding, each in one transaction."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from schemas import topics
from streams.agents.naming import Naming
from streams.broker import Outgoing, record_at, records_of, require_topics, write_once
from streams.engine import client, dead_letters, digest
from streams.engine.client import EngineSettings
from streams.engine.dead_letters import DeadLetter, Kind, resolution_headers, resolution_of
from streams.engine.records import Headers, Record
from streams.errors import StreamsError

_AT_ONCE = 100
"""Letters in one transaction: it must end within its timeout."""


class DeadLetterError(StreamsError):
    """A dead letter cannot be resolved as asked."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter of an agent: where it stands, what it says, and how it was resolved, if it was.

    `digest` is that of the record's value, where the value itself was too large for the letter.
    """

    agent: str
    partition: int
    letter: DeadLetter
    digest: str | None = None
    resolution: str | None = None

    @property
    def id(self) -> str:
        """Where the failed record stands: `topic/partition/offset`."""
        return f"{self.letter.topic}/{self.letter.partition}/{self.letter.offset}"

    @property
    def can_be_redriven(self) -> bool:
        """False for a policy that could not follow the one in force: it would be refused again."""
        return self.letter.kind is not Kind.CONTROL_REFUSED


async def letters(settings: EngineSettings, agents: Collection[str] = topics.LANE_AGENTS) -> list[Letter]:
    """Every dead letter that retention has left, the oldest first.

    Raises:
        InstallationError: a topic of dead letters is missing.
        BrokerError: the broker cannot be reached or refuses.
    """
    naming = Naming(settings.prefix)
    counts = await require_topics(settings, [naming.own(agent).dead_letters for agent in agents])
    found: list[Letter] = []
    for agent in agents:
        topic = naming.own(agent).dead_letters
        box: dict[bytes, Letter] = {}
        async for record in records_of(settings, topic, range(counts[topic])):
            _take(box, agent, record)
        found += box.values()
    return sorted(found, key=lambda one: one.letter.timestamp)


def _take(box: dict[bytes, Letter], agent: str, record: Record) -> None:
    if record.key is None:
        return
    resolution = resolution_of(record.headers)
    if resolution is None:
        try:
            box[record.key] = Letter(agent, record.partition, dead_letters.read(record), _digest(record))
        except (KeyError, ValueError):
            return  # nothing that a lane wrote
    elif record.key in box:
        box[record.key] = replace(box[record.key], resolution=resolution)


def _digest(record: Record) -> str | None:
    return next((content.decode() for name, content in record.headers if name == dead_letters.DIGEST and content), None)


def choose(found: Iterable[Letter], ids: Collection[str], agent: str | None) -> list[Letter]:
    """The letters of those ids.

    Raises:
        DeadLetterError: there is none of an id, or several agents have one.
    """
    by_id: dict[str, list[Letter]] = {}
    for letter in found:
        if agent is None or letter.agent == agent:
            by_id.setdefault(letter.id, []).append(letter)
    for one in ids:
        if one not in by_id:
            raise DeadLetterError(f"there is no dead letter {one}. 'acgs dead-letters list --all' shows every one")
        if len(by_id[one]) > 1:
            names = " and ".join(letter.agent for letter in by_id[one])
            raise DeadLetterError(f"{names} both have a dead letter {one}. Say which with --agent")
    return [by_id[one][0] for one in dict.fromkeys(ids)]


async def redrive(
    settings: EngineSettings, chosen: Sequence[Letter], operator: str, on_done: Callable[[int], None]
) -> None:
    """Writes each record again to the topic and partition it came from, and its resolution, in one transaction.

    `on_done` is told how many were redriven with each transaction. Bytes, key and headers are as they were.

    Raises:
        DeadLetterError: one was resolved already, may not be redriven, or its record is gone; none of its transaction
            was redriven then.
        BrokerError: the broker cannot be reached or refuses.
    """

    async def written(letter: Letter) -> Outgoing:
        _require_redrivable(letter)
        key, value, headers = await _as_it_was(settings, letter)
        return Outgoing(letter.letter.topic, letter.letter.partition, key, value, headers)

    for some in _batches(chosen):

        async def decide(some: Sequence[Letter] = some) -> Sequence[Outgoing]:
            await _require_unresolved(settings, some)
            said = f"redriven by {operator}"
            return [part for one in some for part in (await written(one), _resolution(settings, one, said))]

        await write_once(settings, _transactional_id(settings, some[0].agent), decide)
        on_done(len(some))


async def discard(
    settings: EngineSettings, chosen: Sequence[Letter], operator: str, reason: str, on_done: Callable[[int], None]
) -> None:
    """Notes that nothing will be done about each letter, and why. The letters stay until retention takes them.

    Raises:
        DeadLetterError: one was resolved already.
        BrokerError: the broker cannot be reached or refuses.
    """
    for some in _batches(chosen):

        async def decide(some: Sequence[Letter] = some) -> Sequence[Outgoing]:
            await _require_unresolved(settings, some)
            return [_resolution(settings, one, f"discarded by {operator}: {reason}") for one in some]

        await write_once(settings, _transactional_id(settings, some[0].agent), decide)
        on_done(len(some))


def _batches(chosen: Sequence[Letter]) -> Iterable[Sequence[Letter]]:
    """Letters of one agent at a time, a transaction's worth."""
    for agent in dict.fromkeys(letter.agent for letter in chosen):
        own = [letter for letter in chosen if letter.agent == agent]
        for start in range(0, len(own), _AT_ONCE):
            yield own[start : start + _AT_ONCE]


def _transactional_id(settings: EngineSettings, agent: str) -> str:
    return f"{settings.prefix}operators-dead-letters-{agent}"


async def _require_unresolved(settings: EngineSettings, chosen: Sequence[Letter]) -> None:
    now = {letter.id: letter for letter in await letters(settings, [chosen[0].agent])}
    for one in chosen:
        resolution = now[one.id].resolution if one.id in now else None
        if resolution is not None:
            raise DeadLetterError(f"{one.id} is resolved already: {resolution}. Nothing was done")


def _require_redrivable(letter: Letter) -> None:
    if not letter.can_be_redriven:
        raise DeadLetterError(
            f"{letter.id} is a policy that could not follow the one in force; written again it would be refused again. "
            f"Publish a policy with 'acgs policy publish', then: acgs dead-letters discard {letter.id} --reason WHY"
        )


def _resolution(settings: EngineSettings, letter: Letter, said: str) -> Outgoing:
    topic = Naming(settings.prefix).own(letter.agent).dead_letters
    return Outgoing(topic, letter.partition, letter.id.encode(), None, resolution_headers(said))


async def _as_it_was(settings: EngineSettings, letter: Letter) -> tuple[bytes | None, bytes | None, Headers]:
    said = letter.letter
    if said.has_value:
        return said.key, said.value, said.headers
    source = await source_of(settings, letter)
    if source is None:
        raise DeadLetterError(
            f"the record of {letter.id} was too large for its dead letter, and is no longer where it came from: it "
            "cannot be redriven, only discarded"
        )
    return source.key, source.value, source.headers


async def source_of(settings: EngineSettings, letter: Letter) -> Record | None:
    """The failed record where it came from, or None where it is gone or another stands in its place.

    Raises:
        InstallationError: its topic is gone.
        BrokerError: the broker cannot be reached or refuses.
    """
    topic, partition, offset = letter.letter.topic, letter.letter.partition, letter.letter.offset
    await require_topics(settings, [topic])
    found = await record_at(settings, client.topic_partition(topic, partition), offset)
    is_other = found is not None and letter.digest is not None and digest.of_bytes(found.value or b"") != letter.digest
    return None if is_other else found
