"""Effects in a PostgreSQL of this test's own; run as a program, a process that has some."""

import asyncio
import getpass
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import JsonValue

from compensation.effects import MAX_KEY_LENGTH, MAX_RESULT_BYTES, EffectStatus, UndoneError
from compensation.effects_postgres import PostgresEffectStore
from tests.support.eventually import eventually, eventually_sync
from tests.support.outside import Outside
from tests.support.processes import ROOT, Process

psycopg = pytest.importorskip("psycopg", reason="psycopg is missing: pip install 'psycopg[binary]'")

SOON = timedelta(seconds=10)
USER = "acgs"


def binary(name: str) -> str | None:
    """PostgreSQL's server programs, which Debian keeps out of the PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(debian[-1]) if debian else shutil.which(name)


def server_user() -> str:
    """Who may run the server: not root."""
    return "postgres" if os.geteuid() == 0 else getpass.getuser()


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """The folder with the socket of a server."""
    initdb, postgres = binary("initdb"), binary("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL's server is missing: install the package postgresql")
    with tempfile.TemporaryDirectory(prefix="acgs-pg-", ignore_cleanup_errors=True) as folder:
        # Neither in pytest's folder, which is only its user's, nor deep: a socket's path is at most 107 bytes.
        data = Path(folder) / "data"
        as_user = become(Path(folder))
        log = (Path(folder) / "log").open("wb")
        with log:
            flags = ["--username", USER, "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
            subprocess.run([initdb, "-D", data, *flags], check=True, stdout=log, **as_user)
            settings = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"]
            process = subprocess.Popen([postgres, "-D", data, "-k", folder, *settings], stderr=log, **as_user)
        try:
            eventually_sync(lambda: answers(folder), account=(Path(folder) / "log").read_text)
            yield Path(folder)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def become(folder: Path) -> dict[str, str]:
    """How to start the server's programs; gives them the folder."""
    if os.geteuid() != 0:
        return {}
    try:
        shutil.chown(folder, server_user())
    except LookupError:
        pytest.skip("PostgreSQL does not run as root, and there is no user named postgres: run the tests as a user")
    return {"user": server_user(), "cwd": str(folder)}


