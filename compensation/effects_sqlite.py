"""Effects in a SQLite file, for the processes of one machine."""

import asyncio
import fcntl
import hashlib
import os
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from compensation.effects import EffectStatus, Kept, KeyedEffectStore, Rows, pauses, to_its_end

_BUSY_TIMEOUT_S = 30.0
_FORGOTTEN_AT_ONCE = 1_000
_P = ParamSpec("_P")
_T = TypeVar("_T")

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS effects (
    key TEXT PRIMARY KEY NOT NULL,
    status TEXT NOT NULL,
    result BLOB,
    changed_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS effects_by_age ON effects (changed_ms);
"""
_READ: Final = "SELECT status, result FROM effects WHERE key = ?"
_WRITE: Final = """
INSERT INTO effects (key, status, result, changed_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE
SET status = excluded.status, result = excluded.result, changed_ms = excluded.changed_ms
"""
_FORGET: Final = (
    "DELETE FROM effects WHERE key IN (SELECT key FROM effects WHERE changed_ms <= ? ORDER BY changed_ms LIMIT ?)"
)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class SqliteEffectStore(KeyedEffectStore):
    """An effect store in one file (WAL, synchronous=FULL) and a folder of lock files beside it, `{path}.locks`.

    A key is held by a file lock (flock), not by a lease: the kernel drops it the moment the owner's process ends, so
    after a SIGKILL those who wait go on within 50 ms, and a process that was only stopped or slow can never meet
    another in the same effect; it keeps its keys as long as it lives. A child that an effect forks without exec keeps
    the key too. Everything is on one machine and a local disk: neither WAL nor these locks work on a network's.

    `now_ms` is the time in milliseconds since 1970, UTC, that `forget` goes by.
    """

    def __init__(self, path: Path, *, now_ms: Callable[[], int] = _now_ms) -> None:
        super().__init__()
        path = path.resolve()
        self._now_ms = now_ms
        self._locks = KeyLocks(path.with_name(path.name + ".locks"))
        self._table = _Table(path, self._locks, now_ms)

    async def forget(self, older_than: timedelta) -> int:
        """As EffectStore says; also removes the lock files that killed processes left."""
        before = self._now_ms() - older_than // timedelta(milliseconds=1)
        forgotten = 0
        while some := await self._table.forget_some(before):
            forgotten += some
        await asyncio.to_thread(self._locks.sweep)
        return forgotten

    async def aclose(self) -> None:
        """As KeyedEffectStore says."""
        await self._table.aclose()

    async def _rows(self) -> Rows:
        return self._table

    @asynccontextmanager
    async def _held(self, key: str) -> AsyncGenerator[Rows]:
        # Tried on the event loop, some 40 us: a cancellation cannot come between taking a lock and knowing of it.
        pause = pauses()
        while (lock := self._locks.try_hold(key)) is None:  # noqa: ASYNC110  # no event tells of another process
            await asyncio.sleep(next(pause))
        try:
            yield self._table
        finally:
            lock.release()


class KeyLock:
    """A key that is held by its locked file."""

    __slots__ = ("_descriptor", "_file")

    def __init__(self, file: Path, descriptor: int) -> None:
        self._file, self._descriptor = file, descriptor

    def release(self) -> None:
        """Removes the file, then the lock: whoever waits for the lock finds that it is no key's any more."""
        try:
            self._file.unlink(missing_ok=True)
        finally:
            os.close(self._descriptor)


class KeyLocks:
    """Locks across processes by key: a folder with a file for every key that is held now."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def try_hold(self, key: str) -> KeyLock | None:
        """The key's lock, or None if somebody has it. Does not wait."""
        return _try_file(self._folder / hashlib.sha256(key.encode()).hexdigest(), os.O_CREAT)

    def sweep(self) -> None:
        """Removes the files that nobody holds."""
        for file in self._folder.iterdir():
            lock = _try_file(file, 0)
            if lock is not None:
                lock.release()

    @contextmanager
    def all_waiting(self) -> Generator[None]:
        """Holds the folder itself, against others who ask for it. Waits for it, in the calling thread."""
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _try_file(file: Path, create: int) -> KeyLock | None:
    try:
        descriptor = os.open(file, os.O_RDWR | create, 0o666)
    except FileNotFoundError:
        return None
    if _locks(descriptor) and _is_still(file, descriptor):
        return KeyLock(file, descriptor)
    os.close(descriptor)
    return None


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(file: Path, descriptor: int) -> bool:
    """Whether the file is the one that was opened: its last owner may have removed it in between."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


class _Table:
    """The file's rows. Its connection lives in one thread."""

    def __init__(self, path: Path, locks: KeyLocks, now_ms: Callable[[], int]) -> None:
        self._path, self._locks, self._now_ms = path, locks, now_ms
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="effects")
        self._connection: sqlite3.Connection | None = None

    async def read(self, key: str) -> Kept | None:
        """As Rows says."""
        return await self._in_thread(self._select, key)

    async def write(self, key: str, kept: Kept) -> None:
        """As Rows says."""
        await self._in_thread(self._upsert, key, kept)

    async def forget_some(self, before_ms: int) -> int:
        """Deletes some of the rows that have not changed since; so few that other writers need not wait long."""
        return await self._in_thread(self._delete_some, before_ms)

    async def aclose(self) -> None:
        """Closes the connection and ends the thread."""
        await self._in_thread(self._close)
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await to_its_end(asyncio.wrap_future(self._thread.submit(work, *args, **kwargs)))

    def _select(self, key: str) -> Kept | None:
        row = self._opened().execute(_READ, (key,)).fetchone()
        return None if row is None else Kept(EffectStatus(row[0]), row[1])

    def _upsert(self, key: str, kept: Kept) -> None:
        self._opened().execute(_WRITE, (key, kept.status.value, kept.result, self._now_ms()))

    def _delete_some(self, before_ms: int) -> int:
        return self._opened().execute(_FORGET, (before_ms, _FORGOTTEN_AT_ONCE)).rowcount

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            # A file that several processes turn to WAL at once is busy to some, whatever their timeout.
            with self._locks.all_waiting():
                self._connection = _open(self._path)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_CREATE)
    except BaseException:
        connection.close()
        raise
    return connection
