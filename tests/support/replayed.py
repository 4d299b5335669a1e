"""A replay of recorded lanes, in memory."""

from collections.abc import Mapping, Sequence

from schemas import topics
from schemas.policy import Policy, published
from streams.agents.gateway import ROUTES
from streams.engine.records import InputRecord, Record
from streams.engine.turn import Bounds
from streams.replay.comparing import Difference, Who
from streams.replay.deciding import Replay, Written
from streams.replay.diffing import compared
from streams.replay.joining import Joining, Told
from streams.replay.marker import Marker, Window
from streams.replay.outcomes import outcome_of, said_by
from tests.support.recorded import MIB, NAMING, PARTITIONS, T0, Topics

PREFIX = "try."


def replaying(policy: Policy, prefix: str = PREFIX, limit: int = 8 * MIB) -> Replay:
    names = [f"{prefix}{topic.name}" for topic in topics.catalogue(policy.tenant_topics)]
    return Replay(policy, prefix, Bounds(dict.fromkeys(names, PARTITIONS), dict.fromkeys(names, limit)), T0)


def replayed(live: Topics, policy: Policy, *, prefix: str = PREFIX, most: int = 7) -> list[Written]:
    """Every input of every public topic, at most so many at a time."""
    made = replaying(policy, prefix)
    written: list[Written] = []
    for route in ROUTES:
        for partition, log in sorted(live.get(NAMING.topic(route.public), {}).items()):
            for begin in range(0, len(log), most):
                assert partition == log[begin].partition
                written += made.take(route.public, log[begin : begin + most])
    return written


def differing(live: Topics, policy: Policy, written: Sequence[Written] | None = None) -> Difference:
    """What would change, as the command finds it."""
    after = replayed(live, policy) if written is None else written
    with Joining() as joining:
        joining.before(_told(NAMING.prefix, [r for by in live.values() for log in by.values() for r in log]))
        records = [InputRecord(w.topic, w.partition, 0, w.at_ms, w.key, w.value, w.headers) for w in after]
        joining.after(_told(PREFIX, records))
        return compared(joining, marker(policy))


def marker(policy: Policy) -> Marker:
    window = Window(topic=topics.IN_MESSAGES, partition=0, first=0, next=1)
    versions: Mapping[str, int] = {topics.TRIAGE: 1}
    digest = published(policy.canonical()).digest
    return Marker(
        live=NAMING.prefix,
        since=T0,
        until=T0 + 1,
        epoch=policy.epoch,
        policy=digest,
        release="1",
        decision_versions=versions,
        windows=[window],
        made=[],
    )


def _told(prefix: str, records: Sequence[Record]) -> list[Told]:
    found = ((outcome_of(r.topic.removeprefix(prefix), r, NAMING.prefix), r) for r in records)
    return [(*one, Who(*said_by(record.value))) for one, record in found if one is not None]
