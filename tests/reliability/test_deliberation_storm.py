"""Every item ends once, nothing is released without its signatures, and a replay decides the same, whatever fails."""

import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.reliability.deliberation_storm import DeliberationStorm

SHORT, LONG = 400, 10_000


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What the client says while the broker is down would bury the account of a failure."""
    caplog.set_level(logging.CRITICAL, "aiokafka")


@pytest.mark.timeout(600)
async def test_every_fault_once_and_every_item_ends_once(tmp_path: Path) -> None:
    async with DeliberationStorm(tmp_path, items=SHORT, portion=SHORT // 8) as storm:
        await storm.start()
        await storm.crash("a")
        await storm.make_a_zombie("b")
        await storm.crash_the_broker()
        await storm.crash("a", "b")
        await storm.end()
        figures = await storm.prove()
    assert figures["items"] + figures["too_late"] == SHORT
    assert figures["too_late"] > 0
    assert all(figures[state] > 0 for state in ("approved", "rejected", "expired")), figures
    assert all(figures[why] > 0 for why in ("bad_signature", "operates_requester", "wrong_digest")), figures


@pytest.mark.storm
@pytest.mark.timeout(0)
async def test_a_long_storm_of_items_releases_nothing_unsigned_and_nothing_twice(tmp_path: Path) -> None:
    items = int(os.environ.get("ACGS_STORM_ITEMS", LONG))
    seed = int(os.environ.get("ACGS_STORM_SEED", "1"))
    async with DeliberationStorm(tmp_path, items=items, portion=200, seed=seed) as storm:
        faults: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: storm.crash(storm.random.choice("ab")),
            lambda: storm.crash("a", "b"),
            lambda: storm.make_a_zombie(storm.random.choice("ab")),
            storm.crash_the_broker,
        )
        await storm.start()
        while not storm.is_over:
            await storm.random.choice(faults)()
        await storm.end()
        figures = await storm.prove()
    assert figures["items"] + figures["too_late"] == items
