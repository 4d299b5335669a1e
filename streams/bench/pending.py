"""`acgs bench pending`: many items that wait: what they weigh in memory, and how long lanes take to come back."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import orjson
import psutil

from schemas import topics
from streams.bench import held, product
from streams.bench.product import PARTITIONS
from streams.bench.result import Result
from streams.engine.client import EngineSettings
from streams.supervisor import Supervisor

_DEADLINE_S = 86_400
_WITHIN_S = 600.0
_POLL_S = 0.5
_WARM = 1_000


async def run(settings: EngineSettings, *, count: int, say: Callable[[str], None]) -> list[Result]:
    """Bytes of resident memory an item beyond its own, and seconds from a lane's restoring to its running again.

    Memory is what both workers have more with all items than with the first 1,000; an item's own bytes are value and
    headers of its record. The restore is of every worker, killed at once, and of the slower lane.
    """
    panel = held.panel(count, _DEADLINE_S)
    await held.install(settings, panel.policy)
    with tempfile.TemporaryDirectory(prefix="acgs-bench-") as folder:
        log = Path(folder) / "workers.log"
        async with product.running(settings, metrics_port=0, agents=held.AGENTS, log=log) as supervisor:
            await held.hold(settings, _WARM)
            await _taken_in(settings, _WARM)
            before = _resident(supervisor)
            say(f"{count - _WARM} messages through gateway and triage, which hold them; deliberation takes them in")
            own = await _hold_the_others(settings, count)
            after = _resident(supervisor)
            say("every worker is killed with SIGKILL")
            size = log.stat().st_size
            for pid in supervisor.pids.values():
                os.kill(pid, signal.SIGKILL)
            restored = await _restored(log, size)
    overhead = (after - before) / (count - _WARM) - own
    return [
        Result("pending-memory", overhead / 1_024, "KiB", f"an item beyond its {own:.0f} bytes; {count} items"),
        Result("pending-restore", restored, "s", f"of {count} items, {PARTITIONS} lanes at once"),
    ]


async def _hold_the_others(settings: EngineSettings, count: int) -> float:
    """Has all but the first items held and taken in; returns the mean size of an item's record."""
    async with product.running(settings, metrics_port=0, agents=held.HOLDING):
        await held.send(settings, [held.message(number, seed=1) for number in range(_WARM, count)])
        sizes = 0
        seen = 0
        async for record in held.following(settings, f"{settings.prefix}{topics.DELIBERATION}"):
            headers = dict(record.headers)
            if "acgs-item" not in headers:
                continue
            sizes += len(record.value or b"") + sum(len(name) + len(content or b"") for name, content in record.headers)
            seen += 1
            if seen == count:
                break
    await _taken_in(settings, count)
    return sizes / count


async def _taken_in(settings: EngineSettings, count: int) -> None:
    """Returns once so many items have a status."""
    seen = 0
    async with asyncio.timeout(_WITHIN_S):
        async for _ in held.following(settings, f"{settings.prefix}{topics.DELIBERATION_STATUS}"):
            seen += 1
            if seen == count:
                return


def _resident(supervisor: Supervisor) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in supervisor.pids.values())


async def _restored(log: Path, since: int) -> float:
    """Seconds from `restoring` to `running`, of the slowest lane of deliberation that came back."""
    async with asyncio.timeout(_WITHIN_S):
        while True:
            await asyncio.sleep(_POLL_S)
            times = _lane_times(log, since)
            if len(times) == PARTITIONS:
                return max(times.values())


def _lane_times(log: Path, since: int) -> dict[int, float]:
    began: dict[int, datetime] = {}
    took: dict[int, float] = {}
    with log.open("rb") as opened:
        opened.seek(since)
        for line in opened:
            if not line.endswith(b"\n") or topics.DELIBERATOR.encode() not in line:
                continue
            said = orjson.loads(line)
            if said.get("agent") != topics.DELIBERATOR:
                continue
            at = datetime.fromisoformat(said["timestamp"])
            if said["message"] == "lane is restoring":
                began[said["lane"]] = at
            elif said["message"] == "lane is running" and said["lane"] in began:
                took.setdefault(said["lane"], (at - began[said["lane"]]).total_seconds())
    return took
