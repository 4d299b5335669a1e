"""The agent suite on lanes of a real broker, and what the trail says of them."""

import contextlib
from collections.abc import Sequence
from typing import Self
from zlib import crc32

import pytest

from streams.engine.client import EngineSettings
from streams.engine.driver import LaneDriver
from streams.engine.records import Record
from streams.engine.restore import restore
from streams.engine.status import State
from streams.engine.turn import Bounds
from tests.contract.agent_suite import AgentSuite, Harness, Sent
from tests.support.broker import Broker, engine_settings
from tests.support.eventually import eventually
from tests.support.kafka import MIB, header, install, read_topic, read_topics, write
from tests.support.trail import verify_lane
from tests.support.windowed_counter import HUGE, NAME, POISON, Names, Rules, Window, rules, windowed_counter
from tests.support.workers import RunningWorker, running

PARTITIONS = 2


class BrokerHarness(Harness):
    """A worker with the agent's lanes, and records written as producers do."""

    def __init__(self, settings: EngineSettings) -> None:
        self.names, self.settings = Names(settings.prefix), settings
        self.agent = windowed_counter(settings.prefix)
        self.worker: RunningWorker
        self._sent_up_to: dict[tuple[str, int], int] = {}
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        await install(self.settings, self.agent, PARTITIONS)
        self.worker = await self._open.enter_async_context(running([self.agent], self.settings))
        return self

    async def __aexit__(self, *about: object) -> None:
        await self._open.aclose()

    async def control(self, document: bytes) -> None:
        await self._write([(self.names.rules, p, b"rules", document, ()) for p in range(PARTITIONS)])
        await self.settle()

    async def send(self, *records: Sent) -> None:
        await self._write([(self.names.inbox, crc32(r.key) % PARTITIONS, *r) for r in records])

    async def settle(self) -> None:
        await eventually(
            lambda: all(self.worker.position(NAME, p, t) >= end for (t, p), end in self._sent_up_to.items()),
            account=self.worker.lanes,
        )

    async def wait_for_windows(self) -> None:
        await self.settle()
        await eventually(lambda: not any(lane.rows for lane in self.worker.lanes()), account=self.worker.lanes)

    async def records(self, topic: str) -> list[Record]:
        found = await read_topic(self.settings, topic)
        if topic in {self.names.rules, self.names.own.dead_letters}:
            return _once_by_value(found)
        return found

    async def rows(self) -> dict[str, Window]:
        stored = [await restore(self.agent, p, self.settings, lambda: None) for p in range(PARTITIONS)]
        return {key: one.row for lane in stored for key, one in lane.state.rows.items()}

    async def _write(self, records: Sequence[tuple[str, int, bytes, bytes | None, object]]) -> None:
        placed = await write(self.settings, records)  # type: ignore[arg-type]  # Sent is what Written is, named
        for (topic, *_), (partition, offset) in zip(records, placed, strict=True):
            self._sent_up_to[topic, partition] = offset + 1


def _once_by_value(records: list[Record]) -> list[Record]:
    """Letters of control documents come once a lane: those of lane 0 stand for all."""
    about_control = [header(r, "lane-source") for r in records]
    return [
        record
        for record, source in zip(records, about_control, strict=True)
        if source is None or b"rules/" not in source or source.rsplit(b"/", 2)[1] == b"0"
    ]


class TestAgentOnABroker(AgentSuite):
    @pytest.fixture
    def harness(self, broker: Broker, prefix: str) -> Harness:
        return BrokerHarness(engine_settings(broker, prefix))

    async def test_nothing_is_decided_before_the_control_document(self, harness: BrokerHarness) -> None:
        await harness.send(*[Sent(f"k{n}".encode(), b"1") for n in range(10)])
        await harness.worker.until(State.WAITING, PARTITIONS)
        assert not harness.worker.worker.readiness().ok
        assert await harness.records(harness.names.echoes) == []
        await harness.control(rules(1))
        await harness.settle()
        assert len(await harness.records(harness.names.echoes)) == 10
        assert harness.worker.worker.readiness().ok

    async def test_the_trail_accounts_for_every_input_and_output(self, harness: BrokerHarness) -> None:
        await self._busy(harness)
        topics = await _all_topics(harness)
        for lane in range(PARTITIONS):
            read = verify_lane(
                topics,
                harness.names.own.audit,
                NAME,
                lane,
                outputs=[harness.names.echoes, harness.names.counts, harness.names.own.dead_letters],
                inbox_timers=harness.names.inbox,
            )
            known = await restore(harness.agent, lane, harness.settings, lambda: None)
            assert known.state.position is not None
            assert known.state.position.seq == len(read)
            assert {turn.epoch for turn in read} == {1}
            assert len({turn.entropy for turn in read}) == len(read)

    async def test_a_driver_given_the_trail_writes_what_the_lane_wrote(self, harness: BrokerHarness) -> None:
        """What an auditor does: the same records, in the order and with the draws of the trail, give the same bytes."""
        await self._busy(harness)
        topics = await _all_topics(harness)
        for lane in range(PARTITIONS):
            read = verify_lane(topics, harness.names.own.audit, NAME, lane, inbox_timers=harness.names.inbox)
            draws = {turn.seq: bytes.fromhex(turn.entropy) for turn in read}
            names = {*harness.agent.inputs, *harness.agent.written}
            bounds = Bounds(dict.fromkeys(names, PARTITIONS), dict.fromkeys(names, 4 * MIB))
            driver: LaneDriver[Window, Rules] = LaneDriver(
                harness.agent, partition=lane, bounds=bounds, draw=draws.__getitem__
            )
            written: dict[str, list[object]] = {harness.names.echoes: [], harness.names.counts: []}
            for turn in read:
                inputs = [
                    record
                    for part in turn.inputs
                    for record in topics[part.topic][lane]
                    if part.from_ <= record.offset < part.to
                ]
                derived = driver.handle(inputs)
                for topic, told in written.items():
                    told += [(out[0], out[1], tuple(out[2])) for out in derived.batches.get((topic, lane), ())]
            for topic, told in written.items():
                assert told == [(r.key, r.value, tuple(r.headers)) for r in topics[topic][lane]]
            assert driver.state.rows == {}

    async def _busy(self, harness: BrokerHarness) -> None:
        await harness.control(rules(1))
        for round_ in range(3):
            values = [POISON if n % 11 == 0 else HUGE if n == 50 else f"{round_}-{n}".encode() for n in range(100)]
            await harness.send(*[Sent(f"k{n % 13}".encode(), value) for n, value in enumerate(values)])
            await harness.wait_for_windows()


async def _all_topics(harness: BrokerHarness) -> dict[str, dict[int, list[Record]]]:
    agent = harness.agent
    return await read_topics(harness.settings, {*agent.inputs, *agent.written})
