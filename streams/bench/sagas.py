"""`acgs bench sagas`: the saga that the peers run, one alone and 100 in flight; and one wide workflow.

Ten steps, the last of which refuses, and nine compensations. Durable: every step is a transaction of the orchestrator,
and activities run in a process of their own.
"""

import asyncio
import math
import os
import statistics
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache

from compensation.definition import WorkflowDefinition
from schemas import topics
from schemas.workflow import WorkflowState
from streams.bench import bare, product
from streams.bench.result import Result
from streams.engine.admin import Admin, NewTopic
from streams.engine.client import EngineSettings
from streams.samples import bench_activities
from streams.supervisor import Supervisor, activity_worker
from streams.workflows import WorkflowClient

_AGENTS = (topics.GATEWAY_WORKFLOWS, topics.ORCHESTRATOR)
_HASH = "cdd01ef066bc6cf2"
_STEPS, _ALONE = 10, 10
_WARMING = 200
_WITHIN = timedelta(seconds=120)
_WIDE = 1_000
_WIDE_RUNS = 5
_ROUND_TRIPS = 60
_BARE = "bare"


@cache
def saga() -> WorkflowDefinition:
    """Ten steps in a row; nine of them can be undone, and the last one refuses."""
    nodes = [_step(at) for at in range(_STEPS)]
    return WorkflowDefinition.of(name="bench-saga", nodes=nodes)


def _step(at: int) -> dict[str, object]:
    undo = {"compensation": {"name": f"undo_{at}", "activity": "bench_undo"}} if at < _STEPS - 1 else {}
    dependencies = [f"s{at - 1}"] if at else []
    return {"id": f"s{at}", "name": f"step {at}", "activity": "bench_step", "dependencies": dependencies, **undo}


@cache
def wide(width: int) -> WorkflowDefinition:
    """Nodes side by side, and one that joins them."""
    ids = [f"n{at}" for at in range(width)]
    nodes = [{"id": id_, "name": id_, "activity": "bench_step"} for id_ in ids]
    join = {"id": "join", "name": "join", "activity": "bench_step", "dependencies": ids}
    return WorkflowDefinition.of(name="bench-fan-out", nodes=[*nodes, join])


async def run(
    settings: EngineSettings, *, sagas: int, in_flight: int, workers: int, say: Callable[[str], None]
) -> list[Result]:
    """One saga alone, sagas a second with `in_flight` at a time, and a workflow of 1,000 parallel nodes."""
    await product.install(settings)
    async with Admin(settings) as admin:
        await admin.create([NewTopic(f"{settings.prefix}{_BARE}", 1, 1, {})])
    async with _running(settings, workers) as client:
        say(f"{_WARMING} sagas to warm up")
        await _many(client, _WARMING, in_flight)
        say(f"{_ROUND_TRIPS} bare transactions, each until a reader has it; then {_ALONE} sagas, one after the other")
        bare_trip = statistics.median(await bare.round_trips(settings, f"{settings.prefix}{_BARE}", _ROUND_TRIPS))
        alone = [await _one(client) for _ in range(_ALONE)]
        say(f"{sagas} sagas, {in_flight} in flight")
        began = time.perf_counter()
        times = sorted(await _many(client, sagas, in_flight))
        rate = sagas / (time.perf_counter() - began)
        say(f"{_WIDE} parallel nodes and one that joins them, {_WIDE_RUNS} times")
        fan_out = [await _fan_out(client) for _ in range(_WIDE_RUNS)]
    p50, p99 = (times[math.ceil(len(times) * share) - 1] * 1_000 for share in (0.5, 0.99))
    single, trips = statistics.median(alone) * 1_000, bare_trip * (_STEPS * 2 - 1) * 1_000
    return [
        Result("sagas", rate, "sagas/s", f" alone p50 {single:.0f} ms  in flight p50 {p50:.0f} p99 {p99:.0f} ms"),
        Result("saga-alone", single, "ms", f"p50 ({_STEPS * 2 - 1} bare transactional round trips: {trips:.0f} ms)"),
        Result("fan-out", statistics.median(fan_out), "s", f"{_WIDE} parallel nodes and a join, median"),
    ]


async def _many(client: WorkflowClient, count: int, in_flight: int) -> list[float]:
    gate = asyncio.Semaphore(in_flight)

    async def one() -> float:
        async with gate:
            return await _one(client)

    return await asyncio.gather(*(one() for _ in range(count)))


async def _one(client: WorkflowClient) -> float:
    """Runs one saga; returns its time in seconds."""
    began = time.perf_counter()
    handle = await client.start(saga(), {"fails_at": f"s{_STEPS - 1}"})
    outcome = await handle.result(_WITHIN)
    if outcome.state is not WorkflowState.COMPENSATED:
        raise RuntimeError(f"saga {outcome.workflow_id} is {outcome.state}")
    return time.perf_counter() - began


async def _fan_out(client: WorkflowClient) -> float:
    began = time.perf_counter()
    outcome = await (await client.start(wide(_WIDE), {})).result(_WITHIN)
    if outcome.state is not WorkflowState.COMPLETED:
        raise RuntimeError(f"workflow {outcome.workflow_id} is {outcome.state}: {outcome.cause}")
    return time.perf_counter() - began


@asynccontextmanager
async def _running(settings: EngineSettings, workers: int) -> AsyncGenerator[WorkflowClient, None]:
    """A client of an installation with lane workers and a worker of activities, each a process."""
    client = WorkflowClient(
        settings, tenant_id="bench", requested_by="bench", constitutional_hash=_HASH, answer_within=_WITHIN
    )
    async with (
        product.running(settings, metrics_port=0, agents=_AGENTS, workers=workers),
        _activities(settings),
        client,
    ):
        yield client


@asynccontextmanager
async def _activities(settings: EngineSettings) -> AsyncGenerator[None, None]:
    with open(os.devnull, "wb") as nowhere:  # noqa: ASYNC230, PTH123  # the null device does not block
        supervisor = Supervisor(
            activity_worker(bench_activities.__name__),
            workers=1,
            environment=product.environment(settings, metrics_port=0),
            log=nowhere,
        )
        supervising = asyncio.create_task(supervisor.run())
        try:
            yield
        finally:
            supervisor.stop()
            await supervising
