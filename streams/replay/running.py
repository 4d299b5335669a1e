"""A replay, from the live log into topics of its own."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

from schemas import topics
from schemas.policy import Policy, PublishedPolicy, published
from streams import control
from streams.agents.gateway import ROUTES
from streams.agents.naming import Naming
from streams.audit.kafka_log import KafkaLog, Moment
from streams.broker import require_topics, told_errors
from streams.control import KEY
from streams.engine.admin import Admin
from streams.engine.client import EngineSettings
from streams.engine.turn import Bounds
from streams.errors import PolicyRefusedError, ReplayError
from streams.replay import writing
from streams.replay.deciding import Replay, Written
from streams.replay.marker import FINISHED, Finish, Marker
from streams.replay.prefixes import MARKER, require_apart, require_apart_from_all, require_free
from streams.replay.windows import windows

OnProgress = Callable[[int, int], None]
"""Told of the inputs decided so far, and of about how many there are; first once the prefix is this replay's own."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to replay: inputs by their broker times, `since` up to but without `until`, in milliseconds since 1970."""

    into: str
    since: int
    until: int
    replication: int = 1


async def replay(
    settings: EngineSettings, order: Order, policy: Policy | None, on_progress: OnProgress = lambda _, __: None
) -> tuple[Marker, Finish]:
    """Decides past inputs once more, under a policy or the one in force, into topics under another prefix.

    Reads of the live installation, and writes nothing there. Each transaction holds all that follows from some inputs.
    When it fails or is cancelled after `on_progress` was called, what was made stays, without its end:
    writing.remove() removes it. Before, there is nothing, or what is there is somebody else's.

    Raises:
        ReplayError: the prefix, the time, or what is there already does not allow it. Nothing was made.
        PolicyRefusedError: no policy is given, and none is in force.
        InstallationError: there is no installation under the live prefix.
        BrokerError: the broker cannot be reached or refuses.
    """
    require_apart(order.into, settings.prefix)
    if order.since >= order.until:
        raise ReplayError("the time to replay ends before it begins: give --from an earlier time than --to")
    live, own = Naming(settings.prefix), replace(settings, prefix=order.into)
    existing = await require_topics(settings, [live.topic(topic.name) for topic in topics.catalogue()])
    require_apart_from_all(order.into, existing)
    require_free(order.into, existing)
    chosen = published(policy.canonical()) if policy is not None else await _in_force(settings)
    public = {live.topic(route.public): existing[live.topic(route.public)] for route in ROUTES}
    found = await windows(settings, public, order.since, order.until)
    inputs = sum(window.next - window.first for window in found)
    if not inputs:
        raise ReplayError("there is no input of that time, so that nothing was made: 'acgs tail' shows what there is")
    partitions = existing[live.topic(topics.CONTROL)]
    bounds = await _bounds(settings, live, own, chosen.policy, partitions)
    deciding = Replay(chosen.policy, order.into, bounds, order.since)
    marker = Marker(
        live=settings.prefix,
        since=order.since,
        until=order.until,
        epoch=chosen.policy.epoch,
        policy=chosen.digest,
        release=release(),
        decision_versions=deciding.decision_versions,
        windows=[window.model_copy(update={"topic": window.topic.removeprefix(live.prefix)}) for window in found],
        made=[f"{order.into}{one.name}" for one in writing.catalogue(chosen.policy)],
    )
    await writing.claim(own, order.replication)
    on_progress(0, inputs)
    await writing.create(own, marker, chosen.policy, bounds, order.replication)
    return marker, await _decide(settings, own, marker, deciding, policy=chosen.policy, on_progress=on_progress)


async def _decide(
    settings: EngineSettings,
    own: EngineSettings,
    marker: Marker,
    deciding: Replay,
    *,
    policy: Policy,
    on_progress: OnProgress,
) -> Finish:
    total, done = sum(window.next - window.first for window in marker.windows), 0
    live, there = Naming(settings.prefix), Naming(own.prefix)
    ends = {(live.topic(one.topic), one.partition): one.next for one in marker.windows}
    document, at_ms = policy.canonical(), marker.since
    partitions = {partition for _, partition in ends}
    async with KafkaLog(settings, Moment({}, {}, ends)) as log, writing.Writer.of(own) as writer:
        await writer.write([Written(there.topic(topics.CONTROL), p, KEY, document, (), at_ms) for p in partitions])
        for window in marker.windows:
            async for records in log.read((live.topic(window.topic), window.partition), window.first):
                await writer.write(deciding.take(window.topic, records))
                done += len(records)
                on_progress(done, total)
                await asyncio.sleep(0)
        finish = Finish(inputs=done)
        await writer.write([Written(there.topic(MARKER), 0, FINISHED, finish.model_dump_json().encode(), (), at_ms)])
    return finish


async def _bounds(
    settings: EngineSettings, live: Naming, own: EngineSettings, policy: Policy, partitions: int
) -> Bounds:
    """The limits of the replay's topics: those of the live ones, where there are such."""
    there = Naming(own.prefix)
    wanted = {topic.name: topic.max_bytes for topic in topics.catalogue(policy.tenant_topics)}
    with told_errors(settings):
        async with asyncio.timeout(settings.turn_timeout.total_seconds()), Admin(settings) as admin:
            existing = await admin.topics()
            limits = (
                await admin.bounds([live.topic(name) for name in wanted if live.topic(name) in existing])
            ).max_bytes
    largest = {there.topic(name): limits.get(live.topic(name), limit) for name, limit in wanted.items()}
    return Bounds(dict.fromkeys(largest, partitions), largest)


async def _in_force(settings: EngineSettings) -> PublishedPolicy:
    found = await control.in_force(settings)
    if found is None:
        raise PolicyRefusedError("no policy is in force, so that there is none to replay under: give one with --policy")
    return found


def release() -> str:
    """The version of this program."""
    try:
        return version("acgs-streams")
    except PackageNotFoundError:
        return "source"
