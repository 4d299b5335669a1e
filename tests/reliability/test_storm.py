"""Nothing is lost and nothing is doubled, whatever fails."""

import os
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.reliability.storm import Storm

SHORT_RATE, LONG_RATE = 150, 60


@pytest.mark.timeout(900)
async def test_every_fault_once_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    async with Storm(tmp_path, rate=SHORT_RATE) as storm:
        await storm.start("a", "b")
        await storm.crash("a")
        await storm.make_a_zombie("b")
        await storm.freeze_the_broker()
        await storm.change_the_policy()
        await storm.crash_the_broker()
        await storm.crash("b")
        await storm.rebalance("c")
        assert await storm.refuse_outputs() >= 1
        await storm.send_the_unreadable()
        await storm.make_a_zombie("a")
        await storm.stop_everything_and_forget_the_groups("a", "b")
        await storm.end()
        ended = await storm.prove()
    assert set(ended) >= {"deliveries", "deliberation", "rejected", "counter.echoes"}
    assert all(ended.values()), ended


@pytest.mark.storm
@pytest.mark.timeout(0)
async def test_a_long_storm_loses_and_doubles_nothing(tmp_path: Path) -> None:
    minutes = float(os.environ.get("ACGS_STORM_MINUTES", "20"))
    seed = int(os.environ.get("ACGS_STORM_SEED", "1"))
    until = time.monotonic() + timedelta(minutes=minutes).total_seconds()
    async with Storm(tmp_path, rate=LONG_RATE, seed=seed) as storm:
        await storm.start("a", "b")
        faults: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: storm.crash(storm.random.choice("ab")),
            lambda: storm.crash(storm.random.choice("ab")),
            lambda: storm.make_a_zombie(storm.random.choice("ab")),
            storm.crash_the_broker,
            storm.freeze_the_broker,
            lambda: storm.rebalance("c"),
            storm.refuse_outputs,
            storm.change_the_policy,
            storm.send_the_unreadable,
            lambda: storm.stop_everything_and_forget_the_groups("a", "b"),
        )
        while time.monotonic() < until:
            await storm.random.choice(faults)()
        await storm.end()
        await storm.prove()
