"""`acgs bench recovery`: many recoveries that are scheduled: how late their attempts are, and what scheduling costs."""

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import orjson
from prometheus_client import CollectorRegistry

from compensation import CONSTITUTIONAL_HASH
from handlers.recovery.rows import Row
from schemas import envelope, topics
from schemas.policy import Policy, PublishedPolicy, Tool, Verb
from schemas.recovery import EVERY_SERVICE, RecoveryRule, RecoveryState, RecoveryStrategy
from streams.agents.naming import Naming
from streams.agents.recovery import recovery_agent
from streams.bench import held, product
from streams.bench.result import Result
from streams.engine.client import EngineSettings
from streams.engine.driver import LaneDriver
from streams.engine.records import Headers, InputRecord
from streams.metrics import Measures
from streams.policies import default_policy
from streams.recovery import RecoveryOrchestrator, RecoveryPolicy
from streams.recovery.board import event_in

_SPREAD_S = 30
_LEAD_S = 20.0
_WITHIN_S = 300.0
_PART = 1_000
_AT_ONCE = 64
_ACTIVITY = "restart_service"
_IMMEDIATE = RecoveryRule(strategy=RecoveryStrategy.IMMEDIATE, activity=_ACTIVITY)


async def run(settings: EngineSettings, *, count: int, say: Callable[[str], None]) -> list[Result]:
    """Recoveries on lanes whose first attempts are due within 30 s, then as many in one process, then what each costs.

    On lanes, an attempt's lateness is the log's time of the event that tells it, after the time it was due; in process,
    the time at which the function that recovers is called. No workflow answers: every attempt stays in progress.
    """
    say(f"{count} recoveries on lanes, due within {_SPREAD_S} s")
    late = await _on_lanes(settings, count)
    say(f"{count} recoveries in one process, due within {_SPREAD_S} s")
    own, costs = await _in_process(count)
    say(f"what scheduling costs a lane that has {count} scheduled, and joining a line of {count}")
    return [
        *_lateness("recovery", late),
        *_lateness("recovery-in-process", own),
        _growth("recovery-in-process-growth", costs, "scheduling in one process"),
        *_of_a_lane(count),
    ]


# On lanes


async def _on_lanes(settings: EngineSettings, count: int) -> list[float]:
    await held.install(settings, _policy(count))
    async with product.running(settings, metrics_port=0, agents=(topics.GATEWAY_RECOVERY, topics.RECOVERER)):
        first = time.time() + _LEAD_S + count / 1_000
        dues = [first + _SPREAD_S * number / count for number in range(count)]
        commands = [(f"service-{n}".encode(), _schedule(f"service-{n}", due)) for n, due in enumerate(dues)]
        await held.write(settings, topics.IN_RECOVERY, commands)
        async with asyncio.timeout(_WITHIN_S):
            return await _attempted(settings, count)


async def _attempted(settings: EngineSettings, count: int) -> list[float]:
    """Seconds that each attempt was late."""
    dues: dict[str, int] = {}
    late: list[float] = []
    async for record in held.following(settings, f"{settings.prefix}{topics.RECOVERY_EVENTS}"):
        event = event_in(record.value)
        if event is None:
            continue
        if event.state is RecoveryState.SCHEDULED:
            dues[event.service] = event.due or 0
        elif event.state is RecoveryState.IN_PROGRESS:
            late.append((record.timestamp - dues[event.service]) / 1_000)
        if len(late) == count:
            break
    return late


def _policy(count: int) -> Policy:
    base = default_policy()
    tools = {**base.tools, _ACTIVITY: Tool(verb=Verb.CHANGE)}
    changes = {"tools": tools, "recoveries": {EVERY_SERVICE: _IMMEDIATE}, "max_recoveries_at_once": count}
    return base.model_copy(update=changes)


def _schedule(service: str, due: float) -> bytes:
    return orjson.dumps(
        {
            "command": "schedule",
            "command_id": str(uuid.uuid4()),
            "service": service,
            "requested_by": "bench",
            "reason": "to be measured",
            "constitutional_hash": CONSTITUTIONAL_HASH,
            "created_at": "2026-11-23T09:30:00Z",
            "not_before": datetime.fromtimestamp(due, UTC).isoformat(timespec="milliseconds"),
        }
    )


