"""The effect store suite on a SQLite file."""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.contract.effect_store_suite import EffectStoreSuite, Place


class SqliteFile(Place):
    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self.address = str(path)

    @contextmanager
    def writing_held(self) -> Generator[None]:
        with closing(self._connected()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield

    def age(self, by: timedelta) -> None:
        with closing(self._connected()) as connection:
            connection.execute("UPDATE effects SET changed_ms = changed_ms - ?", (by // timedelta(milliseconds=1),))

    def _connected(self) -> sqlite3.Connection:
        return sqlite3.connect(self.address, isolation_level=None)


class TestEffectStoreOnSqlite(EffectStoreSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return SqliteFile(tmp_path / "effects.sqlite")
