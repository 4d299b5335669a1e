"""The index itself: one SQLite file with a row a record, and how far each partition has been read."""

import sqlite3
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from streams.audit.log import Place
from streams.search.entries import Entry, TurnEntry
from streams.search.errors import IndexFileError

SCHEMA = 1
"""The version of what stands in the file. Another one is refused: the file is built anew in minutes."""

_APPLICATION = 0x61636773
_WAIT_S = 30.0
_PAUSE_S = 0.01
_CACHE_KIB = 128 * 1024
_CHECKPOINT_PAGES = 16_384

_TABLES = """
CREATE TABLE facts(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE topics(number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE partitions(
    topic INTEGER, partition INTEGER, next INTEGER NOT NULL, last INTEGER, mark BLOB,
    PRIMARY KEY(topic, partition)
) WITHOUT ROWID;
CREATE TABLE records(
    topic INTEGER, partition INTEGER, offset INTEGER,
    at INTEGER NOT NULL, message, item, workflow, source TEXT, verdict TEXT, agent TEXT, tenant TEXT, tool TEXT,
    score INTEGER, reason TEXT, defect TEXT,
    PRIMARY KEY(topic, partition, offset)
) WITHOUT ROWID;
CREATE TABLE turns(
    topic INTEGER, lane INTEGER, agent TEXT, first INTEGER, next INTEGER NOT NULL, seq INTEGER NOT NULL,
    audit_partition INTEGER NOT NULL, audit_offset INTEGER NOT NULL,
    PRIMARY KEY(topic, lane, agent, first)
) WITHOUT ROWID;
"""
_INDICES = """
CREATE INDEX IF NOT EXISTS by_message ON records(message) WHERE message IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_item ON records(item) WHERE item IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_workflow ON records(workflow) WHERE workflow IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_source ON records(source) WHERE source IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_time ON records(at) WHERE verdict IS NOT NULL;
"""


class Reached(NamedTuple):
    """How far a partition is indexed: `next` is the offset to go on at, `last` the last record's, `mark` its hash."""

    next: int
    last: int | None = None
    mark: bytes | None = None


class Batch(NamedTuple):
    """Some records as they go into the index, and how far each partition is read with them."""

    entries: Sequence[tuple[Place, int, Entry]]
    turns: Sequence[TurnEntry]
    reached: Mapping[Place, Reached]