def answers(folder: str) -> bool:
    try:
        psycopg.connect(host=folder, user=USER, dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def database(server: Path, prefix: str) -> str:
    """How to connect to an empty schema."""
    schema = prefix.strip(".")
    with psycopg.connect(host=str(server), user=USER, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{schema}"')
    return psycopg.conninfo.make_conninfo(
        host=str(server), user=USER, dbname="postgres", options=f"-c search_path={schema}"
    )


@pytest.fixture
def store(database: str) -> PostgresEffectStore:
    return PostgresEffectStore(database)


@pytest.fixture
def world() -> Outside:
    return Outside()


# The rules


async def test_an_effect_happens_once_and_is_undone_once(store: PostgresEffectStore, world: Outside) -> None:
    assert await store.status("k") is None
    for result in ({"id": 1}, {"id": 2}):
        assert await store.do("k", world.doing(result)) == {"id": 1}
    assert await store.status("k") is EffectStatus.DONE
    for _ in range(2):
        await store.undo("k", world.undoing)
    assert await store.status("k") is EffectStatus.UNDONE
    assert world.log == ["do", ("undo", {"id": 1})]


async def test_undoing_what_never_happened_refuses_the_late_forward_call(
    store: PostgresEffectStore, world: Outside
) -> None:
    await store.undo("k", world.undoing)
    with pytest.raises(UndoneError):
        await store.do("k", world.doing())
    assert world.log == []


async def test_what_was_cut_off_is_undone_without_a_result_and_until_an_undo_succeeds(
    store: PostgresEffectStore, world: Outside
) -> None:
    with pytest.raises(ConnectionError):
        await store.do("k", world.failing)
    assert await store.status("k") is EffectStatus.STARTED
    with pytest.raises(ConnectionError):
        await store.undo("k", world.failing_to_undo)
    with pytest.raises(UndoneError):
        await store.do("k", world.doing())
    await store.undo("k", world.undoing)
    assert world.log == ["do, cut off", ("undo, cut off", None), ("undo", None)]


async def test_the_longest_key_and_the_largest_result_are_kept(store: PostgresEffectStore, world: Outside) -> None:
    key, result = "\N{PILE OF POO}" * MAX_KEY_LENGTH, "\0" + "x" * (MAX_RESULT_BYTES - 8)
    for _ in range(2):
        assert await store.do(key, world.doing(result)) == result
    assert world.log == ["do"]


async def test_keys_are_forgotten_once_they_have_not_changed_for_that_long(
    store: PostgresEffectStore, world: Outside
) -> None:
    await store.do("k", world.doing())
    assert await store.forget(timedelta(hours=1)) == 0
    assert await store.forget(timedelta(0)) == 1
    assert await store.status("k") is None


# At the same time


async def test_tasks_and_stores_with_one_key_have_one_effect(database: str, world: Outside) -> None:
    async with PostgresEffectStore(database) as one, PostgresEffectStore(database) as other:
        await asyncio.gather(one.status("k"), other.status("k"))
        results = await asyncio.gather(*(store.do("k", world.doing()) for store in [one, other] * 5))
    assert (results, world.log) == (["receipt"] * 10, ["do"])


async def test_attempts_that_fail_are_made_one_at_a_time(database: str, world: Outside) -> None:
    async def effect() -> JsonValue:
        await world.doing()()
        raise ConnectionError

    async with PostgresEffectStore(database) as one, PostgresEffectStore(database) as other:
        await asyncio.gather(one.status("k"), other.status("k"))
        calls = (store.do("k", effect) for store in [one, other] * 5)
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 10
    assert (len(world.log), world.most_at_once) == (10, 1)


async def test_different_keys_do_not_wait_for_each_other(store: PostgresEffectStore, world: Outside) -> None:
    async def outer() -> JsonValue:
        return await store.do("inner", world.doing())

    async with asyncio.timeout(SOON.total_seconds()):
        assert await store.do("outer", outer) == "receipt"


async def test_calls_cancelled_at_any_moment_leave_the_key_free(database: str, world: Outside) -> None:
    async with PostgresEffectStore(database) as one, PostgresEffectStore(database) as other:
        for turns in range(0, 60, 3):
            call = asyncio.create_task(one.do("k", world.failing))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        async with asyncio.timeout(SOON.total_seconds()):
            assert await other.do("k", world.doing()) == "receipt"


async def test_an_effect_that_has_returned_is_recorded_though_the_call_is_cancelled(
    database: str, store: PostgresEffectStore, world: Outside
) -> None:
    call: asyncio.Task[JsonValue]

    async def effect() -> JsonValue:
        result = await world.doing()()
        writer.execute("SELECT FROM acgs_effects FOR UPDATE")
        call.cancel()
        return result

    with psycopg.connect(database) as writer:
        call = asyncio.create_task(store.do("k", effect))
        await asyncio.wait([call], timeout=0.5)
        assert not call.done(), "it did not wait for its record"
        writer.commit()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert await store.status("k") is EffectStatus.DONE


# What breaks


@contextmanager
def running(database: str, tmp_path: Path, *arguments: str) -> Iterator[Process]:
    log = tmp_path / ("-".join(arguments) + ".log")
    process = Process([__file__, database, *arguments], {"PYTHONPATH": str(ROOT)}, log)
    try:
        yield process
    finally:
        process.kill()


async def test_processes_that_race_have_each_effect_once(database: str, tmp_path: Path) -> None:
    with running(database, tmp_path, "race", "a") as one, running(database, tmp_path, "race", "b") as other:
        for process in (one, other):
            await eventually(lambda process=process: process.has_said("ready"), account=process.last_words)
        async with PostgresEffectStore(database) as store:
            await store.undo("go", Outside().undoing)
        for process in (one, other):
            await eventually(lambda process=process: process.code is not None)
            assert process.code == 0, process.last_words()
        effects = [line for log in (one.log, other.log) for line in log.read_text().splitlines() if "effect" in line]
    assert len(effects) == len(set(effects)) == 50


async def test_the_key_of_a_process_killed_in_its_effect_is_free_at_once(
    database: str, tmp_path: Path, world: Outside
) -> None:
    with running(database, tmp_path, "hang", "k") as owner:
        await eventually(lambda: owner.has_said("in its effect"), account=owner.last_words)
        async with PostgresEffectStore(database) as store:
            waiting = asyncio.create_task(store.do("k", world.doing()))
            assert await store.status("k") is EffectStatus.STARTED
            assert not waiting.done()
            owner.kill()
            async with asyncio.timeout(SOON.total_seconds()):
                assert await waiting == "receipt"


async def test_a_connection_that_breaks_fails_the_call_it_held_and_the_next_connects_anew(
    database: str, world: Outside
) -> None:
    async def effect() -> JsonValue:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        return "lost"

    async with PostgresEffectStore(database) as store:
        with pytest.raises(psycopg.OperationalError):
            await store.do("k", effect)
        assert await store.status("k") is EffectStatus.STARTED
        assert await store.do("k", world.doing()) == "receipt"


async def main(database: str, what: str, name: str) -> None:
    async def effect() -> JsonValue:
        print("effect", key, flush=True)  # noqa: T201
        return None

    async def hang() -> JsonValue:
        print("in its effect", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.read)
        return None

    async with PostgresEffectStore(database) as store:
        if what == "hang":
            await store.do(name, hang)
            return

        async def told_to_go() -> bool:
            return await store.status("go") is not None

        print("ready", flush=True)  # noqa: T201
        await eventually(told_to_go)
        for number in range(50):
            key = f"k{number}"
            await store.do(key, effect)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
