"""What every effect store must do: one suite, run against SQLite and against PostgreSQL."""

import asyncio
import itertools
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack
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
    EffectStore,
    KeyedEffectStore,
    UndoneError,
)
from tests.support.effect_process import GO, KEYS, is_in_its_effect, opened, running
from tests.support.eventually import eventually
from tests.support.outside import Outside
from tests.support.processes import Process

SOON = timedelta(seconds=10)


class Place(ABC):
    """Where a store keeps its records, as whoever owns the database sees it."""

    kind: str
    address: str

    def open(self) -> KeyedEffectStore:
        return opened(self.kind, self.address)

    @abstractmethod
    def writing_held(self) -> AbstractContextManager[object]:
        """Makes every write to the records wait."""

    @abstractmethod
    def age(self, by: timedelta) -> None:
        """Makes all records older than they are."""


class EffectStoreSuite:
    """The tests. A subclass gives the fixture `place`, empty."""

    @pytest.fixture
    def store(self, place: Place) -> KeyedEffectStore:
        return place.open()

    @pytest.fixture
    def world(self) -> Outside:
        return Outside()

    # Once

    async def test_a_key_never_seen_has_no_status(self, store: EffectStore) -> None:
        assert await store.status("k") is None

    async def test_an_effect_happens_once_and_its_result_is_given_again(
        self, store: EffectStore, world: Outside
    ) -> None:
        assert await store.do("k", world.doing({"id": 1})) == {"id": 1}
        assert await store.do("k", world.doing({"id": 2})) == {"id": 1}
        assert world.log == ["do"]
        assert await store.status("k") is EffectStatus.DONE

    async def test_another_process_life_finds_what_is_recorded(self, place: Place, world: Outside) -> None:
        async with place.open() as before:
            await before.do("k", world.doing())
        async with place.open() as after:
            assert await after.do("k", world.doing("another")) == "receipt"

    async def test_an_effect_without_a_result_happens_once_too(self, store: EffectStore, world: Outside) -> None:
        for _ in range(2):
            assert await store.do("k", world.doing(None)) is None
        assert world.log == ["do"]

    async def test_the_first_caller_is_given_the_same_json_as_all_later_ones(self, store: EffectStore) -> None:
        async def effect() -> JsonValue:
            return (1, 2)

        assert [await store.do("k", effect), await store.do("k", effect)] == [[1, 2], [1, 2]]

    async def test_an_effect_that_fails_is_not_recorded_and_can_be_tried_again(
        self, store: EffectStore, world: Outside
    ) -> None:
        with pytest.raises(ConnectionError):
            await store.do("k", world.failing)
        assert await store.status("k") is EffectStatus.STARTED
        assert await store.do("k", world.doing()) == "receipt"

    # Undone

    async def test_an_undo_is_given_the_result_and_happens_once(self, store: EffectStore, world: Outside) -> None:
        await store.do("k", world.doing({"id": 1}))
        await store.undo("k", world.undoing)
        await store.undo("k", world.undoing)
        assert world.log == ["do", ("undo", {"id": 1})]
        assert await store.status("k") is EffectStatus.UNDONE

    async def test_undoing_what_never_happened_succeeds_and_refuses_the_late_forward_call(
        self, store: EffectStore, world: Outside
    ) -> None:
        await store.undo("k", world.undoing)
        with pytest.raises(UndoneError, match="'k' is undone"):
            await store.do("k", world.doing())
        assert world.log == []

    async def test_what_was_begun_and_not_recorded_is_undone_without_a_result(
        self, store: EffectStore, world: Outside
    ) -> None:
        with pytest.raises(ConnectionError):
            await store.do("k", world.failing)
        with pytest.raises(ConnectionError):
            await store.undo("k", world.failing_to_undo)
        await store.undo("k", world.undoing)
        assert world.log == ["do, cut off", ("undo, cut off", None), ("undo", None)]

    async def test_an_undo_that_fails_is_tried_again_with_the_result_and_no_forward_call_comes_between(
        self, store: EffectStore, world: Outside
    ) -> None:
        await store.do("k", world.doing())
        with pytest.raises(ConnectionError):
            await store.undo("k", world.failing_to_undo)
        assert await store.status("k") is EffectStatus.UNDOING
        with pytest.raises(UndoneError):
            await store.do("k", world.doing())
        await store.undo("k", world.undoing)
        assert world.log == ["do", ("undo, cut off", "receipt"), ("undo", "receipt")]

    async def test_whatever_order_calls_come_in_the_world_is_consistent(self, store: EffectStore) -> None:
        for number, calls in enumerate(itertools.product(["do", "failing do", "undo", "failing undo"], repeat=4)):
            world, undone = Outside(), False
            for call in calls:
                ended = await made(store, world, call, str(number))
                undone = undone or (ended and call.endswith("undo"))
            assert_consistent(world.log, undone=undone)

    # At the same time

    async def test_tasks_and_stores_with_one_key_have_one_effect(self, place: Place, world: Outside) -> None:
        async with place.open() as one, place.open() as other:
            await asyncio.gather(one.status("k"), other.status("k"))
            results = await asyncio.gather(*(store.do("k", world.doing()) for store in [one, other] * 5))
        assert (results, world.log) == (["receipt"] * 10, ["do"])

    async def test_attempts_that_fail_are_made_one_at_a_time(self, place: Place, world: Outside) -> None:
        async def effect() -> JsonValue:
            await world.doing()()
            raise ConnectionError

        async with place.open() as one, place.open() as other:
            await asyncio.gather(one.status("k"), other.status("k"))
            calls = (store.do("k", effect) for store in [one, other] * 5)
            results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [ConnectionError] * 10
        assert (len(world.log), world.most_at_once) == (10, 1)

    @pytest.mark.parametrize("_time", range(5))
    async def test_many_can_open_a_new_database_at_once(self, place: Place, _time: int) -> None:
        async with AsyncExitStack() as entered:
            stores = [await entered.enter_async_context(place.open()) for _ in range(8)]
            assert await asyncio.gather(*(store.status("k") for store in stores)) == [None] * 8

    async def test_different_keys_do_not_wait_for_each_other(self, store: EffectStore, world: Outside) -> None:
        async def outer() -> JsonValue:
            return await store.do("inner", world.doing())

        async with asyncio.timeout(SOON.total_seconds()):
            assert await store.do("outer", outer) == "receipt"

    async def test_an_undo_waits_for_the_forward_call_that_runs(self, store: EffectStore, world: Outside) -> None:
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

    async def test_a_call_cancelled_in_its_effect_leaves_the_key_free(self, store: EffectStore, world: Outside) -> None:
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

    async def test_calls_cancelled_at_any_moment_leave_the_key_free(self, place: Place, world: Outside) -> None:
        async with place.open() as one, place.open() as other:
            for turns in range(0, 60, 3):
                call = asyncio.create_task(one.do("k", world.failing))
                for _ in range(turns):
                    await asyncio.sleep(0)
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
            async with asyncio.timeout(SOON.total_seconds()):
                assert await other.do("k", world.doing()) == "receipt"

    async def test_an_effect_that_has_returned_is_recorded_though_the_call_is_cancelled(
        self, place: Place, store: EffectStore, world: Outside
    ) -> None:
        call: asyncio.Task[JsonValue]

        async def effect() -> JsonValue:
            result = await world.doing()()
            held.enter_context(place.writing_held())
            call.cancel()
            return result

        with ExitStack() as held:
            call = asyncio.create_task(store.do("k", effect))
            await asyncio.wait([call], timeout=0.3)
            assert world.log == ["do"]
            assert not call.done(), "it did not wait for its record"
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await store.status("k") is EffectStatus.DONE

    async def test_a_call_cancelled_while_it_waits_takes_nothing_with_it(self, place: Place, world: Outside) -> None:
        async def effect() -> JsonValue:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await other.do("k", world.doing())
            return "first"

        async with place.open() as one, place.open() as other:
            await other.status("k")
            assert await one.do("k", effect) == "first"
            assert await other.do("k", world.doing()) == "first"

    # Several processes

    async def test_processes_that_race_have_each_effect_once(self, place: Place, tmp_path: Path) -> None:
        here = (place.kind, place.address, tmp_path, "race")
        with running(*here, "a") as one, running(*here, "b") as other:
            for process in (one, other):
                await eventually(lambda process=process: process.has_said("ready"), account=process.last_words)
            (tmp_path / GO).touch()
            for process in (one, other):
                await eventually(lambda process=process: process.code is not None)
                assert process.code == 0, process.last_words()
            assert said(one, "tried") == said(other, "tried") == KEYS
            assert sorted(said(one, "effect") + said(other, "effect")) == sorted(KEYS)

    async def test_the_key_of_a_process_killed_in_its_effect_is_free_at_once(
        self, place: Place, tmp_path: Path, world: Outside
    ) -> None:
        with running(place.kind, place.address, tmp_path, "hang", "k") as owner:
            await is_in_its_effect(owner)
            async with place.open() as store:
                waiting = asyncio.create_task(store.do("k", world.doing()))
                assert await store.status("k") is EffectStatus.STARTED
                assert not waiting.done()
                owner.kill()
                async with asyncio.timeout(SOON.total_seconds()):
                    assert await waiting == "receipt"

    async def test_what_a_killed_process_may_have_done_is_undone(
        self, place: Place, tmp_path: Path, world: Outside
    ) -> None:
        with running(place.kind, place.address, tmp_path, "hang", "k") as owner:
            await is_in_its_effect(owner)
        async with place.open() as store:
            await store.undo("k", world.undoing)
        assert world.log == [("undo", None)]

    async def test_a_process_that_was_only_stopped_keeps_its_key(
        self, place: Place, tmp_path: Path, world: Outside
    ) -> None:
        with running(place.kind, place.address, tmp_path, "hang", "k") as owner:
            await is_in_its_effect(owner)
            owner.freeze()
            async with place.open() as store:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await store.do("k", world.doing())
        assert world.log == []

    # Limits

    @pytest.mark.parametrize("key", ["", "x" * (MAX_KEY_LENGTH + 1), "a\0b", "\ud800"])
    async def test_a_key_that_cannot_be_kept_is_refused_before_anything_happens(
        self, store: EffectStore, world: Outside, key: str
    ) -> None:
        with pytest.raises(EffectKeyError):
            await store.do(key, world.doing())
        with pytest.raises(EffectKeyError):
            await store.undo(key, world.undoing)
        with pytest.raises(EffectKeyError):
            await store.status(key)
        assert world.log == []

    @pytest.mark.parametrize(
        "result", ["x" * (MAX_RESULT_BYTES - 2), "\0" + "x" * (MAX_RESULT_BYTES - 8)], ids=["plain", "with NUL"]
    )
    async def test_the_longest_key_and_the_largest_result_are_kept(
        self, store: EffectStore, world: Outside, result: str
    ) -> None:
        key = "\N{PILE OF POO}" * MAX_KEY_LENGTH
        for _ in range(2):
            assert await store.do(key, world.doing(result)) == result
        assert world.log == ["do"]

    @pytest.mark.parametrize(
        ("result", "why"),
        [("x" * (MAX_RESULT_BYTES - 1), "262145 bytes, allowed are 262144"), ({1, 2}, "no JSON")],
        ids=["too large", "no JSON"],
    )
    async def test_a_result_that_cannot_be_kept_is_an_error_and_what_happened_can_be_undone(
        self, store: EffectStore, world: Outside, result: JsonValue, why: str
    ) -> None:
        with pytest.raises(EffectResultError, match=why):
            await store.do("k", world.doing(result))
        await store.undo("k", world.undoing)
        assert world.log == ["do", ("undo", None)]

    # Forgetting

    async def test_keys_are_forgotten_once_they_have_not_changed_for_that_long(
        self, place: Place, store: EffectStore, world: Outside
    ) -> None:
        for key in ("old", "used again"):
            await store.do(key, world.doing())
        place.age(timedelta(hours=2))
        await store.undo("used again", world.undoing)
        assert await store.forget(timedelta(hours=3)) == 0
        assert await store.forget(timedelta(hours=1)) == 1
        assert await store.status("old") is None
        assert await store.status("used again") is EffectStatus.UNDONE
        assert await store.forget(timedelta(0)) == 1
        assert await store.status("used again") is None


async def made(store: EffectStore, world: Outside, call: str, key: str) -> bool:
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


def said(process: Process, word: str) -> list[str]:
    """The keys of which it has said that, in order."""
    lines = (line.split() for line in process.log.read_text().splitlines())
    return [line[1] for line in lines if line and line[0] == word]
