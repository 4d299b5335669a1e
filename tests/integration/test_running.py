"""Processes: the supervisor, its workers and their probes, and `acgs dev`."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import psutil

from schemas import topics
from streams import control
from streams.agents.naming import Naming
from streams.engine.client import EngineSettings
from streams.engine.status import LaneStatus, State, decode_status
from streams.installation import Installation
from streams.policies import default_policy
from streams.supervisor import Event, Supervisor, WorkerEvent, lane_worker
from tests.support.broker import Broker, engine_settings
from tests.support.eventually import eventually, eventually_sync
from tests.support.kafka import delete_records, read_topic, write
from tests.support.processes import of_a_worker

_PORT = re.compile(rb"on port (\d+)")


def _environment(broker: Broker, prefix: str) -> dict[str, str]:
    return of_a_worker(broker.bootstrap_servers, prefix, "test")


@asynccontextmanager
async def _supervised(
    broker: Broker, prefix: str, log: Path, workers: int = 1
) -> AsyncIterator[tuple[Supervisor, list[WorkerEvent]]]:
    await Installation(engine_settings(broker, prefix), partitions=1, replication=1).create()
    events: list[WorkerEvent] = []
    with log.open("wb") as file:  # a file on this disk
        supervisor = Supervisor(
            lane_worker(), workers=workers, environment=_environment(broker, prefix), log=file, on_event=events.append
        )
        running = asyncio.create_task(supervisor.run())
        try:
            yield supervisor, events
        finally:
            supervisor.stop()
            await running


def _ports(log: Path) -> list[int]:
    """The ports of the workers that serve; from then on they listen to signals."""
    return [int(port) for port in _PORT.findall(log.read_bytes())]


def _get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:  # loopback
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def _is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_a_worker_is_alive_at_once_and_ready_only_with_a_policy(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with _supervised(broker, prefix, log):
        (port,) = await eventually(lambda: _ports(log))

        async def waits_for_a_policy() -> bool:
            status, body = await asyncio.to_thread(_get, port, "/readyz")
            return status == 503 and b"is waiting" in body

        await eventually(waits_for_a_policy)
        assert (await asyncio.to_thread(_get, port, "/livez"))[0] == 200
        await control.publish(engine_settings(broker, prefix), default_policy())

        async def is_ready() -> bool:
            return (await asyncio.to_thread(_get, port, "/readyz"))[0] == 200

        await eventually(is_ready)
        status, metrics = await asyncio.to_thread(_get, port, "/metrics")
        assert status == 200
        assert b'lane_state{agent="triage",lane="0",state="running"} 1.0' in metrics
        assert (await asyncio.to_thread(_get, port, "/nothing"))[0] == 404


async def test_a_killed_worker_is_started_again(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with _supervised(broker, prefix, tmp_path / "log") as (supervisor, events):
        await eventually(lambda: supervisor.pids)
        first = supervisor.pids[0]
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: supervisor.pids and supervisor.pids[0] != first)
        assert [event.event for event in events] == [Event.STARTED, Event.DIED, Event.STARTED]
        assert events[1].status == -signal.SIGKILL


async def test_a_lane_that_retention_overtakes_while_it_runs_is_held_with_the_exact_gap(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    settings = engine_settings(broker, prefix)
    inbox = Naming(prefix).topic(topics.IN_MESSAGES)
    async with _supervised(broker, prefix, tmp_path / "log") as (supervisor, _):
        await control.publish(settings, default_policy())
        await write(settings, [(inbox, 0, b"k", b"{", ())] * 5)
        await eventually(lambda: _lane_says(settings, topics.GATEWAY_MESSAGES, "offsets", {inbox: 5}))
        (pid,) = supervisor.pids.values()
        os.kill(pid, signal.SIGSTOP)
        try:
            await write(settings, [(inbox, 0, b"k", b"{", ())])  # the answer to a fetch that is under way
            await write(settings, [(inbox, 0, b"k", b"{", ())] * 9)
            await delete_records(settings, inbox, {0: 12})
        finally:
            os.kill(pid, signal.SIGCONT)
        status = await eventually(lambda: _lane_says(settings, topics.GATEWAY_MESSAGES, "state", State.HELD))
    assert status.last_error is not None
    gap = rf"stands at {re.escape(inbox)}/0/([56]), but the log has 12 to 15: ([67]) offsets were deleted by retention"
    found = re.search(gap, status.last_error)
    assert found is not None, status.last_error
    assert int(found[1]) + int(found[2]) == 12


async def _lane_says(settings: EngineSettings, agent: str, field: str, wanted: object) -> LaneStatus | None:
    """The lane's last status, once a field of it holds what is wanted (a mapping: at least that)."""
    records = await read_topic(settings, Naming(settings.prefix).topic(topics.LANES))
    told = [decode_status(r.value) for r in records if r.value and (r.key or b"").startswith(b"lane/")]
    last = next((status for status in reversed(told) if status.agent == agent), None)
    if last is None:
        return None
    found = getattr(last, field)
    fits = wanted.items() <= found.items() if isinstance(wanted, dict) else found == wanted
    return last if fits else None


