"""The event loop of processes that move records: uvloop, which takes a third off what small transactions cost them."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

Result = TypeVar("Result")


def run(doing: Coroutine[Any, Any, Result]) -> Result:
    """As asyncio.run(), on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(doing)