# In one process


async def _in_process(count: int) -> tuple[list[float], list[float]]:
    """Seconds that each attempt was late, and seconds that each call of schedule_recovery() took."""
    dues: dict[str, datetime] = {}
    late: list[float] = []
    done = asyncio.Event()

    async def recover(service: str) -> None:
        late.append((datetime.now(UTC) - dues[service]).total_seconds())
        if len(late) == count:
            done.set()

    async def check() -> bool:
        return True

    def after(number: int) -> RecoveryPolicy:
        delay_ms = 1_000 + number * _SPREAD_S * 1_000 // count
        return RecoveryPolicy(initial_delay_ms=delay_ms, max_delay_ms=delay_ms, health_check_fn=check)

    policies = {f"service-{number}": after(number) for number in range(count)}
    one = RecoveryOrchestrator(CONSTITUTIONAL_HASH, recover, policies=policies, at_once=_AT_ONCE)
    costs: list[float] = []
    for service in policies:
        began = time.perf_counter()
        one.schedule_recovery(service)
        costs.append(time.perf_counter() - began)
        task = one.get_task(service)
        if task is not None and task.due is not None:
            dues[service] = task.due
    running = asyncio.create_task(one.run())
    try:
        async with asyncio.timeout(_WITHIN_S):
            await done.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return late, costs


# What it costs a lane


def _of_a_lane(count: int) -> list[Result]:
    scheduled = _Lane(places=count)
    scheduling = [scheduled.takes(f"service-{n}", not_before_s=3_600) for n in range(count)]
    lined = _Lane(places=1)
    for number in range(count):
        lined.takes(f"service-{number}", not_before_s=number + 1)
    joining = [lined.lets_time_pass() for _ in range(count)]
    return [
        _growth("recovery-lane-growth", scheduling, "scheduling on a lane"),
        _growth("recovery-line-growth", joining[1:], "joining the line for a place"),
    ]


class _Lane:
    """One lane without Kafka."""

    def __init__(self, places: int) -> None:
        self._naming = Naming("bench.")
        agent = recovery_agent(self._naming, Measures(CollectorRegistry()))
        self._driver: LaneDriver[Row, PublishedPolicy] = LaneDriver(agent)
        self._now_ms = 1_800_000_000_000
        document = _policy(places).canonical()
        self._driver.send(self._naming.topic(topics.CONTROL), document, timestamp=self._now_ms)

    def takes(self, service: str, *, not_before_s: int) -> float:
        """Seconds that it takes to schedule a recovery."""
        topic, position = self._naming.topic(topics.RECOVERY), self._driver.state.position
        value = _schedule(service, self._now_ms / 1_000 + not_before_s)
        headers: Headers = ((envelope.SOURCE, b"bench.in.recovery/0/0"),)
        offset = position.offsets[topic] if position else 0
        record = InputRecord(topic, 0, offset, self._now_ms, service.encode(), value, headers)
        began = time.perf_counter()
        self._driver.handle([record])
        return time.perf_counter() - began

    def lets_time_pass(self) -> float:
        """Seconds that it takes to deal with what becomes due within the next second."""
        self._now_ms += 1_000
        began = time.perf_counter()
        self._driver.advance(self._now_ms)
        return time.perf_counter() - began


# Figures


def _lateness(name: str, late: Sequence[float]) -> list[Result]:
    ordered = sorted(late)
    p50, p99 = (ordered[math.ceil(len(ordered) * part) - 1] for part in (0.5, 0.99))
    early = sum(one < 0 for one in ordered)
    words = (
        f"late; {len(late)} attempts, {early} early, p50 {p50 * 1_000:.0f} ms, the latest {ordered[-1] * 1_000:.0f} ms"
    )
    return [Result(f"{name}-p99", p99 * 1_000, "ms", words)]


def _growth(name: str, costs: Sequence[float], what: str) -> Result:
    """Medians, since the collector of garbage and other processes take their time now and then."""
    part = min(_PART, len(costs) // 2)
    first, last = (sorted(ones)[part // 2] * 1_000_000 for ones in (costs[:part], costs[-part:]))
    words = f"{what}: median of the first {part} {first:.0f} us, of the last {last:.0f} us, {len(costs)} in all"
    return Result(name, last / first, "times", words)
