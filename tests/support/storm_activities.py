"""Activities that fail as their saga's input says, and a world that tells when an effect should not have been.

Served by `acgs worker tests.support.storm_activities`. ACGS_STORM_WORLD names the folder that all workers share.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from pydantic import JsonValue

from compensation.activities import ActivityContext, BaseActivities, activity
from compensation.effects import to_its_end
from compensation.effects_sqlite import SqliteEffectStore
from compensation.errors import NoEffect, NonRetryableError
from schemas.activity import Direction

FOLDER_VARIABLE = "ACGS_STORM_WORLD"
_WORKER = "ACGS_WORKER_ID"
DO, UNDO = "storm_do", "storm_undo"
"""The names of the activities."""

_WORLD, _EFFECTS = "world.sqlite", "effects.sqlite"
_HANG_S = 60.0
_DEAF_S = 3.0
_LONGEST_MS = 50
_BUSY_S = 30.0


class Play(StrEnum):
    """How an attempt goes."""

    WELL = "well"
    REFUSES = "refuses"
    FAILS_BEFORE = "fails before its effect"
    FAILS_WITHIN = "fails within its effect"
    FAILS_AFTER = "fails after its effect"
    FAILS_FOR_GOOD = "fails for good after its effect"
    HANGS_BEFORE = "hangs before its effect"
    HANGS_WITHIN = "hangs within its effect"
    HANGS_AFTER = "hangs after its effect"
    DEAF_BEFORE = "does not end when told to, and then has its effect"
    DEAF_AFTER = "has its effect and does not end when told to"


class What(StrEnum):
    """What the world is told of a key."""

    TRIED = "tried"
    DONE = "done"
    DONE_KEPT = "known to be done"
    """The effect store has recorded it: from now on nobody may do it again."""
    UNDONE = "undone"
    UNDONE_KEPT = "known to be undone"


class Effect(NamedTuple):
    """One node's effect, as the world keeps it."""

    workflow: str
    node: str
    tried: int = 0
    done: int = 0
    done_kept: int = 0
    undone: int = 0
    undone_kept: int = 0

    @property
    def stands(self) -> bool:
        """Whether it happened and was not undone."""
        return bool(self.done and not self.undone)


REPEAT: Final = "a repeat"
"""A call whose record was cut off, made again with the same key: dropped."""


def judged(what: What, known: Effect) -> str:
    """What the world thinks of being told that: nothing, a repeat, or why it should not have been."""
    match what:
        case What.DONE if known.undone:
            return "it was undone before"
        case What.DONE if known.done:
            return "it is known to be done" if known.done_kept else REPEAT
        case What.DONE_KEPT if not known.done:
            return "it was not done"
        case What.UNDONE if not known.tried:
            return "nobody has tried to do it"
        case What.UNDONE if known.undone:
            return "it is known to be undone" if known.undone_kept else REPEAT
        case _:
            return ""


_FIELDS: Final = dict(zip(What, Effect._fields[2:], strict=True))
_CREATE: Final = """
CREATE TABLE IF NOT EXISTS effects (
    key TEXT PRIMARY KEY, workflow TEXT, node TEXT, tried INTEGER DEFAULT 0, done INTEGER DEFAULT 0,
    done_kept INTEGER DEFAULT 0, undone INTEGER DEFAULT 0, undone_kept INTEGER DEFAULT 0
);
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY, at_ms INTEGER, worker TEXT, key TEXT, workflow TEXT, node TEXT, what TEXT,
    judgement TEXT
);
CREATE INDEX IF NOT EXISTS calls_by_node ON calls (workflow, node, what, number);
"""
_NOTE: Final = "INSERT INTO calls (at_ms, worker, key, workflow, node, what, judgement) VALUES (?, ?, ?, ?, ?, ?, ?)"


