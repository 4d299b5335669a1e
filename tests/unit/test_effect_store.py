"""What is particular to effects in a SQLite file: its clock, and the files that lock its keys."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from compensation.effects import EffectStatus
from compensation.effects_sqlite import KeyLocks, SqliteEffectStore
from tests.support.effect_process import is_in_its_effect, running
from tests.support.outside import Outside


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "effects.sqlite"


@pytest.fixture
def restless_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless_threads")
def test_a_key_has_one_holder_at_a_time_though_its_file_comes_and_goes(tmp_path: Path) -> None:
    holders: list[object] = []
    met: list[int] = []

    def hold_often() -> None:
        locks = KeyLocks(tmp_path)
        for _ in range(1_000):
            lock = locks.try_hold("k")
            if lock is not None:
                holders.append(lock)
                for _ in range(3):
                    os.sched_yield()
                met.append(len(holders))
                holders.remove(lock)
                lock.release()

    with ThreadPoolExecutor(4) as threads:
        for held in [threads.submit(hold_often) for _ in range(4)]:
            held.result()
    assert set(met) == {1}


async def test_keys_are_forgotten_by_the_clock_that_is_given(path: Path) -> None:
    world, now_ms = Outside(), 0
    async with SqliteEffectStore(path, now_ms=lambda: now_ms) as store:
        for key in ("old", "used again"):
            await store.do(key, world.doing())
        now_ms = 1_000
        await store.undo("used again", world.undoing)
        now_ms = 5_000
        assert await store.forget(timedelta(seconds=5)) == 1
        assert await store.status("old") is None
        assert await store.status("used again") is EffectStatus.UNDONE


async def test_no_lock_files_are_left_behind_but_those_of_killed_processes_until_old_keys_are_forgotten(
    path: Path,
) -> None:
    locks = path.with_name("effects.sqlite.locks")
    with running("sqlite", str(path), path.parent, "hang", "k") as owner:
        await is_in_its_effect(owner)
        async with SqliteEffectStore(path) as store:
            await store.do("another", Outside().doing())
            await store.forget(timedelta(days=1))
            assert len(list(locks.iterdir())) == 1
            owner.kill()
            await store.forget(timedelta(days=1))
            assert list(locks.iterdir()) == []
