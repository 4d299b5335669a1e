"""Lanes that are disturbed on purpose, on a real broker: each place, and what the lane makes of it."""

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from streams.engine.client import EngineSettings
from streams.engine.status import State
from tests.integration.test_lanes import all_echoed, publish_rules, send
from tests.support.broker import Broker, engine_settings
from tests.support.eventually import eventually
from tests.support.kafka import install, read_topics
from tests.support.trail import verify_lane
from tests.support.windowed_counter import NAME, Names, windowed_counter
from tests.support.workers import running

QUICK = timedelta(seconds=2)


class Scripted:
    """Does at each place what it is told to, and counts how often a lane came by."""

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self.fails: dict[str, Exception] = {}
        self.hangs: set[str] = set()
        self.left: Counter[str] = Counter()
        self.let_go = asyncio.Event()

    def fail(self, place: str, error: Exception, times: int = 1_000_000) -> None:
        self.fails[place], self.left[place] = error, times

    def hang(self, place: str, times: int) -> None:
        self.hangs.add(place)
        self.left[place] = times

    async def before_turn(self, agent: str, lane: int) -> None:
        await self._pass("before_turn", agent, lane)

    async def reach_broker(self, agent: str, lane: int) -> None:
        await self._pass("reach_broker", agent, lane)

    async def before_commit(self, agent: str, lane: int) -> None:
        await self._pass("before_commit", agent, lane)

    async def after_commit(self, agent: str, lane: int) -> None:
        await self._pass("after_commit", agent, lane)

    async def _pass(self, place: str, agent: str, lane: int) -> None:
        assert (agent, lane) == (NAME, 0)
        self.passed[place] += 1
        if self.left[place] <= 0:
            return
        self.left[place] -= 1
        if place in self.hangs:
            await self.let_go.wait()
            return
        raise self.fails[place]


async def installed(settings: EngineSettings) -> None:
    await install(settings, windowed_counter(settings.prefix), 1)
    await publish_rules(settings, 1)


async def the_trail_accounts_for_all(settings: EngineSettings) -> None:
    agent, names = windowed_counter(settings.prefix), Names(settings.prefix)
    read = await read_topics(settings, [*agent.inputs, *agent.written])
    verify_lane(read, names.own.audit, NAME, 0, outputs=[names.echoes, names.counts], inbox_timers=names.inbox)


@pytest.mark.parametrize(("place", "outcome"), [("before_commit", "never_happened"), ("after_commit", "committed")])
@pytest.mark.parametrize("hangs", [False, True])
async def test_a_turn_that_is_kept_from_its_commit_or_from_hearing_of_it_is_settled_by_the_changelog(
    settings: EngineSettings, caplog: pytest.LogCaptureFixture, place: str, outcome: str, *, hangs: bool
) -> None:
    settings = replace(settings, turn_timeout=QUICK)
    await installed(settings)
    scripted = Scripted()
    with caplog.at_level(logging.INFO, "streams.engine.lane"):
        async with running([windowed_counter(settings.prefix)], settings, scripted) as worker:
            await worker.until(State.RUNNING, 1)
            if hangs:
                scripted.hang(place, times=2)
            else:
                scripted.fail(place, RuntimeError("on purpose"), times=2)
            await all_echoed(settings, await send(settings, range(40), 1))
            await eventually(lambda: scripted.left[place] == 0)
            await worker.until(State.RUNNING, 1)
    said = [one.getMessage() for one in caplog.records]
    settled = [words.rpartition(" ")[2] for words in said if words.startswith("a failed turn is settled")]
    assert set(settled) == {outcome}
    await the_trail_accounts_for_all(settings)


async def test_a_lane_that_is_cut_off_starts_no_producer_and_writes_nothing_until_it_is_not(
    settings: EngineSettings, caplog: pytest.LogCaptureFixture
) -> None:
    await installed(settings)
    scripted = Scripted()
    async with running([windowed_counter(settings.prefix)], settings, scripted) as worker:
        await worker.until(State.RUNNING, 1)
        await all_echoed(settings, first := await send(settings, range(5), 1))
        scripted.fail("reach_broker", ConnectionError("cut off"))
        committed = scripted.passed["before_commit"]
        more = await send(settings, range(5, 10), 1)
        reached = scripted.passed["reach_broker"]
        with caplog.at_level(logging.INFO, "streams.engine.lane"):
            await eventually(lambda: scripted.passed["reach_broker"] >= reached + 3)
            assert not any("is settled" in words for words in caplog.messages)
        assert [one.last_error for one in worker.lanes(State.RENEWING)] == ["ConnectionError: cut off"]
        assert scripted.passed["before_commit"] == committed
        scripted.left.clear()
        await all_echoed(settings, [*first, *more])
    await the_trail_accounts_for_all(settings)


async def test_a_lane_that_is_cut_off_from_its_start_begins_once_it_is_not(
    settings: EngineSettings, caplog: pytest.LogCaptureFixture
) -> None:
    await installed(settings)
    scripted = Scripted()
    scripted.fail("reach_broker", ConnectionError("cut off"))
    sources = await send(settings, range(5), 1)
    async with running([windowed_counter(settings.prefix)], settings, scripted):
        with caplog.at_level(logging.INFO, "streams.engine.lane"):
            await eventually(lambda: scripted.passed["reach_broker"] >= 2)
            assert "lane is restoring" not in caplog.messages
        scripted.left.clear()
        await all_echoed(settings, sources)


async def test_a_lane_that_loses_its_partition_while_it_is_held_up_takes_no_turn(
    broker: Broker, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (engine_settings(broker, prefix, name) for name in ("z", "a"))  # the group gives it to the second
    await installed(first)
    held, free = Scripted(), Scripted()
    agent = windowed_counter(prefix, window_ms=3_000)
    async with running([agent], first, held) as worker:
        await worker.until(State.RUNNING, 1)
        sources = await send(first, range(5), 1)
        await all_echoed(first, sources)
        held.hang("before_turn", times=1)
        came = held.passed["before_turn"]
        await eventually(lambda: held.passed["before_turn"] > came)  # their windows are to be closed
        written = held.passed["reach_broker"]
        async with running([agent], second, free):
            sources += await send(first, range(5, 10), 1)
            await all_echoed(first, sources)
            with caplog.at_level(logging.INFO, "streams.engine.lane"):
                held.let_go.set()
                await eventually(lambda: "lane is closed" in caplog.messages)
            assert held.passed["reach_broker"] == written
    await the_trail_accounts_for_all(first)
