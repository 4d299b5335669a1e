"""Activities that a worker process of a test serves. Each writes that it began to a file."""

import asyncio
import os
from pathlib import Path

from compensation import NoEffect, NonRetryableError
from compensation.activities import ActivityContext, activity

BEGUN = "ACGS_TEST_BEGUN"
"""Names the file of what began, a line each."""
GATE = "ACGS_TEST_GATE"
"""Names the file whose being there lets go what waits."""

_LOOK_EVERY_S = 0.02


def _begins(context: ActivityContext) -> None:
    with Path(os.environ[BEGUN]).open("a") as file:
        file.write(f"{context.workflow_id}\n")


def _is_open() -> bool:
    return Path(os.environ[GATE]).exists()


@activity
async def echo(context: ActivityContext) -> object:
    _begins(context)
    return context["n"]


@activity
async def fail(context: ActivityContext) -> None:
    _begins(context)
    raise {"no_effect": NoEffect, "final": NonRetryableError, "failed": ValueError}[context["how"]]("on purpose")


@activity
async def say_false(context: ActivityContext) -> bool:
    _begins(context)
    return False


@activity
async def large(context: ActivityContext) -> str:
    _begins(context)
    return "x" * context["bytes"]


@activity
async def measure(context: ActivityContext) -> int:
    _begins(context)
    return len(context.results["large"])


@activity
async def wait(context: ActivityContext) -> str:
    """Waits until the gate is open."""
    _begins(context)
    done = 0
    while not _is_open():
        await asyncio.sleep(_LOOK_EVERY_S)
        done += 1
        context.heartbeat({"done": done})
    return "waited"


@activity
async def wait_quietly(context: ActivityContext) -> None:
    _begins(context)
    await asyncio.sleep(3_600)
