"""The effect store suite on PostgreSQL."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.contract.effect_store_suite import EffectStoreSuite, Place
from tests.support import postgres
from tests.support.postgres import psycopg


class Schema(Place):
    kind = "postgresql"

    def __init__(self, conninfo: str) -> None:
        self.address = conninfo

    @contextmanager
    def writing_held(self) -> Generator[None]:
        with psycopg.connect(self.address) as connection:
            connection.execute("LOCK TABLE acgs_effects IN EXCLUSIVE MODE")
            yield

    def age(self, by: timedelta) -> None:
        with psycopg.connect(self.address) as connection:
            connection.execute("UPDATE acgs_effects SET changed_at = changed_at - %s", (by,))


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    with postgres.server() as folder:
        yield folder


class TestEffectStoreOnPostgresql(EffectStoreSuite):
    @pytest.fixture
    def place(self, server: Path, prefix: str) -> Place:
        return Schema(postgres.new_schema(server, prefix.strip(".")))
