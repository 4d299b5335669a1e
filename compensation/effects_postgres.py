"""Effects in PostgreSQL, for processes on any machine."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, LiteralString

from compensation.effects import DriverMissingError, EffectStatus, Kept, KeyedEffectStore, Rows, pauses, to_its_end

if TYPE_CHECKING:  # the driver is an extra
    from psycopg import AsyncConnection, AsyncCursor

_SETTINGS: Final = (
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
)
_HAS_TABLE: Final = "SELECT to_regclass('acgs_effects') IS NOT NULL"
_CREATE: Final = (
    """
    CREATE TABLE IF NOT EXISTS acgs_effects (
        key text PRIMARY KEY,
        status text NOT NULL,
        result bytea,
        changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX IF NOT EXISTS acgs_effects_by_age ON acgs_effects (changed_at)",
)
_LOCK_FOR_CREATING: Final = "SELECT pg_advisory_xact_lock(%s)"
_TRY_LOCK: Final = "SELECT pg_try_advisory_lock(%s)"
_UNLOCK: Final = "SELECT pg_advisory_unlock(%s)"
_READ: Final = "SELECT status, result FROM acgs_effects WHERE key = %s"
_WRITE: Final = """
INSERT INTO acgs_effects (key, status, result) VALUES (%s, %s, %s)
ON CONFLICT (key) DO UPDATE
SET status = excluded.status, result = excluded.result, changed_at = excluded.changed_at
"""
_FORGET: Final = "DELETE FROM acgs_effects WHERE changed_at <= clock_timestamp() - %s"


class PostgresEffectStore(KeyedEffectStore):
    """An effect store in the table `acgs_effects` of a PostgreSQL database (10 or later), made where it is missing.

    A key is held by an advisory lock of this store's one connection, which therefore must be a session of its own
    (no pooler in transaction mode). The server drops the locks of a process that was killed once it sees the
    connection closed, at once on a machine that lives, else after 25 s of silence; those who wait go on within 50 ms
    of that. Where a connection breaks though its process lives, the effects it held go on without their lock, and
    their results are not recorded: the calls fail with `psycopg.OperationalError` and others may run them. The next
    call connects anew.

    `conninfo` is a libpq connection string or URL.

    Raises:
        DriverMissingError: psycopg is not installed.
    """

    def __init__(self, conninfo: str) -> None:
        super().__init__()
        _require_driver()
        self._conninfo = conninfo
        self._connecting = asyncio.Lock()
        self._session: _Session | None = None

    async def forget(self, older_than: timedelta) -> int:
        """As EffectStore says, by the server's clock."""
        return await (await self._rows()).forget(older_than)

    async def aclose(self) -> None:
        """As KeyedEffectStore says."""
        if self._session is not None:
            await self._session.close()

    async def _rows(self) -> "_Session":
        async with self._connecting:
            if self._session is None or self._session.is_closed:
                self._session = _Session(await _connected(self._conninfo))
            return self._session

    @asynccontextmanager
    async def _held(self, key: str) -> AsyncGenerator[Rows]:
        session = await self._rows()
        try:
            pause = pauses()
            while not await session.try_lock(key):  # noqa: ASYNC110  # no event tells of another process
                await asyncio.sleep(next(pause))
            yield session
        finally:
            # Also after a cancelled attempt, which may have got the lock: no other task here can have this key's.
            await session.unlock(key)


class _Session:
    """One connection: rows, and the locks that end with it."""

    def __init__(self, connection: "AsyncConnection[tuple[Any, ...]]") -> None:
        self._connection = connection

    @property
    def is_closed(self) -> bool:
        return self._connection.closed

    async def read(self, key: str) -> Kept | None:
        """As Rows says."""
        row = await (await self._execute(_READ, key)).fetchone()
        return None if row is None else Kept(EffectStatus(row[0]), row[1])

    async def write(self, key: str, kept: Kept) -> None:
        """As Rows says."""
        await self._execute(_WRITE, key, kept.status.value, kept.result)

    async def forget(self, older_than: timedelta) -> int:
        """Deletes the rows that have not changed for that long; returns how many."""
        return (await self._execute(_FORGET, older_than)).rowcount

    async def try_lock(self, key: str) -> bool:
        """Whether this connection now has the key's lock. Does not wait for it."""
        row = await (await self._execute(_TRY_LOCK, _lock_id(key))).fetchone()
        return row is not None and bool(row[0])

    async def unlock(self, key: str) -> None:
        """Gives up the key's lock, if this connection has it."""
        from psycopg import OperationalError  # noqa: PLC0415  # an extra

        try:
            await self._execute(_UNLOCK, _lock_id(key))
        except OperationalError:
            if not self.is_closed:
                raise

    async def close(self) -> None:
        await self._connection.close()

    async def _execute(self, query: LiteralString, *values: object) -> "AsyncCursor[tuple[Any, ...]]":
        return await to_its_end(self._connection.execute(query, values))


async def _connected(conninfo: str) -> "AsyncConnection[tuple[Any, ...]]":
    from psycopg import AsyncConnection  # noqa: PLC0415  # an extra

    connection = await AsyncConnection.connect(
        conninfo, autocommit=True, keepalives_idle=10, keepalives_interval=5, keepalives_count=3
    )
    try:
        for setting in _SETTINGS:
            await connection.execute(setting)
        await _create_table(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _create_table(connection: "AsyncConnection[tuple[Any, ...]]") -> None:
    # Asked first: a user who may not create tables may use one.
    row = await (await connection.execute(_HAS_TABLE)).fetchone()
    if row is not None and row[0]:
        return
    async with connection.transaction():
        await connection.execute(_LOCK_FOR_CREATING, (_lock_id(""),))
        for statement in _CREATE:
            await connection.execute(statement)


def _lock_id(key: str) -> int:
    """The key's lock among the database's advisory locks, which are numbered by 64 bits; "" is the table's own."""
    digest = hashlib.sha256(b"acgs_effects:" + key.encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def _require_driver() -> None:
    try:
        import_module("psycopg")
    except ImportError as error:
        raise DriverMissingError("effects in PostgreSQL need psycopg 3: pip install acgs-streams[postgres]") from error
