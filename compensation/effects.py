"""Effects that happen once by their key, though calls for them come at least once."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, Self, TypeVar
from weakref import WeakValueDictionary

import orjson
from pydantic import JsonValue

from compensation.errors import CompensationError, NoEffect

MAX_KEY_LENGTH = 512
"""How long a key may be, in characters."""
MAX_RESULT_BYTES = 256 * 1024
"""How large a result may be, as JSON in UTF-8."""

_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.001, 0.05
_SHOWN = 80
_T = TypeVar("_T")

Forward = Callable[[], Awaitable[JsonValue]]
"""What has an effect. Its result is what is recorded."""
Backward = Callable[[JsonValue | None], Awaitable[None]]
"""What undoes it, given its result; given None if it may have been cut off before it gave one."""


class UndoneError(NoEffect):
    """The forward call came after the undo of its key had begun. It had no effect: a worker answers NO_EFFECT."""

    def __init__(self, key: str) -> None:
        super().__init__(f"effect {key[:_SHOWN]!a} is undone or being undone: its forward call is not made any more")


class EffectKeyError(CompensationError):
    """A key that cannot be kept: empty, longer than 512 characters, with a NUL, or not to be written in UTF-8."""


class EffectResultError(CompensationError):
    """A result that cannot be kept: no JSON, or more than 256 KiB of it. The effect itself has happened."""


class DriverMissingError(CompensationError):
    """A store's database driver is not installed."""


class EffectStatus(StrEnum):
    """What is known of a key that has been seen."""

    STARTED = "started"
    """The effect was begun and may have happened; it goes on, failed or was cut off. It may be tried again."""
    DONE = "done"
    UNDOING = "undoing"
    """Its undo was begun and goes on, failed or was cut off. Only an undo is tried again."""
    UNDONE = "undone"


class EffectStore(Protocol):
    """Makes effects happen once by their key, and refuses those that come after their undo.

    For each key, of all calls in all tasks and processes that use the same store, one `do` or `undo` runs at a time;
    the others wait without a limit (bound them by `asyncio.timeout`). What is written is durable before a call goes
    on. The effect itself is in no transaction with the record of it: one that was cut off, or whose record failed, is
    run again by the next call. Within is therefore at least once, and an effect that must not be repeated passes the
    key on to whatever it calls. An effect must not call the store with its own key: it would wait for itself.

    A call cancelled in its effect leaves the key free, and STARTED or UNDOING. An effect that has returned is recorded
    all the same: a cancelled call ends once the database has answered. A store belongs to one event
    loop of one process.

    Any call raises the driver's own error when the database fails; the effect may have happened then.
    """

    async def do(self, key: str, effect: Forward) -> JsonValue:
        """Runs `effect` unless the key is done, and returns what is recorded: to every caller the same JSON.

        An error of `effect` goes on; the key stays STARTED.

        Raises:
            UndoneError: an undo of the key has begun, even if it failed. `effect` was not run.
            EffectKeyError: the key cannot be kept. `effect` was not run.
            EffectResultError: the result cannot be kept. The effect has happened, and the key is STARTED.
        """
        ...

    async def undo(self, key: str, effect: Backward) -> None:
        """Runs `effect` if the forward effect happened or may have, and refuses forward calls from now on.

        Where the key was never seen, nothing is run and the marker is left. Where it is undone, nothing happens. An
        error of `effect` goes on; the key stays UNDOING and the next undo runs it again, with the same result.

        Raises:
            EffectKeyError: the key cannot be kept. `effect` was not run.
        """
        ...

    async def status(self, key: str) -> EffectStatus | None:
        """What is known of the key; None if it was never seen, or forgotten. Waits for nobody."""
        ...

    async def forget(self, older_than: timedelta) -> int:
        """Forgets the keys that have not changed for that long, whatever their status; returns how many.

        A forgotten key is one never seen: its effect may happen again, and its undo does nothing. Keep keys longer
        than any workflow may run and its commands may be delivered.
        """
        ...


class Kept(NamedTuple):
    """A key's record. The result is JSON; None before the effect is done and after it is undone."""

    status: EffectStatus
    result: bytes | None


