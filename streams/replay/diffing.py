"""A replay held to what was decided: both read from their topics, joined by input."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from schemas import topics
from streams.agents.naming import Naming
from streams.audit.kafka_log import KafkaLog, Moment
from streams.audit.log import Log, Place
from streams.broker import require_topics
from streams.engine.client import EngineSettings
from streams.errors import ReplayError
from streams.replay.comparing import Difference, Who
from streams.replay.joining import Joining, Told
from streams.replay.marker import Marker
from streams.replay.outcomes import outcome_of, said_by, topics_of
from streams.replay.windows import begins
from streams.replay.writing import marker_of

OnProgress = Callable[[int, int], None]
"""Told of the records read so far, and of about how many there are."""


async def difference(settings: EngineSettings, prefix: str, on_progress: OnProgress = lambda _, __: None) -> Difference:
    """What the replay under a prefix decided otherwise than the installation of the settings had.

    Raises:
        ReplayError: there is no replay, it is not complete, or it is one of another installation.
        BrokerError: the broker cannot be reached or refuses.
    """
    own = replace(settings, prefix=prefix)
    marker, finish = await marker_of(own)
    if marker is None or finish is None:
        raise ReplayError(
            f"the replay under '{prefix}' did not come to its end. 'acgs replay remove {prefix}', and make it again"
        )
    if marker.live != settings.prefix:
        raise ReplayError(
            f"the replay under '{prefix}' is one of '{marker.live}', not of '{settings.prefix}': set ACGS_PREFIX"
        )
    existing = await require_topics(settings, ())
    before = await begins(settings, _places(Naming(settings.prefix), existing), marker.since)
    after = await begins(settings, _places(Naming(prefix), existing), 0)
    spans = {**before, **after}
    total, done = sum(end - begin for begin, end in spans.values()), 0
    async with KafkaLog(settings, Moment({}, {}, {place: end for place, (_, end) in spans.items()})) as log:
        with Joining() as joining:
            for place, (begin, _) in spans.items():
                is_live = place in before
                async for found, count in _outcomes(log, place, begin, settings.prefix if is_live else prefix, marker):
                    (joining.before if is_live else joining.after)(found)
                    done += count
                    on_progress(done, total)
            return compared(joining, marker)


def compared(joining: Joining, marker: Marker) -> Difference:
    """All inputs of a replay, in order."""
    made = Difference(marker)
    for one in joining.joined():
        made.add(*one)
    return made


def _places(naming: Naming, existing: dict[str, int]) -> list[Place]:
    begin = naming.topic(topics.deliveries_of(""))
    tenants = tuple(name.removeprefix(begin) for name in existing if name.startswith(begin))
    names = [naming.topic(name) for name in topics_of(tenants)]
    return [(name, partition) for name in names if name in existing for partition in range(existing[name])]


async def _outcomes(
    log: Log, place: Place, begin: int, prefix: str, marker: Marker
) -> AsyncIterator[tuple[list[Told], int]]:
    """The outcomes in a partition that are about the replay's inputs, and how many records there were."""
    topic = place[0].removeprefix(prefix)
    spans = {(window.topic, window.partition): window for window in marker.windows}
    async for records in log.read(place, begin):
        told: list[Told] = []
        for record in records:
            found = outcome_of(topic, record, marker.live)
            if found is None:
                continue
            window = spans.get((found[0].topic, found[0].partition))
            if window is not None and window.first <= found[0].offset < window.next:
                told.append((*found, Who(*said_by(record.value))))
        yield told, len(records)
