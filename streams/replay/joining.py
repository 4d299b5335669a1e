"""Outcomes of two sides brought together by the input that they are about, in memory that does not grow with them."""

import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from streams.errors import ReplayError
from streams.replay.comparing import Who
from streams.replay.outcomes import Outcome, Place, decode, encode

_CACHE_KIB = 32 * 1024
_SCHEMA = """
CREATE TABLE {side} (
    topic TEXT, partition INTEGER, offset INTEGER, rank INTEGER, outcome BLOB, sender TEXT, message_id TEXT,
    PRIMARY KEY (topic, partition, offset)
) WITHOUT ROWID
"""
_PUT = """
INSERT INTO {side} VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET rank = excluded.rank, outcome = excluded.outcome WHERE excluded.rank > rank
"""
_JOIN = """
SELECT topic, partition, offset, before.outcome, after.outcome, after.sender, after.message_id
FROM after LEFT JOIN before USING (topic, partition, offset) ORDER BY topic, partition, offset
"""

Told = tuple[Place, Outcome, Who]
"""What is found about an input."""


class Joining:
    """A database of its own on a temporary file that nobody else sees; it is gone with the block it is used in."""

    def __enter__(self) -> Self:
        with _told():
            self._database = sqlite3.connect("")
            self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            for side in ("before", "after"):
                self._database.execute(_SCHEMA.format(side=side))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def before(self, found: Iterable[Told]) -> None:
        """What was decided. Of several outcomes of one input that of the highest rank counts."""
        self._put("before", found)

    def after(self, found: Iterable[Told]) -> None:
        """What would be."""
        self._put("after", found)

    def joined(self) -> Iterator[tuple[Place, Outcome | None, Outcome, Who]]:
        """Every input of the second side, in order, with what the first has of it.

        Raises:
            ReplayError: there is no room for what must be kept meanwhile. So do before() and after().
        """
        with _told():
            for topic, partition, offset, before, after, sender, message_id in self._database.execute(_JOIN):
                place, who = Place(topic, partition, offset), Who(sender, message_id)
                yield place, None if before is None else decode(before), decode(after), who

    def _put(self, side: str, found: Iterable[Told]) -> None:
        rows = ((*place, outcome.rank, encode(outcome), who.sender, who.message_id) for place, outcome, who in found)
        with _told():
            self._database.executemany(_PUT.format(side=side), rows)


@contextmanager
def _told() -> Generator[None, None, None]:
    try:
        yield
    except sqlite3.Error as error:
        raise ReplayError(
            f"the comparison keeps what it has read in a temporary file, and cannot: {error}. Make room, or name "
            "another folder in SQLITE_TMPDIR"
        ) from error
