"""Effects in a SQLite file; run as a program, a process that has some."""

import asyncio
import itertools
import os
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import JsonValue

from compensation.effects import (
    MAX_KEY_LENGTH,
    MAX_RESULT_BYTES,
    EffectKeyError,
    EffectResultError,
    EffectStatus,
    UndoneError,
)
from compensation.effects_sqlite import KeyLocks, SqliteEffectStore
from tests.support.eventually import eventually
from tests.support.outside import Outside
from tests.support.processes import ROOT, Process

SOON = timedelta(seconds=10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "effects.sqlite"


@pytest.fixture
def store(path: Path) -> SqliteEffectStore:
    return SqliteEffectStore(path)


@pytest.fixture
def world() -> Outside:
    return Outside()


# Once


async def test_an_effect_happens_once_and_its_result_is_given_again(store: SqliteEffectStore, world: Outside) -> None:
    assert await store.do("k", world.doing({"id": 1})) == {"id": 1}
    assert await store.do("k", world.doing({"id": 2})) == {"id": 1}
    assert world.log == ["do"]
    assert await store.status("k") is EffectStatus.DONE


async def test_another_process_life_finds_what_is_recorded(path: Path, world: Outside) -> None:
    async with SqliteEffectStore(path) as before:
        await before.do("k", world.doing())
    async with SqliteEffectStore(path) as after:
        assert await after.do("k", world.doing("another")) == "receipt"


async def test_an_effect_without_a_result_happens_once_too(store: SqliteEffectStore, world: Outside) -> None:
    for _ in range(2):
        assert await store.do("k", world.doing(None)) is None
    assert world.log == ["do"]


async def test_the_first_caller_is_given_the_same_json_as_all_later_ones(store: SqliteEffectStore) -> None:
    async def effect() -> JsonValue:
        return (1, 2)

    assert [await store.do("k", effect), await store.do("k", effect)] == [[1, 2], [1, 2]]


async def test_an_effect_that_fails_is_not_recorded_and_can_be_tried_again(
    store: SqliteEffectStore, world: Outside
) -> None:
    with pytest.raises(ConnectionError):
        await store.do("k", world.failing)
    assert await store.status("k") is EffectStatus.STARTED
    assert await store.do("k", world.doing()) == "receipt"


async def test_a_key_never_seen_has_no_status(store: SqliteEffectStore) -> None:
    assert await store.status("k") is None


# Undone


async def test_an_undo_is_given_the_result_and_happens_once(store: SqliteEffectStore, world: Outside) -> None:
    await store.do("k", world.doing())
    await store.undo("k", world.undoing)
    await store.undo("k", world.undoing)
    assert world.log == ["do", ("undo", "receipt")]
    assert await store.status("k") is EffectStatus.UNDONE


async def test_undoing_what_never_happened_succeeds_and_refuses_the_late_forward_call(
    store: SqliteEffectStore, world: Outside
) -> None:
    await store.undo("k", world.undoing)
    with pytest.raises(UndoneError, match="'k' is undone"):
        await store.do("k", world.doing())
    assert world.log == []


async def test_what_was_begun_and_not_recorded_is_undone_without_a_result(
    store: SqliteEffectStore, world: Outside
) -> None:
    with pytest.raises(ConnectionError):
        await store.do("k", world.failing)
    await store.undo("k", world.undoing)
    assert world.log == ["do, cut off", ("undo", None)]


async def test_an_undo_that_fails_is_tried_again_with_the_result_and_no_forward_call_comes_between(
    store: SqliteEffectStore, world: Outside
) -> None:
    await store.do("k", world.doing())
    with pytest.raises(ConnectionError):
        await store.undo("k", world.failing_to_undo)
    assert await store.status("k") is EffectStatus.UNDOING
    with pytest.raises(UndoneError):
        await store.do("k", world.doing())
    await store.undo("k", world.undoing)
    assert world.log == ["do", ("undo, cut off", "receipt"), ("undo", "receipt")]


async def test_whatever_order_calls_come_in_the_world_is_consistent(store: SqliteEffectStore) -> None:
    for number, calls in enumerate(itertools.product(["do", "failing do", "undo", "failing undo"], repeat=4)):
        world, undone = Outside(), False
        for call in calls:
            ended = await made(store, world, call, str(number))
            undone = undone or (ended and call.endswith("undo"))
        assert_consistent(world.log, undone=undone)


async def made(store: SqliteEffectStore, world: Outside, call: str, key: str) -> bool:
    """Whether the call ended well."""
    try:
        if call.endswith("undo"):
            await store.undo(key, world.undoing if call == "undo" else world.failing_to_undo)
        else:
            await store.do(key, world.doing() if call == "do" else world.failing)
    except (ConnectionError, UndoneError):
        return False
    return True


def assert_consistent(log: list[object], *, undone: bool) -> None:
    kinds = [entry[0] if isinstance(entry, tuple) else str(entry) for entry in log]
    assert kinds.count("do") <= 1
    assert kinds.count("undo") <= 1
    undos = [kind.startswith("undo") for kind in kinds]
    assert undos == sorted(undos), "something was done after its undo had begun"
    assert not undone or not kinds or kinds[-1] == "undo", "it ended undone without its undo"
    results = {entry[1] for entry in log if isinstance(entry, tuple)}
    assert results <= ({"receipt"} if "do" in kinds else {None})


# At the same time


async def test_tasks_and_stores_with_one_key_have_one_effect(path: Path, world: Outside) -> None:
    async with SqliteEffectStore(path) as one, SqliteEffectStore(path) as other:
        results = await asyncio.gather(*(store.do("k", world.doing()) for store in [one, other] * 5))
    assert (results, world.log) == (["receipt"] * 10, ["do"])


async def test_attempts_that_fail_are_made_one_at_a_time(path: Path, world: Outside) -> None:
    async def effect() -> JsonValue:
        await world.doing()()
        raise ConnectionError

    async with SqliteEffectStore(path) as one, SqliteEffectStore(path) as other:
        calls = (store.do("k", effect) for store in [one, other] * 5)
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 10
    assert (len(world.log), world.most_at_once) == (10, 1)


async def test_many_can_open_a_new_file_at_once(tmp_path: Path) -> None:
    for number in range(5):
        async with AsyncExitStack() as opened:
            path = tmp_path / str(number)
            stores = [await opened.enter_async_context(SqliteEffectStore(path)) for _ in range(8)]
            assert await asyncio.gather(*(store.status("k") for store in stores)) == [None] * 8


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


async def test_different_keys_do_not_wait_for_each_other(store: SqliteEffectStore, world: Outside) -> None:
    async def outer() -> JsonValue:
        return await store.do("inner", world.doing())

    async with asyncio.timeout(SOON.total_seconds()):
        assert await store.do("outer", outer) == "receipt"


async def test_an_undo_waits_for_the_forward_call_that_runs(store: SqliteEffectStore, world: Outside) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def effect() -> JsonValue:
        begun.set()
        await go_on.wait()
        return await world.doing()()

    forward = asyncio.create_task(store.do("k", effect))
    await begun.wait()
    undo = asyncio.create_task(store.undo("k", world.undoing))
    go_on.set()
    await asyncio.gather(forward, undo)
    assert world.log == ["do", ("undo", "receipt")]


# Cancelled


async def test_a_call_cancelled_in_its_effect_leaves_the_key_free(store: SqliteEffectStore, world: Outside) -> None:
    begun = asyncio.Event()

    async def effect() -> JsonValue:
        begun.set()
        await asyncio.Event().wait()
        return None

    call = asyncio.create_task(store.do("k", effect))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await store.status("k") is EffectStatus.STARTED
    assert await store.do("k", world.doing()) == "receipt"


async def test_an_effect_that_has_returned_is_recorded_though_the_call_is_cancelled(
    path: Path, store: SqliteEffectStore, world: Outside
) -> None:
    call: asyncio.Task[JsonValue]

    async def effect() -> JsonValue:
        result = await world.doing()()
        writer.execute("BEGIN IMMEDIATE")
        call.cancel()
        return result

    await store.status("k")
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        call = asyncio.create_task(store.do("k", effect))
        await asyncio.wait([call], timeout=0.2)
        assert not call.done(), "it did not wait for its record"
        writer.execute("COMMIT")
        with pytest.raises(asyncio.CancelledError):
            await call
    assert await store.status("k") is EffectStatus.DONE


async def test_a_call_cancelled_while_it_waits_takes_nothing_with_it(path: Path, world: Outside) -> None:
    async def effect() -> JsonValue:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await other.do("k", world.doing())
        return "first"

    async with SqliteEffectStore(path) as one, SqliteEffectStore(path) as other:
        assert await one.do("k", effect) == "first"
        assert await other.do("k", world.doing()) == "first"


# Several processes


@contextmanager
def running(path: Path, *arguments: str) -> Iterator[Process]:
    log = path.with_name("-".join(arguments) + ".log")
    process = Process([__file__, str(path), *arguments], {"PYTHONPATH": str(ROOT)}, log)
    try:
        yield process
    finally:
        process.kill()


async def test_processes_that_race_have_each_effect_once(path: Path) -> None:
    with running(path, "race", "a") as one, running(path, "race", "b") as other:
        for process in (one, other):
            await eventually(lambda process=process: process.has_said("ready"), account=process.last_words)
        path.with_name("go").touch()
        for process in (one, other):
            await eventually(lambda process=process: process.code is not None)
            assert process.code == 0, process.last_words()
        assert one.log.read_text().count("tried") == other.log.read_text().count("tried") == 50
        effects = [line for log in (one.log, other.log) for line in log.read_text().splitlines() if "effect" in line]
    assert len(effects) == len(set(effects)) == 50


async def test_the_key_of_a_process_killed_in_its_effect_is_free_at_once(path: Path, world: Outside) -> None:
    with running(path, "hang", "k") as owner:
        await eventually(lambda: owner.has_said("in its effect"), account=owner.last_words)
        async with SqliteEffectStore(path) as store:
            waiting = asyncio.create_task(store.do("k", world.doing()))
            assert await store.status("k") is EffectStatus.STARTED
            assert not waiting.done()
            owner.kill()
            async with asyncio.timeout(SOON.total_seconds()):
                assert await waiting == "receipt"


async def test_what_a_killed_process_may_have_done_is_undone(path: Path, world: Outside) -> None:
    with running(path, "hang", "k") as owner:
        await eventually(lambda: owner.has_said("in its effect"), account=owner.last_words)
    async with SqliteEffectStore(path) as store:
        await store.undo("k", world.undoing)
    assert world.log == [("undo", None)]


async def test_a_process_that_was_only_stopped_keeps_its_key(path: Path, world: Outside) -> None:
    with running(path, "hang", "k") as owner:
        await eventually(lambda: owner.has_said("in its effect"), account=owner.last_words)
        owner.freeze()
        async with SqliteEffectStore(path) as store:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await store.do("k", world.doing())
    assert world.log == []


# Limits


@pytest.mark.parametrize("key", ["", "x" * (MAX_KEY_LENGTH + 1), "a\0b", "\ud800"])
async def test_a_key_that_cannot_be_kept_is_refused_before_anything_happens(
    store: SqliteEffectStore, world: Outside, key: str
) -> None:
    with pytest.raises(EffectKeyError):
        await store.do(key, world.doing())
    with pytest.raises(EffectKeyError):
        await store.undo(key, world.undoing)
    assert world.log == []


async def test_the_longest_key_and_the_largest_result_are_kept(store: SqliteEffectStore, world: Outside) -> None:
    key, result = "\N{PILE OF POO}" * MAX_KEY_LENGTH, "x" * (MAX_RESULT_BYTES - 2)
    await store.do(key, world.doing(result))
    assert await store.do(key, world.doing()) == result


@pytest.mark.parametrize(
    ("result", "why"), [("x" * (MAX_RESULT_BYTES - 1), "262145 bytes, allowed are 262144"), ({1, 2}, "no JSON")]
)
async def test_a_result_that_cannot_be_kept_is_an_error_and_what_happened_can_be_undone(
    store: SqliteEffectStore, world: Outside, result: JsonValue, why: str
) -> None:
    with pytest.raises(EffectResultError, match=why):
        await store.do("k", world.doing(result))
    await store.undo("k", world.undoing)
    assert world.log == ["do", ("undo", None)]


# Forgetting


async def test_keys_are_forgotten_once_they_have_not_changed_for_that_long(path: Path, world: Outside) -> None:
    now_ms = 0
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
    path: Path, world: Outside
) -> None:
    locks = path.with_name("effects.sqlite.locks")
    with running(path, "hang", "k") as owner:
        await eventually(lambda: owner.has_said("in its effect"), account=owner.last_words)
        async with SqliteEffectStore(path) as store:
            await store.do("another", world.doing())
            await store.forget(timedelta(days=1))
            assert len(list(locks.iterdir())) == 1
            owner.kill()
            await store.forget(timedelta(days=1))
            assert list(locks.iterdir()) == []


async def main(path: Path, what: str, name: str) -> None:
    async def effect() -> JsonValue:
        print("effect", key, flush=True)  # noqa: T201
        return None

    async def hang() -> JsonValue:
        print("in its effect", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.read)
        return None

    async with SqliteEffectStore(path) as store:
        if what == "hang":
            await store.do(name, hang)
            return
        print("ready", flush=True)  # noqa: T201
        await eventually(path.with_name("go").exists)
        for number in range(50):
            key = f"k{number}"
            await store.do(key, effect)
            print("tried", key, flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
