"""Lanes on a real broker: where they start, when they stop, how they share partitions."""

from collections import Counter
from typing import Any
from zlib import crc32

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from schemas.audit import AuditRecord
from streams.engine import dead_letters
from streams.engine.admin import Admin
from streams.engine.client import EngineSettings
from streams.engine.dead_letters import Kind
from streams.engine.restore import restore
from streams.engine.state import ACCEPTED_KEY, Accepted
from streams.engine.status import State
from tests.support.broker import Broker, engine_settings
from tests.support.eventually import eventually
from tests.support.groups import delete_group
from tests.support.kafka import (
    TIMES,
    create_topics,
    delete_records,
    header,
    install,
    mark_as_new,
    read_topic,
    read_topics,
    write,
)
from tests.support.trail import in_order, turns, verify_lane
from tests.support.windowed_counter import NAME, SOURCE, Names, fold, rules, said_counts, windowed_counter
from tests.support.workers import RunningWorker, running

PARTITIONS = 2


async def publish_rules(settings: EngineSettings, partitions: int = PARTITIONS, epoch: int = 1) -> None:
    names = Names(settings.prefix)
    await write(settings, [(names.rules, p, b"rules", rules(epoch), ()) for p in range(partitions)])


async def send(settings: EngineSettings, keys: range, partitions: int = PARTITIONS) -> list[bytes]:
    """One record a key; returns their source positions."""
    inbox = Names(settings.prefix).inbox
    records = [(inbox, crc32(f"k{n}".encode()) % partitions, f"k{n}".encode(), str(n).encode(), ()) for n in keys]
    return [f"{inbox}/{partition}/{offset}".encode() for partition, offset in await write(settings, records)]


async def echoed(settings: EngineSettings) -> list[bytes | None]:
    return [header(record, SOURCE) for record in await read_topic(settings, Names(settings.prefix).echoes)]


async def all_echoed(settings: EngineSettings, sources: list[bytes]) -> None:
    """Returns when each of these has one echo; fails if one has two."""

    async def complete() -> bool:
        return set(sources) <= set(await echoed(settings))

    await eventually(complete)
    assert Counter(await echoed(settings)) == Counter(sources)


async def accept(settings: EngineSettings, lane: int, decision: Accepted) -> None:
    """What `acgs lanes accept` writes."""
    changelog = windowed_counter(settings.prefix).topics.changelog
    await write(settings, [(changelog, lane, ACCEPTED_KEY, decision.encode(), ())])


async def held(worker: RunningWorker, lanes: int) -> str:
    """What the held lanes say is wrong."""
    await worker.until(State.HELD, lanes)
    return "\n".join(lane.last_error or "" for lane in worker.lanes(State.HELD))


async def test_a_lane_without_a_position_or_a_mark_is_held_until_an_operator_accepts(settings: EngineSettings) -> None:
    agent, names = windowed_counter(settings.prefix), Names(settings.prefix)
    await create_topics(settings, [*agent.inputs, *agent.written, f"{settings.prefix}lanes"], PARTITIONS)
    await publish_rules(settings)
    sources = await send(settings, range(10))
    async with running([agent], settings) as worker:
        said = await held(worker, PARTITIONS)
        assert "no position, and no mark that the lane is new" in said
        assert not worker.worker.readiness().ok
        assert worker.worker.liveness().ok
        assert await echoed(settings) == []
        for lane in range(PARTITIONS):
            await accept(settings, lane, Accepted({names.inbox: 0, names.rules: 0}, 0, "eve", "a new cluster"))
        await all_echoed(settings, sources)
    read = await read_topics(settings, [*agent.inputs, *agent.written])
    for lane in range(PARTITIONS):
        trail = verify_lane(read, names.own.audit, NAME, lane, inbox_timers=names.inbox)
        (accepted,) = [turn.accepted for turn in trail if turn.accepted]
        assert (accepted.operator, accepted.reason) == ("eve", "a new cluster")


async def test_a_decision_for_another_position_releases_nothing(settings: EngineSettings) -> None:
    agent, names = windowed_counter(settings.prefix), Names(settings.prefix)
    await create_topics(settings, [*agent.inputs, *agent.written, f"{settings.prefix}lanes"], 1)
    await accept(settings, 0, Accepted({names.inbox: 0, names.rules: 0}, 41, "eve", "an old decision"))
    async with running([agent], settings) as worker:
        await held(worker, 1)


