"""A game day: messages flow through processes that chaos may be done to, and operators who order it."""

import asyncio
import re
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from schemas import envelope, topics
from schemas.breaker import BreakerEvent
from schemas.chaos import ChaosStatus
from streams import control
from streams.agents.naming import Naming
from streams.chaos import ChaosClient, ChaosScenario, Operator, statuses
from streams.engine.client import EngineSettings
from streams.engine.status import LaneStatus, State, decode_status
from streams.installation import Installation
from tests.support.chaotic import OLGA, chaotic_policy
from tests.support.eventually import eventually
from tests.support.kafka import producer, read_topic, read_topics
from tests.support.ledger import Ledger
from tests.support.lifetime import Lifetime, accounted
from tests.support.processes import Process, of_a_worker
from tests.support.product import HASH, PARTITIONS, SAFE_TOOL, UNKNOWN_TOOL, encoded
from tests.support.signing import key
from tests.support.trail import verify_lane

PIPELINE = (topics.GATEWAY_MESSAGES, topics.TRIAGE)
GOVERNORS = (topics.GATEWAY_CHAOS, topics.CHAOS_AGENT)
PATIENCE = timedelta(seconds=90)
_PORT = re.compile(r"on port (\d+)")
_PACE_S, _RATE = 0.05, 5


def operator(name: str = OLGA) -> Operator:
    return Operator(name=name, key=key(name), constitutional_hash=HASH)


def chaos_client(settings: EngineSettings) -> ChaosClient:
    """An operator's, who waits for answers as long as a busy machine may need."""
    return ChaosClient(settings, operator(), answer_within=PATIENCE)


async def install(settings: EngineSettings) -> Naming:
    """Makes the topics and publishes a policy that allows chaos."""
    await Installation(settings, partitions=PARTITIONS, replication=1).create()
    await control.publish(settings, chaotic_policy())
    return Naming(settings.prefix)


