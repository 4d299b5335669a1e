"""The demonstration: sample traffic through a running installation, and then a worker killed on purpose."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from schemas import envelope, topics
from streams.agents.naming import Naming
from streams.engine import client
from streams.engine.client import Delivered, EngineSettings
from streams.outcomes import Fate, Outcome, Outcomes, Tally
from streams.samples.fleet import SampleRecord, records
from streams.supervisor import Supervisor

SAMPLE_COUNT = 412
_SAMPLE_RATE = 120
_KILL_COUNT = 3_000
_KILL_RATE = 500
_SEED_OF_KILL = 11
_DEADLINE_S = 120.0

OnOutcome = Callable[[Outcome, Tally], None]


@dataclass(frozen=True, slots=True)
class Survived:
    """What a SIGKILL of one worker cost. `gap_s` is the longest time without a decision, in seconds."""

    killed_pid: int
    published: int
    lost: int
    doubled: int
    gap_s: float
    tally: Tally


class Demonstration:
    """Publishes sample traffic and follows what becomes of it."""

    def __init__(self, settings: EngineSettings, outcomes: Outcomes) -> None:
        self._settings, self._outcomes = settings, outcomes
        self._topic = Naming(settings.prefix).topic(topics.IN_MESSAGES)

    async def sample(self, on_outcome: OnOutcome) -> Tally:
        """Publishes the sample and returns once every record is decided.

        Raises:
            TimeoutError: not within two minutes.
        """
        tally = Tally()
        published: list[str] = []
        sending = asyncio.create_task(self._publish(list(records(SAMPLE_COUNT)), _SAMPLE_RATE, published))
        await self._follow(sending, published, tally, on_outcome)
        return tally

    async def kill_a_worker(self, supervisor: Supervisor, on_outcome: OnOutcome) -> Survived:
        """Publishes more, kills the first worker with SIGKILL in the middle, and counts.

        Raises:
            TimeoutError: not every record was decided within two minutes.
        """
        tally = Tally()
        published: list[str] = []
        traffic = list(records(_KILL_COUNT, seed=_SEED_OF_KILL))
        sending = asyncio.create_task(self._publish(traffic, _KILL_RATE, published))
        arrivals: list[float] = []

        def arrived(outcome: Outcome, so_far: Tally) -> None:
            arrivals.append(outcome.record.timestamp / 1000)
            on_outcome(outcome, so_far)

        pid = supervisor.pids[0]
        killing = asyncio.create_task(_kill_when(lambda: len(arrivals) > _KILL_COUNT // 4, pid))
        await self._follow(sending, published, tally, arrived)
        await killing
        return Survived(
            killed_pid=pid,
            published=len(published),
            lost=len(tally.lost(published)),
            doubled=len(tally.doubled),
            gap_s=_longest_gap(arrivals),
            tally=tally,
        )

    async def _follow(
        self, sending: "asyncio.Task[None]", published: Sequence[str], tally: Tally, on_outcome: OnOutcome
    ) -> None:
        async with asyncio.timeout(_DEADLINE_S):
            while not sending.done() or tally.lost(published):
                for outcome in await self._outcomes.next():
                    tally.add(outcome)
                    on_outcome(outcome, tally)
        await sending

    async def _publish(self, traffic: Sequence[SampleRecord], rate: int, published: list[str]) -> None:
        """Publishes at an even rate; notes each record's source position once the broker has it."""
        producer = client.plain_producer(self._settings, "sample")
        await producer.start()
        try:
            counts = len(await producer.partitions_for(self._topic))
            began = time.monotonic()
            waiting: list[Awaitable[Delivered]] = []
            for number, record in enumerate(traffic):
                if (left := began + number / rate - time.monotonic()) > 0:
                    await asyncio.sleep(left)
                partition = sum(record.key or b"") % counts
                waiting.append(
                    await producer.send(
                        self._topic, record.value, record.key, partition, headers=list(record.headers) or None
                    )
                )
            for delivery in waiting:
                done = await delivery
                published.append(envelope.encode_source(self._topic, done.partition, done.offset).decode())
        finally:
            await producer.stop()


async def _kill_when(condition: Callable[[], bool], pid: int) -> None:
    while not condition():  # noqa: ASYNC110  # filled by the follower
        await asyncio.sleep(0.01)
    os.kill(pid, signal.SIGKILL)


def _longest_gap(arrivals: Sequence[float]) -> float:
    ordered = sorted(arrivals)
    return max((late - early for early, late in pairwise(ordered)), default=0.0)


def result_line(tally: Tally) -> str:
    """The last line of a demonstration."""
    fates = tally.fates
    parts = [f"{fates[fate]} {fate.value}" for fate in Fate if fates[fate] or fate is not Fate.DEAD_LETTERED]
    return f"RESULT sample {sum(fates.values())} in, {', '.join(parts)}"
