"""No saga is lost, none is stuck, and what was done is undone once and in order, whatever fails."""

import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.reliability.saga_storm import SagaStorm

SHORT, LONG = 120, 12_000
SUCCEEDING = 6
"""One saga of so many succeeds."""


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What the client says while the broker is down would bury the account of a failure."""
    caplog.set_level(logging.CRITICAL, "aiokafka")


def _storm(folder: Path, sagas: int, **changes: int) -> SagaStorm:
    succeeding = sagas // SUCCEEDING
    return SagaStorm(folder, failing=sagas - succeeding, succeeding=succeeding, **changes)


@pytest.mark.timeout(600)
async def test_every_fault_once_and_every_saga_comes_to_its_end(tmp_path: Path) -> None:
    async with _storm(tmp_path, SHORT, at_once=40, portion=20) as storm:
        await storm.start()
        await storm.crash(storm.lanes["a"])
        await storm.crash_in_an_activity(storm.workers["x"])
        await storm.make_zombies(storm.lanes["b"], storm.workers["y"])
        await storm.crash_the_broker()
        await storm.end()
        figures = await storm.prove()
    assert figures["sagas"] == SHORT
    assert figures["ignored"] > 0, figures


@pytest.mark.storm
@pytest.mark.timeout(0)
async def test_a_long_storm_of_sagas_loses_none_and_undoes_all_that_is_due(tmp_path: Path) -> None:
    sagas = int(os.environ.get("ACGS_STORM_SAGAS", LONG))
    seed = int(os.environ.get("ACGS_STORM_SEED", "1"))
    async with _storm(tmp_path, sagas, at_once=150, seed=seed) as storm:
        lanes, workers = list(storm.lanes.values()), list(storm.workers.values())
        faults: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: storm.crash(storm.random.choice(lanes)),
            lambda: storm.crash_in_an_activity(storm.random.choice(workers)),
            lambda: storm.crash(*lanes),
            lambda: storm.make_zombies(storm.random.choice(lanes)),
            lambda: storm.make_zombies(storm.random.choice(workers)),
            storm.crash_the_broker,
        )
        await storm.start()
        while not storm.is_over:
            await storm.random.choice(faults)()
        await storm.end()
        figures = await storm.prove()
    assert figures["sagas"] == sagas
    assert all(figures[what] > 0 for what in ("ignored", "undone again", "repeats")), figures