class GameDay(Lifetime):
    """The pipeline in one process, the chaos agents in another, load, and a ledger. An async context manager."""

    def __init__(self, settings: EngineSettings, folder: Path, *, has_chaos: bool = True) -> None:
        self.settings, self._folder, self._has_chaos = settings, folder, has_chaos
        self.naming = Naming(settings.prefix)
        self.client: ChaosClient
        self.ledger: Ledger
        self.pipeline: Process
        self.governors: Process
        self._number = self._sent = 0
        self._loading: asyncio.Task[None]

    @asynccontextmanager
    async def _running(self) -> AsyncIterator["GameDay"]:
        await install(self.settings)
        self.governors = self.start_governors()
        self.pipeline = self.start_pipeline()
        try:
            async with Ledger(self.settings, **self._topics) as self.ledger, chaos_client(self.settings) as self.client:
                self._loading = asyncio.create_task(self._load())
                try:
                    with accounted(self._account):
                        yield self
                finally:
                    await self._end_load()
        finally:
            for process in (self.governors, self.pipeline):
                process.kill()

    # What is ordered

    async def run(self, scenario: ChaosScenario) -> ChaosStatus:
        return await self.client.run(scenario, "game day")

    async def in_force(self) -> list[str]:
        return [one.name for one in await statuses(self.settings) if one.ended_ms is None]

    async def nothing_is_left(self) -> None:
        """Returns when no scenario is in force and every breaker that was forced open is retired."""

        async def none() -> bool:
            return await self.in_force() == []

        await eventually(none, PATIENCE)
        last: dict[str, BreakerEvent] = {}
        for record in await read_topic(self.settings, self.naming.topic(topics.BREAKERS)):
            event = BreakerEvent.model_validate_json(record.value or b"")
            last[event.instance] = event
        assert {event.kind for event in last.values()} <= {"retired"}

    # The pipeline

    def start_pipeline(self) -> Process:
        """Starts its process under a new log."""
        self._number += 1
        options = ("--chaos",) if self._has_chaos else ()
        return self._process(f"pipeline-{self._number}", *options, *PIPELINE)

    def start_governors(self) -> Process:
        """Starts the process of the chaos agents."""
        return self._process("governors", *GOVERNORS)

    async def flows(self) -> None:
        """Returns when all that has been sent by now, and some more, has been decided on."""
        await self.ledger.caught_up(30, PATIENCE)

    async def done(self, chaos_type: str) -> float:
        """How many turns chaos of a type was done to in the pipeline's process."""
        return await self._metric("acgs_chaos_injections_total", type=chaos_type)

    async def lanes(self) -> dict[tuple[str, int], LaneStatus]:
        """How each lane stands, as it last said."""
        records = await read_topic(self.settings, self.naming.topic(topics.LANES))
        told = [decode_status(one.value) for one in records if one.value and (one.key or b"").startswith(b"lane/")]
        return {(status.agent, status.lane): status for status in told}

    async def is_failing(self) -> bool:
        return any(status.state is State.RENEWING for status in (await self.lanes()).values())

    async def is_accounted_for(self) -> None:
        """Stops the load, and proves that every input ended once and that the trail accounts for all of it."""
        await self._end_load()
        await self.ledger.ended_everything(PATIENCE)
        self.pipeline.ask_to_stop()
        assert await asyncio.to_thread(self.pipeline.wait) == 0, self.pipeline.last_words()
        read = await read_topics(self.settings, {self.naming.topic(topic.name) for topic in topics.catalogue()})
        inputs = [
            f"{one.topic}/{one.partition}/{one.offset}"
            for records in read[self.naming.topic(topics.IN_MESSAGES)].values()
            for one in records
        ]
        assert sorted(self.ledger.ended) == sorted(inputs)
        assert set(self.ledger.ended.values()) == {1}
        passed = [one for records in read[self.naming.topic(topics.MESSAGES)].values() for one in records]
        inside = {dict(reversed(one.headers))[envelope.SOURCE]: one.partition for one in passed}  # type: ignore[call-overload]
        audit = self.naming.topic(topics.AUDIT)
        for lane in range(PARTITIONS):
            own = [self.naming.topic(topics.MESSAGES), self.naming.topic(topics.REJECTED)]
            verify_lane(read, audit, topics.GATEWAY_MESSAGES, lane, outputs=own)
            outputs = [self.naming.topic(topics.DELIVERIES), self.naming.topic(topics.DELIBERATION)]
            of_lane = {source for source, partition in inside.items() if partition == lane}
            verify_lane(
                read,
                audit,
                topics.TRIAGE,
                lane,
                outputs=outputs,
                lane_of=lambda one, of_lane=of_lane, lane=lane: (  # type: ignore[misc]
                    lane if dict(reversed(one.headers))[envelope.SOURCE] in of_lane else -1  # type: ignore[call-overload]
                ),
            )

    # How it is made

    @property
    def _topics(self) -> dict[str, Any]:
        ends = [self.naming.topic(name) for name in (topics.DELIVERIES, topics.DELIBERATION, topics.REJECTED)]
        ends += [self.naming.own(agent).dead_letters for agent in PIPELINE]
        empty = self.naming.topic(topics.SYSTEM_HEALTH)
        return {"inputs": [self.naming.topic(topics.IN_MESSAGES)], "ends": ends, "counts": empty}

    def _process(self, name: str, *options: str) -> Process:
        environment = of_a_worker(self.settings.bootstrap_servers, self.settings.prefix, name)
        arguments = ["-m", "streams.worker_process", "--with-parent", *options]
        return Process(arguments, environment, self._folder / f"{name}.log")

    async def _load(self) -> None:
        """Writes messages at a steady pace: some are held, some refused."""
        public = self.naming.topic(topics.IN_MESSAGES)
        async with producer(self.settings, enable_idempotence=True) as made:
            while True:
                for _ in range(_RATE):
                    number = self._sent
                    self._sent += 1
                    tool = UNKNOWN_TOOL if number % 10 == 5 else SAFE_TOOL
                    value = b"no JSON" if number % 17 == 3 else encoded(number, tool=tool, from_agent=f"a{number % 7}")
                    await made.send(public, value, b"", number % PARTITIONS)
                await asyncio.sleep(_PACE_S)

    async def _end_load(self) -> None:
        """On return all that was sent is in the log."""
        self._loading.cancel()
        await asyncio.wait([self._loading])

    async def _metric(self, name: str, **labels: str) -> float:
        found = _PORT.search(self.pipeline.log.read_text(errors="replace"))
        if found is None:
            return 0
        text = await asyncio.to_thread(_get, f"http://127.0.0.1:{found[1]}/metrics")
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())

    def _account(self) -> str:
        return f"{self.ledger.account()}\n{self.pipeline.last_words()}"


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # loopback
        text: str = answer.read().decode()
        return text