async def test_a_position_that_retention_overtook_holds_the_lane_with_the_exact_gap(settings: EngineSettings) -> None:
    agent, names = windowed_counter(settings.prefix), Names(settings.prefix)
    await install(settings, agent, 1)
    await publish_rules(settings, 1)
    before = await send(settings, range(4), 1)
    async with running([agent], settings):
        await all_echoed(settings, before)
        await eventually(lambda: _all_closed(settings, 4))
    stands_at = (await _position(settings))[names.inbox]
    await send(settings, range(4, 9), 1)
    await delete_records(settings, names.inbox, {0: stands_at + 3})
    async with running([agent], settings) as worker:
        said = await held(worker, 1)
        assert f"stands at {names.inbox}/0/{stands_at}" in said
        assert "3 offsets were deleted by retention before this lane read them" in said
        (lane,) = worker.lanes()
        await accept(settings, 0, Accepted({names.inbox: stands_at + 3}, len(await _turns(settings)), "eve", "lost"))
        await eventually(lambda: _has_echoes(settings, 4 + 2))
        assert lane.state is State.HELD
    last = [turn for turn in await _turns(settings) if turn.accepted][-1]
    assert last.accepted is not None
    assert last.accepted.positions == {names.inbox: stands_at + 3}


async def test_a_new_lane_begins_where_the_log_begins(settings: EngineSettings) -> None:
    agent, names = windowed_counter(settings.prefix), Names(settings.prefix)
    await install(settings, agent, 1)
    sources = await send(settings, range(10), 1)
    await delete_records(settings, names.inbox, {0: 5})
    await publish_rules(settings, 1)
    async with running([agent], settings):
        await all_echoed(settings, sources[5:])


async def _has_echoes(settings: EngineSettings, count: int) -> bool:
    return len(await echoed(settings)) == count


async def _all_closed(settings: EngineSettings, count: int) -> bool:
    return len(await read_topic(settings, Names(settings.prefix).counts)) == count


async def _turns(settings: EngineSettings) -> list[AuditRecord]:
    audit = Names(settings.prefix).own.audit
    return turns(await read_topics(settings, [audit]), audit, NAME, 0)


async def _position(settings: EngineSettings) -> dict[str, int]:
    restored = await restore(windowed_counter(settings.prefix), 0, settings, lambda: None)
    assert restored.state.position is not None
    return restored.state.position.offsets


async def test_an_output_that_the_broker_refuses_becomes_a_dead_letter_and_stalls_nothing(
    settings: EngineSettings,
) -> None:
    agent, names = windowed_counter(settings.prefix), Names(settings.prefix)
    await install(settings, agent, 1)
    await publish_rules(settings, 1)
    async with running([agent], settings) as worker:
        sources = await send(settings, range(3), 1)
        await all_echoed(settings, sources)
        async with Admin(settings) as admin:
            await admin.set_configuration(names.echoes, {**TIMES, "max.message.bytes": "1000"})
        values = [b"x" * size for size in (2_000, 10, 3_000, 20)]
        placed = await write(settings, [(names.inbox, 0, b"k", value, ()) for value in values])
        sources += [f"{names.inbox}/0/{placed[n][1]}".encode() for n in (1, 3)]
        await all_echoed(settings, sources)
        letters = [dead_letters.read(r) for r in await read_topic(settings, names.own.dead_letters)]
        assert [(letter.kind, len(letter.value or b"")) for letter in letters] == [
            (Kind.OUTPUT_TOO_LARGE, 2_000),
            (Kind.OUTPUT_TOO_LARGE, 3_000),
        ]
        assert worker.lanes(State.RUNNING)


