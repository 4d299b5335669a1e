"""Waiting for a condition, never for a length of time."""

import asyncio
import inspect
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

GENEROUS = timedelta(seconds=60)
_LOOK_EVERY_S = 0.05


async def eventually(
    condition: Callable[[], Any], deadline: timedelta = GENEROUS, account: Callable[[], object] | None = None
) -> Any:  # noqa: ANN401
    """Returns the first true value of a condition (a function or a coroutine function).

    Raises:
        AssertionError: it has not become true by the deadline; with what `account` says of the state of things.
    """
    until = time.monotonic() + deadline.total_seconds()
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < until, _too_late(condition, deadline, account)
        await asyncio.sleep(_LOOK_EVERY_S)


def eventually_sync(
    condition: Callable[[], Any], deadline: timedelta = GENEROUS, account: Callable[[], object] | None = None
) -> Any:  # noqa: ANN401
    """As eventually(), outside of an event loop."""
    until = time.monotonic() + deadline.total_seconds()
    while not (found := condition()):
        assert time.monotonic() < until, _too_late(condition, deadline, account)
        time.sleep(_LOOK_EVERY_S)
    return found


def _too_late(condition: object, deadline: timedelta, account: Callable[[], object] | None) -> str:
    name = getattr(condition, "__qualname__", condition)
    return f"not within {deadline.total_seconds():.0f} s: {name}; {account() if account else 'no account'}"
