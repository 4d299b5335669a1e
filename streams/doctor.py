"""What can be wrong with an installation, looked for one thing after the other."""

import asyncio
import platform
import resource
import shutil
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial
from importlib.metadata import version
from pathlib import Path

from schemas import topics
from streams.agents.naming import Naming
from streams.broker import SILENT_S, producing, records_of, require_topics, told_errors
from streams.broker_version import broker_version
from streams.control import in_force
from streams.dead_letter_box import letters
from streams.embedded import BrokerStatus
from streams.engine.client import EngineSettings
from streams.errors import StreamsError
from streams.installation import Installation
from streams.inventory import named_in_force
from streams.lane_board import LaneBoard
from streams.settings import Settings

MAX_SKEW = timedelta(seconds=2)
MIN_OPEN_FILES = 1_024
MIN_FREE_BYTES = 1024**3
_SHOWN = 3
CREATE_TOPICS = "acgs topics create"


class Grade(StrEnum):
    """How a check came out."""

    GOOD = "good"
    WARNING = "warning"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was looked at, how it came out, what was found, and what to do next, if anything."""

    name: str
    grade: Grade
    found: str
    next_step: str = ""


async def examine(
    settings: Settings, engine: EngineSettings | None, embedded: BrokerStatus
) -> AsyncGenerator[Check, None]:
    """Every check, as it is done. Those that need a broker are skipped once none can be reached."""
    yield versions()
    yield open_files()
    yield disk(embedded, engine)
    if engine is None:
        yield Check("broker", Grade.WRONG, "none is set", "set ACGS_KAFKA_BOOTSTRAP_SERVERS, or: acgs kafka start")
        return
    reached = await broker(engine, embedded)
    yield reached
    if reached.grade is Grade.WRONG:
        yield Check("the rest", Grade.SKIPPED, "topics, clock, policy, lanes and dead letters need the broker")
        return
    declared = await _told("topics", lambda: declared_topics(settings, engine))
    yield declared
    if declared.next_step == CREATE_TOPICS:
        yield Check("the rest", Grade.SKIPPED, "clock, policy, lanes and dead letters need the topics")
        return
    for name, look in (("clock", clock), ("policy", policy), ("lanes", lanes), ("dead letters", unresolved)):
        yield await _told(name, partial(look, engine))


async def _told(name: str, look: Callable[[], Awaitable[Check]]) -> Check:
    try:
        return await look()
    except StreamsError as error:
        return Check(name, Grade.WRONG, str(error))


def versions() -> Check:
    """Python and the libraries that talk to Kafka."""
    words = f"Python {platform.python_version()}, aiokafka {version('aiokafka')}, {platform.platform(terse=True)}"
    if not __debug__:
        return Check("versions", Grade.WRONG, f"{words}, with -O", "run Python without -O: asserts guard transactions")
    return Check("versions", Grade.GOOD, words)


def open_files() -> Check:
    """How many files and sockets a process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < MIN_OPEN_FILES:
        return Check("open files", Grade.WARNING, f"{soft} a process", f"raise it: ulimit -n {MIN_OPEN_FILES * 4}")
    return Check("open files", Grade.GOOD, "no limit" if soft == resource.RLIM_INFINITY else f"{soft:,} a process")


def disk(embedded: BrokerStatus, engine: EngineSettings | None) -> Check:
    """Room for the embedded Kafka's records, where it is the one in use or none is set."""
    if engine is not None and engine.bootstrap_servers != embedded.bootstrap_servers:
        return Check("disk", Grade.SKIPPED, "the broker's disk cannot be seen from here")
    free = shutil.disk_usage(_existing(embedded.data)).free
    words = f"{free / 1024**3:,.1f} GiB free for {embedded.data}"
    if free < MIN_FREE_BYTES:
        return Check("disk", Grade.WRONG, words, "make room, or choose another folder with ACGS_DATA_DIR")
    return Check("disk", Grade.GOOD, words)


def _existing(path: Path) -> Path:
    return next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))