async def test_a_stopped_supervisor_leaves_no_worker(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with _supervised(broker, prefix, tmp_path / "log", workers=2) as (supervisor, events):
        await eventually(lambda: len(_ports(tmp_path / "log")) == 2)
        pids = list(supervisor.pids.values())
    assert not any(_is_alive(pid) for pid in pids)
    assert [event.status for event in events if event.event is Event.STOPPED] == [0, 0]


def test_workers_end_when_their_supervisor_is_killed(broker: Broker, prefix: str) -> None:
    settings = engine_settings(broker, prefix)
    asyncio.run(Installation(settings, partitions=1, replication=1).create())
    acgs = subprocess.Popen(
        [sys.executable, "-m", "streams.cli.main", "run", "--workers", "2"],
        env={**os.environ, **_environment(broker, prefix)},
        stderr=subprocess.DEVNULL,
    )
    try:
        parent = psutil.Process(acgs.pid)
        eventually_sync(lambda: len(parent.children()) == 3)  # two workers, and the health table
        children = [child.pid for child in parent.children()]
    finally:
        acgs.kill()
        acgs.wait()
    eventually_sync(lambda: not any(_is_alive(pid) for pid in children))


def test_dev_decides_on_all_of_its_sample_and_ends_by_itself(broker: Broker, prefix: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli.main", "dev", "--data", str(tmp_path / "run"), "--sample", "--once"],
        env={**os.environ, **_environment(broker, prefix)},
        capture_output=True,
        timeout=240,
        check=False,
    )
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0, done.stderr.decode()
    results = [line.removeprefix("RESULT ") for line in lines if line.startswith("RESULT ")]
    assert results[:-1] == [
        "health bank was critical, recovery succeeded, now healthy",
        "sagas 3 started, 2 completed, 1 compensated",
        "deliberation 3 held, 1 approved, 1 rejected, 1 expired",
        "sample 412 in, 370 delivered, 25 held, 17 rejected",
    ]
    assert re.fullmatch(
        r"audit \d+ decisions verified, none differs; a byte changed in a copy: output-changed", results[-1]
    )
    assert sum(line.endswith("vetoed by ann: that is production") for line in lines) == 1
    rejected = [line for line in lines if line.startswith(" rejected ") and "vetoed by" not in line]
    held = [line for line in lines if line.startswith("     held ")]
    assert len(rejected) == 17
    assert len(held) == 25
    assert all("+" in line and "waits for" in line for line in held)
    assert all(orjson.loads(line) for line in (tmp_path / "run" / "workers.log").read_bytes().splitlines())


def test_dev_with_a_kill_loses_nothing_and_doubles_nothing(broker: Broker, prefix: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "streams.cli.main",
            "dev",
            "--data",
            str(tmp_path / "run"),
            "--sample",
            "--kill",
            "--once",
        ],
        env={**os.environ, **_environment(broker, prefix)},
        capture_output=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"0 lost, 0 doubled of 3000" in done.stdout
    assert b"died" in done.stdout