class Rows(Protocol):
    """Records by key. A write that has returned is durable, and a cancelled one is first brought to its end."""

    async def read(self, key: str) -> Kept | None:
        """The record of a key, None if there is none."""
        ...

    async def write(self, key: str, kept: Kept) -> None:
        """Makes this the record of a key."""
        ...


class KeyedEffectStore(EffectStore, ABC):
    """The rules of an effect store over rows and a lock for each key."""

    def __init__(self) -> None:
        self._here: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @abstractmethod
    def _held(self, key: str) -> AbstractAsyncContextManager[Rows]:
        """Holds a key against all other processes; entered by one task at a time for each key.

        The key is free once its holder's process has ended, however it ended.
        """

    @abstractmethod
    async def _rows(self) -> Rows:
        """Rows to read without holding anything."""

    @abstractmethod
    async def aclose(self) -> None:
        """Closes the store. Nobody may be using it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *about: object) -> None:
        await self.aclose()

    async def do(self, key: str, effect: Forward) -> JsonValue:
        """As EffectStore says."""
        async with self._alone(key) as rows:
            kept = await rows.read(key)
            if kept is not None and kept.status in _REFUSING:
                raise UndoneError(key)
            if kept is not None and kept.result is not None:
                return _parsed(kept.result)
            await rows.write(key, Kept(EffectStatus.STARTED, None))
            result = _as_json(key, await effect())
            await rows.write(key, Kept(EffectStatus.DONE, result))
            return _parsed(result)

    async def undo(self, key: str, effect: Backward) -> None:
        """As EffectStore says."""
        async with self._alone(key) as rows:
            kept = await rows.read(key)
            if kept is not None and kept.status is EffectStatus.UNDONE:
                return
            if kept is not None:
                await rows.write(key, Kept(EffectStatus.UNDOING, kept.result))
                await effect(None if kept.result is None else _parsed(kept.result))
            await rows.write(key, Kept(EffectStatus.UNDONE, None))

    async def status(self, key: str) -> EffectStatus | None:
        """As EffectStore says."""
        _check_key(key)
        kept = await (await self._rows()).read(key)
        return None if kept is None else kept.status

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncGenerator[Rows]:
        _check_key(key)
        async with self._here.setdefault(key, asyncio.Lock()), self._held(key) as rows:
            yield rows


_REFUSING = frozenset({EffectStatus.UNDOING, EffectStatus.UNDONE})


def pauses() -> Iterator[float]:
    """How long to wait between attempts at a lock, in seconds: from 1 ms, doubled up to 50 ms, without an end."""
    pause = _FIRST_PAUSE_S
    while True:
        yield pause
        pause = min(2 * pause, _LAST_PAUSE_S)


async def to_its_end(work: Awaitable[_T]) -> _T:
    """Awaits what must not be left half done: a cancelled caller is held until it has ended, then cancelled."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await _ended(running)
        raise


async def _ended(running: "asyncio.Future[Any]") -> None:
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            continue  # the first cancellation is about to be raised


def _check_key(key: str) -> None:
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise EffectKeyError(f"an effect's key has 1 to {MAX_KEY_LENGTH} characters, not {len(key)}")
    if "\0" in key or any("\ud800" <= character <= "\udfff" for character in key):
        raise EffectKeyError(f"an effect's key has neither NUL nor lone surrogates: {key[:_SHOWN]!a}")


def _as_json(key: str, result: JsonValue) -> bytes:
    try:
        text = orjson.dumps(result)
    except orjson.JSONEncodeError as error:
        raise EffectResultError(f"the result of effect {key[:_SHOWN]!a} is no JSON: {error}") from error
    if len(text) > MAX_RESULT_BYTES:
        raise EffectResultError(
            f"the result of effect {key[:_SHOWN]!a} has {len(text)} bytes, allowed are {MAX_RESULT_BYTES}: "
            "store it elsewhere and return a reference to it"
        )
    return text


def _parsed(text: bytes) -> JsonValue:
    parsed: JsonValue = orjson.loads(text)
    return parsed