async def broker(engine: EngineSettings, embedded: BrokerStatus) -> Check:
    """Whether it answers, how fast, and what it is."""
    began = time.perf_counter()
    try:
        with told_errors(engine):
            release = await broker_version(engine)
        await require_topics(engine, [])
    except StreamsError as error:
        return Check("broker", Grade.WRONG, str(error))
    is_embedded = engine.bootstrap_servers == embedded.bootstrap_servers
    kind = f"the embedded Kafka {embedded.version}" if is_embedded else f"Kafka {release}"
    took = (time.perf_counter() - began) * 1000
    return Check("broker", Grade.GOOD, f"{kind} at {engine.bootstrap_servers}, answers in {took:.0f} ms")


async def declared_topics(settings: Settings, engine: EngineSettings) -> Check:
    """Whether topics are as the catalogue has them."""
    with told_errors(engine):
        installation = Installation(engine, partitions=settings.partitions, replication=settings.replication)
        found = await installation.differences(await named_in_force(engine))
    if not found:
        return Check("topics", Grade.GOOD, f"all are as declared, prefix {engine.prefix}")
    missing = [one.topic for one in found if one.what.startswith("is missing")]
    if missing:
        return Check("topics", Grade.WRONG, f"{_some(missing)} missing", CREATE_TOPICS)
    return Check("topics", Grade.WRONG, _some([f"{one.topic}: {one.what}" for one in found], "; "), "acgs topics list")


def _some(words: Sequence[str], between: str = ", ") -> str:
    """The first few, and how many more there are."""
    more = f"{between}and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return f"{between.join(words[:_SHOWN])}{more}"


async def clock(engine: EngineSettings) -> Check:
    """How far this machine's clock is from the broker's, by the time it gives a record on the topic of lanes.

    The record has a key of its own and is deleted at once.
    """
    lanes_topic = Naming(engine.prefix).topic(topics.LANES)
    await require_topics(engine, [lanes_topic])
    key = f"doctor/{platform.node()}".encode()
    async with producing(engine, "doctor") as producer:
        async with asyncio.timeout(SILENT_S):
            before = time.time()
            written = await producer.send_and_wait(lanes_topic, b"{}", key, 0)
            after = time.time()
            await producer.send_and_wait(lanes_topic, None, key, 0)
    stamps = [record.timestamp async for record in records_of(engine, lanes_topic, [0], written.offset)]
    off = _off_ms(stamps[0], before * 1000, after * 1000)
    words = "as the broker's" if not off else f"{abs(off):,.0f} ms {'behind' if off > 0 else 'ahead of'} the broker's"
    if abs(off) > MAX_SKEW.total_seconds() * 1000:
        return Check("clock", Grade.WARNING, words, "set this machine's clock by NTP: expiry goes by the broker's")
    return Check("clock", Grade.GOOD, words)


def _off_ms(stamp: float, before: float, after: float) -> float:
    """How far the broker is ahead, as far as the time the question took does not explain it."""
    return min(0.0, stamp - before + 1) or max(0.0, stamp - after - 1)


async def policy(engine: EngineSettings) -> Check:
    """Whether there is one."""
    current = await in_force(engine)
    if current is None:
        return Check("policy", Grade.WRONG, "none is in force, so that lanes wait", "acgs policy publish")
    words = f"epoch {current.policy.epoch}, {len(current.policy.tools)} tools"
    return Check("policy", Grade.GOOD, words)


async def lanes(engine: EngineSettings) -> Check:
    """Whether every lane runs."""
    views = await LaneBoard(engine).look(int(time.time() * 1000))
    bad = [view for view in views if view.needs_person]
    if not bad:
        return Check("lanes", Grade.GOOD, f"{len(views)} run or will by themselves")
    states = [f"{view.agent}/{view.lane} {view.state}" for view in bad]
    return Check("lanes", Grade.WRONG, _some(states), "acgs status says what to do for each")


async def unresolved(engine: EngineSettings) -> Check:
    """Whether dead letters wait for somebody."""
    waiting = [letter for letter in await letters(engine) if letter.resolution is None]
    if waiting:
        return Check("dead letters", Grade.WARNING, f"{len(waiting)} unresolved", "acgs dead-letters list")
    return Check("dead letters", Grade.GOOD, "none unresolved")