async def test_two_workers_share_the_lanes_and_a_leaver_hands_them_over(
    settings: EngineSettings, broker: Broker
) -> None:
    agent, names = windowed_counter(settings.prefix), Names(settings.prefix)
    await install(settings, agent, 4)
    await publish_rules(settings, 4)
    other = engine_settings(broker, settings.prefix, "other")
    sources: list[bytes] = []
    async with running([agent], settings) as first:
        await first.until(State.RUNNING, 4)
        sources += await send(settings, range(200), 4)
        async with running([agent], other) as second:
            sources += await send(settings, range(200, 400), 4)
            await second.until(State.RUNNING, 2)
            await first.until(State.RUNNING, 2)
            sources += await send(settings, range(400, 600), 4)
        sources += await send(settings, range(600, 800), 4)
        await first.until(State.RUNNING, 4)
        await all_echoed(settings, sources)
        await eventually(lambda: not any(lane.rows for lane in first.lanes()))
    read = await read_topics(settings, [*agent.inputs, *agent.written])
    for lane in range(4):
        trail = verify_lane(
            read, names.own.audit, NAME, lane, outputs=[names.counts, names.echoes], inbox_timers=names.inbox
        )
        folded = fold(in_order(read, trail, lane))
        assert Counter(dict(said_counts(read[names.counts][lane]))) == folded.counts


async def test_timers_fire_once_although_their_lane_changes_hands(settings: EngineSettings, broker: Broker) -> None:
    agent, names = windowed_counter(settings.prefix, window_ms=3_000), Names(settings.prefix)
    await install(settings, agent, 2)
    await publish_rules(settings, 2)
    async with running([agent], settings):
        sources = await send(settings, range(50), 2)
        await all_echoed(settings, sources)
    async with running([agent], engine_settings(broker, settings.prefix, "other")) as second:
        await second.until(State.RUNNING, 2)
        await eventually(lambda: not any(lane.rows for lane in second.lanes()))
    said = said_counts(await read_topic(settings, names.counts))
    assert Counter(key for (key, _), _ in said) == Counter({f"k{n}": 1 for n in range(50)})


async def test_lanes_without_group_offsets_go_on_where_they_stood(settings: EngineSettings) -> None:
    agent = windowed_counter(settings.prefix)
    await install(settings, agent, PARTITIONS)
    await publish_rules(settings)
    async with running([agent], settings):
        sources = await send(settings, range(100))
        await all_echoed(settings, sources)
    await delete_group(settings, settings.group(NAME))
    async with running([agent], settings) as worker:
        await worker.until(State.RUNNING, PARTITIONS)
        sources += await send(settings, range(100, 120))
        await all_echoed(settings, sources)


async def test_a_changelog_that_is_gone_stops_its_lanes_and_says_so(settings: EngineSettings) -> None:
    agent = windowed_counter(settings.prefix)
    await install(settings, agent, 1)
    await publish_rules(settings, 1)
    async with running([agent], settings):
        await all_echoed(settings, await send(settings, range(5), 1))
    await delete_topic(settings, agent.topics.changelog)
    await create_topics(settings, [agent.topics.changelog], 1)
    async with running([agent], settings) as worker:
        assert "starting over could handle records twice" in await held(worker, 1)
        await mark_as_new(settings, agent, 1)
        await worker.until(State.RUNNING, 1)


async def delete_topic(settings: EngineSettings, topic: str) -> None:
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()

    async def gone() -> bool:
        async with Admin(settings) as asked:
            return topic not in await asked.topics()

    await eventually(gone)


async def test_a_limit_that_was_raised_counts_without_a_restart(
    settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.engine.lane._LIMITS_FOR_S", 0.0)
    agent, names = windowed_counter(settings.prefix), Names(settings.prefix)
    await install(settings, agent, 1, {names.echoes: {"max.message.bytes": "1000"}})
    await publish_rules(settings, 1)
    async with running([agent], settings) as worker:
        await write(settings, [(names.inbox, 0, b"k", b"x" * 2_000, ())])
        await eventually(lambda: _buried(settings, 1))
        async with Admin(settings) as admin:
            await admin.set_configuration(names.echoes, TIMES)
        await write(settings, [(names.inbox, 0, b"k", b"x" * 2_000, ())])
        await eventually(lambda: _has_echoes(settings, 1))
        assert worker.lanes(State.RUNNING)


async def _buried(settings: EngineSettings, count: int) -> bool:
    return len(await read_topic(settings, Names(settings.prefix).own.dead_letters)) == count