class IndexFile:
    """An open index. A context manager; one thread at a time may use it, and another one may close it."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self.connection = connection
        self._numbers: dict[str, int] = {}
        self._in_use = threading.Lock()

    @classmethod
    def existing(cls, path: Path) -> Self:
        """The index in this file, of whichever installation.

        Raises:
            IndexFileError: there is none, or it cannot be read, is something else or of another version.
        """
        if not path.is_file():
            raise IndexFileError(f"there is no index {path}: 'acgs audit index' builds it")
        return cls._opened(path, None)

    @classmethod
    def open(cls, path: Path, *, cluster: str, prefix: str) -> Self:
        """The index of an installation in this file, which is made if it is not there.

        Raises:
            IndexFileError: it cannot be made or read, is something else, of another version, or another installation's.
        """
        return cls._opened(path, (cluster, prefix))

    @classmethod
    def _opened(cls, path: Path, of: tuple[str, str] | None) -> Self:
        with told(path):
            if not path.parent.is_dir():
                raise IndexFileError(
                    f"there is no folder {path.parent} for {path.name}: make it, or name another file with --file"
                )
            connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
            try:
                found = cls(connection, path)
                found._prepare(of)
            except BaseException:
                connection.close()
                raise
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file, once whatever thread works on it has ended its transaction.

        A task that is cancelled leaves its thread at work, and SQLite crashes if the connection is closed under it.
        """
        with self._in_use:
            self.connection.close()

    def _prepare(self, of: tuple[str, str] | None) -> None:
        self._check_kind()
        self._write_ahead()
        for setting in ("synchronous=NORMAL", f"cache_size=-{_CACHE_KIB}", f"wal_autocheckpoint={_CHECKPOINT_PAGES}"):
            self.connection.execute(f"PRAGMA {setting}").fetchall()
        if of is None:
            return
        if self._is_empty():
            with self._writing():
                if self._is_empty():
                    self._make(*of)
        known = self.fact("cluster"), self.fact("prefix")
        if known != of:
            raise IndexFileError(
                f"{self.path} is the index of prefix '{known[1]}' on cluster {known[0]}, and this is prefix "
                f"'{of[1]}' on cluster {of[0]}. Name another file with --file, or delete this one"
            )

    def _write_ahead(self) -> None:
        """Readers need not wait for writers then. For this SQLite itself waits for nobody who does the same."""
        until = time.monotonic() + _WAIT_S
        while True:
            try:
                self.connection.execute("PRAGMA journal_mode=WAL").fetchall()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return

    def _is_empty(self) -> bool:
        return not self.connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()

    def _check_kind(self) -> None:
        with self._reading():  # all of it as of one moment: another process may be making the index
            is_empty = self._is_empty()
            application, version = (
                self.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
            )
        if is_empty and application == 0:
            return
        if application != _APPLICATION:
            raise IndexFileError(f"{self.path} is a SQLite file of something else. Name another one with --file")
        if version != SCHEMA:
            raise IndexFileError(
                f"{self.path} is an index of version {version}, and this release has version {SCHEMA}. Delete it: "
                "'acgs audit index' builds it anew from the topics"
            )

    def _make(self, cluster: str, prefix: str) -> None:
        for statement in _statements(_TABLES):
            self.connection.execute(statement)
        self.connection.execute(f"PRAGMA application_id={_APPLICATION}")
        self.connection.execute(f"PRAGMA user_version={SCHEMA}")
        facts = (("cluster", cluster), ("prefix", prefix))
        self.connection.executemany("INSERT INTO facts VALUES(?, ?)", facts)

    # What is known

    def fact(self, name: str) -> str | None:
        """One fact about the whole.

        Raises:
            IndexFileError: the file cannot be read. So do all that follow.
        """
        found = self._asked("SELECT value FROM facts WHERE name = ?", name)
        return None if not found else str(found[0][0])

    @property
    def as_of_ms(self) -> int | None:
        """When it last had everything that was committed by then, in milliseconds; None if it never had."""
        known = self.fact("as_of_ms")
        return None if known is None else int(known)

    def reached(self) -> dict[Place, Reached]:
        """How far every partition is read."""
        rows = self._asked("SELECT name, partition, next, last, mark FROM partitions JOIN topics ON topic = number")
        return {(topic, partition): Reached(*rest) for topic, partition, *rest in rows}

    def count(self) -> int:
        """How many records there are in it."""
        return int(self._asked("SELECT count(*) FROM records")[0][0])

    def size(self) -> int:
        """Its bytes."""
        return int(self._asked("PRAGMA page_count")[0][0]) * int(self._asked("PRAGMA page_size")[0][0])

    def _asked(self, statement: str, *given: str) -> list[Any]:
        with told(self.path), self._in_use:
            return self.connection.execute(statement, given).fetchall()

    # What is added

    def add(self, batch: Batch) -> None:
        """Adds records, and how far they reach, in one transaction: whenever it ends, both are there or neither.

        Records that are there already, because another process has read them too, stay as they are.

        Raises:
            IndexFileError: the file cannot be written.
        """
        with told(self.path), self._in_use, self._writing():
            number = self._number
            self.connection.executemany(
                f"INSERT OR IGNORE INTO records VALUES(?, ?, ?{', ?' * len(Entry._fields)})",
                ((number(topic), partition, offset, *entry) for (topic, partition), offset, entry in batch.entries),
            )
            self.connection.executemany(
                "INSERT OR IGNORE INTO turns VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                ((number(turn.topic), *turn[1:]) for turn in batch.turns),
            )
            self.connection.executemany(
                "INSERT INTO partitions VALUES(?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "next = excluded.next, last = excluded.last, mark = excluded.mark WHERE excluded.next > next",
                ((number(topic), p, *reached) for (topic, p), reached in batch.reached.items()),
            )

    def finish(self, as_of_ms: int) -> None:
        """Notes that everything which was committed by that time is in it, and makes it quick to search.

        Raises:
            IndexFileError: the file cannot be written.
        """
        with told(self.path), self._in_use, self._writing():
            for statement in _statements(_INDICES):
                self.connection.execute(statement)
            self.connection.execute(
                "INSERT INTO facts VALUES('as_of_ms', ?) ON CONFLICT DO UPDATE SET value = excluded.value "
                "WHERE CAST(excluded.value AS INTEGER) > CAST(value AS INTEGER)",
                (str(as_of_ms),),
            )

    def _number(self, topic: str) -> int:
        known = self._numbers.get(topic)
        if known is None:
            self.connection.execute("INSERT OR IGNORE INTO topics(name) VALUES(?)", (topic,))
            row = self.connection.execute("SELECT number FROM topics WHERE name = ?", (topic,)).fetchone()
            known = self._numbers[topic] = int(row[0])
        return known

    @contextmanager
    def _reading(self) -> Generator[None, None, None]:
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("ROLLBACK")

    @contextmanager
    def _writing(self) -> Generator[None, None, None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            self._numbers.clear()
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise


def remove(path: Path) -> None:
    """Deletes an index, if there is one."""
    for name in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        name.unlink(missing_ok=True)


def _statements(script: str) -> list[str]:
    return [statement for statement in script.split(";") if statement.strip()]


@contextmanager
def told(path: Path) -> Generator[None, None, None]:
    """Turns SQLite's errors into one that says what to do.

    Raises:
        IndexFileError: the file cannot be used.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            words = f"another process has been writing to {path} for {_WAIT_S:.0f} s. Wait for it, or use --as-is"
        elif "no such" in str(error):
            words = f"{path} is no whole index: {error}. Delete it: 'acgs audit index' builds it anew"
        elif "is full" in str(error):
            words = f"there is no room for {path}: make some, or name another file with --file. What is in it stays"
        else:
            words = f"{path} cannot be used: {error}. Name another file with --file"
        raise IndexFileError(words) from error
    except (sqlite3.DatabaseError, OSError) as error:
        raise IndexFileError(
            f"{path} cannot be used as an index: {error}. If it was one, delete it: 'acgs audit index' builds it anew"
        ) from error