class World:
    """What has happened outside, in one SQLite file. It drops repeats by their key, as a payment provider does."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / _WORLD
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="world")
        self._connection: sqlite3.Connection | None = None

    def make(self) -> None:
        """Makes the file, before several processes at once turn it to what it is to be."""
        self._thread.submit(self._opened).result()

    async def tell(self, what: What, context: ActivityContext) -> None:
        """Makes it so. Comes to its end even if the caller is cancelled: nothing goes on after a key is free."""
        told = self._thread.submit(self._take, what, context.effect_key, context.workflow_id, context.node)
        await to_its_end(asyncio.wrap_future(told))

    def effects(self) -> list[Effect]:
        return [Effect(*row) for row in self._all(f"SELECT {', '.join(Effect._fields)} FROM effects")]  # noqa: S608

    def wrongs(self) -> list[str]:
        """What should not have been, in words."""
        rows = self._all(f"SELECT workflow, node, what, judgement FROM calls WHERE judgement NOT IN ('', '{REPEAT}')")  # noqa: S608
        return [f"{workflow} {node} is {what}: {judgement}" for workflow, node, what, judgement in rows]

    def repeats(self) -> int:
        ((count,),) = self._all(f"SELECT count(*) FROM calls WHERE judgement = '{REPEAT}'")  # noqa: S608
        return int(count)

    def story(self, workflow: str) -> list[str]:
        """What the world was told of a workflow, in its order."""
        rows = self._all("SELECT node, what, judgement, worker FROM calls WHERE workflow = ? ORDER BY number", workflow)
        return [f"{node} {what} by {worker}" + (f" ({odd})" if odd else "") for node, what, odd, worker in rows]

    def last_tried_by(self, workflow: str, node: str) -> str | None:
        """The worker that was the last to begin a node."""
        wanted = "SELECT worker FROM calls WHERE workflow = ? AND node = ? AND what = ? ORDER BY number DESC LIMIT 1"
        rows = self._all(wanted, workflow, node, What.TRIED)
        return rows[0][0] if rows else None

    def close(self) -> None:
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    def _take(self, what: What, key: str, workflow: str, node: str) -> None:
        db = self._opened()
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT OR IGNORE INTO effects (key, workflow, node) VALUES (?, ?, ?)", (key, workflow, node))
        row = db.execute(f"SELECT {', '.join(Effect._fields)} FROM effects WHERE key = ?", (key,)).fetchone()  # noqa: S608
        judgement = judged(what, Effect(*row))
        db.execute(f"UPDATE effects SET {_FIELDS[what]} = 1 WHERE key = ?", (key,))  # noqa: S608
        if what is What.DONE and judgement != REPEAT:
            db.execute("UPDATE effects SET undone = 0, undone_kept = 0 WHERE key = ?", (key,))
        db.execute(_NOTE, (time.time_ns() // 1_000_000, os.environ.get(_WORKER), key, workflow, node, what, judgement))
        db.execute("COMMIT")

    def _all(self, query: str, *given: str) -> Sequence[Sequence[str]]:
        return self._thread.submit(lambda: self._opened().execute(query, given).fetchall()).result()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = db = sqlite3.connect(self._file, timeout=_BUSY_S, isolation_level=None)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")  # the machine is not switched off in the storm
            db.executescript(_CREATE)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


@contextmanager
def nobody_writes(folder: Path) -> Iterator[None]:
    """Holds the write locks of the world and of the effect store.

    A process that is stopped within the block stops nobody else: SQLite takes its lock from no writer while it lives.
    """
    with ExitStack() as held:
        for name in (_WORLD, _EFFECTS):
            file = held.enter_context(closing(sqlite3.connect(folder / name, timeout=_BUSY_S, isolation_level=None)))
            file.execute("BEGIN IMMEDIATE")
        yield


class StormActivities(BaseActivities):
    """Does and undoes a node, as the input's `plays` say for each of its attempts."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        folder = folder or Path(os.environ[FOLDER_VARIABLE])
        self._world, self._effects = World(folder), SqliteEffectStore(folder / _EFFECTS)

    @activity(name=DO)
    async def do(self, context: ActivityContext) -> JsonValue:
        play = await self._begin(context)

        async def effect() -> JsonValue:
            await self._world.tell(What.DONE, context)
            await _within(play)
            return {"receipt": context.effect_key}

        receipt = await self._effects.do(context.effect_key, effect)
        await self._world.tell(What.DONE_KEPT, context)
        await _after(play)
        return receipt

    @activity(name=UNDO)
    async def undo(self, context: ActivityContext) -> None:
        play = await self._begin(context)

        async def effect(_: JsonValue) -> None:
            await self._world.tell(What.UNDONE, context)
            await _within(play)

        await self._effects.undo(context.effect_key, effect)
        await self._world.tell(What.UNDONE_KEPT, context)
        await _after(play)

    async def _begin(self, context: ActivityContext) -> Play:
        play = _play(context)
        if context.direction is Direction.DO:
            await self._world.tell(What.TRIED, context)
        await asyncio.sleep(crc32(f"{context.idempotency_key} {context.attempt}".encode()) % (_LONGEST_MS + 1) / 1000)
        await _before(play)
        return play


def _play(context: ActivityContext) -> Play:
    """How this attempt goes: as the last one that is listed, where there are more attempts than that."""
    plays = context["plays"].get(context.node, {}).get(context.direction.value) or [Play.WELL]
    return Play(plays[min(context.attempt, len(plays)) - 1])


async def _before(play: Play) -> None:
    match play:
        case Play.REFUSES:
            raise NoEffect("as the saga says")
        case Play.FAILS_BEFORE:
            raise ConnectionError("before")
        case Play.HANGS_BEFORE:
            await asyncio.sleep(_HANG_S)
        case Play.DEAF_BEFORE:
            await _deaf()
        case _:
            return


async def _within(play: Play) -> None:
    match play:
        case Play.FAILS_WITHIN:
            raise ConnectionError("within")
        case Play.HANGS_WITHIN:
            await asyncio.sleep(_HANG_S)
        case _:
            return


async def _after(play: Play) -> None:
    match play:
        case Play.FAILS_AFTER:
            raise ConnectionError("after")
        case Play.FAILS_FOR_GOOD:
            raise NonRetryableError("as the saga says")
        case Play.HANGS_AFTER:
            await asyncio.sleep(_HANG_S)
        case Play.DEAF_AFTER:
            await _deaf()
        case _:
            return


async def _deaf() -> None:
    """Takes its time although it is asked to end."""
    clock: Callable[[], float] = asyncio.get_running_loop().time
    until = clock() + _DEAF_S
    while (left := until - clock()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(left)
