"""`acgs bench audit-explain`: the index built from real traffic, and the story of one message among all of it."""

import asyncio
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from schemas import topics
from streams.bench import pipeline, product, traffic
from streams.bench.product import PARTITIONS
from streams.bench.result import Result
from streams.engine.client import EngineSettings
from streams.search import query
from streams.search.building import bring_up_to_date, look
from streams.search.explaining import Story, explain
from streams.search.query import Filter

_STORIES = 40
_COMMANDS = 5
_STEPS = 4
"""What a message's story has at least: received, accepted, scored, delivered or held."""


async def run(settings: EngineSettings, *, messages: int, say: Callable[[str], None]) -> list[Result]:
    """Records a second of the build, the time of one story, of one search, and of the whole command.

    A story is timed as the command tells it: the installation looked at, the index opened and brought up to date, the
    records and the turns read from the log. The messages are chosen at random from all that passed the gateway.
    """
    await product.install(settings)
    say(f"{messages:,} messages through gateway and triage")
    await traffic.load(settings, f"{settings.prefix}{topics.IN_MESSAGES}", PARTITIONS, messages)
    await pipeline.decided(settings, messages)
    with tempfile.TemporaryDirectory(prefix="acgs-bench-") as folder:
        path = Path(folder) / "index.sqlite"
        say("the index, from nothing")
        installed = await look(settings)
        with installed.open(path) as file:
            built = await bring_up_to_date(settings, installed, file)
            size = file.size()
            began = time.perf_counter()
            query.search(file, Filter(tenant="acme", reason="no such reason"), 50)
            searched = time.perf_counter() - began
        chosen = _chosen(messages)
        say(f"{len(chosen)} stories")
        took = sorted([await _told(settings, path, one) for one in chosen])
        say(f"{_COMMANDS} times the command")
        commands = [await _command(settings, path, one) for one in chosen[:_COMMANDS]]
    read = built.records + built.turns
    p99 = took[math.ceil(len(took) * 0.99) - 1]
    mib = size / 2**20
    return [
        Result("audit-index", read / built.took_s, "records/s", f"{read:,} in {built.took_s:.1f} s, {mib:.0f} MiB"),
        Result(
            "audit-explain", p99, "s", f"p99 of {len(took)} among {messages:,}; median {statistics.median(took):.3f}"
        ),
        Result("audit-explain-command", statistics.median(commands), "s", "median, with the start of its process"),
        Result("audit-search", searched, "s", "one that looks at every decision and finds none"),
    ]


def _chosen(messages: int) -> Sequence[str]:
    """The ids of messages of `traffic`, some of each of its kinds but the refused."""
    wanted = set(random.Random(7).sample(range(messages), min(messages, 2 * _STORIES)))  # noqa: S311  # no secret
    found = [
        str(orjson.loads(value)["message_id"])
        for number, (_, value) in enumerate(traffic.messages(messages))
        if number in wanted and (traffic.is_delivered(number) or number % 20 < 2)  # noqa: PLR2004  # held
    ]
    return found[:_STORIES]


async def _told(settings: EngineSettings, path: Path, message_id: str) -> float:
    began = time.perf_counter()
    installed = await look(settings)
    with installed.open(path) as file:
        await bring_up_to_date(settings, installed, file)
        story = await explain(settings, installed, file, message_id)
    _check(story, message_id)
    return time.perf_counter() - began


def _check(story: Story, message_id: str) -> None:
    if story.id != message_id or len(story.lines) < _STEPS or any(line.turn is None for line in story.lines):
        raise RuntimeError(f"the story of {message_id} is not whole: {story.lines}")


async def _command(settings: EngineSettings, path: Path, message_id: str) -> float:
    environment = {**os.environ, **product.environment(settings, metrics_port=0)}
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streams.cli.main", "audit", "explain", message_id, "--file", str(path)),
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
    )
    if await process.wait():
        raise RuntimeError("the command failed")
    return time.perf_counter() - began
