"""What is particular to effects in PostgreSQL: a connection, which may break."""

from collections.abc import Iterator

import pytest
from pydantic import JsonValue

from compensation.effects import EffectStatus
from compensation.effects_postgres import PostgresEffectStore
from tests.support import postgres
from tests.support.outside import Outside
from tests.support.postgres import psycopg


@pytest.fixture
def database(prefix: str) -> Iterator[str]:
    """How to connect to an empty schema."""
    with postgres.server() as server:
        yield postgres.new_schema(server, prefix.strip("."))


async def test_a_connection_that_breaks_fails_the_call_it_held_and_the_next_connects_anew(database: str) -> None:
    async def effect() -> JsonValue:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        return "lost"

    async with PostgresEffectStore(database) as store:
        with pytest.raises(psycopg.OperationalError):
            await store.do("k", effect)
        assert await store.status("k") is EffectStatus.STARTED
        assert await store.do("k", Outside().doing()) == "receipt"
