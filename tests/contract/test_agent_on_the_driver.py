"""The agent suite on a LaneDriver."""

from collections import defaultdict

import pytest

from streams.engine.driver import LaneDriver
from streams.engine.records import InputRecord, Record
from streams.engine.turn import TIMER, Turn
from tests.contract.agent_suite import AgentSuite, Harness, Sent
from tests.support.windowed_counter import WINDOW_MS, Names, Rules, Window, rules, windowed_counter

START_MS = 1_800_000_000_000


class DriverHarness(Harness):
    """Keeps what the turns write as a broker would."""

    def __init__(self, prefix: str) -> None:
        self.names = Names(prefix)
        self.driver: LaneDriver[Window, Rules] = LaneDriver(windowed_counter(prefix))
        self._log: dict[str, list[Record]] = defaultdict(list)
        self._now_ms = START_MS

    async def control(self, document: bytes) -> None:
        self._send(self.names.rules, Sent(b"rules", document))

    async def send(self, *records: Sent) -> None:
        for record in records:
            self._now_ms += 7
            self._send(self.names.inbox, record)

    async def settle(self) -> None:
        return

    async def wait_for_windows(self) -> None:
        self._now_ms += 2 * WINDOW_MS
        self._advance()

    async def records(self, topic: str) -> list[Record]:
        return self._log[topic]

    async def rows(self) -> dict[str, Window]:
        return {key: stored.row for key, stored in self.driver.state.rows.items()}

    def _send(self, topic: str, sent: Sent) -> None:
        self._advance()
        record = InputRecord(topic, 0, len(self._log[topic]), self._now_ms, sent.key, sent.value, sent.headers)
        self._log[topic].append(record)
        self._write(self.driver.handle([record]))

    def _advance(self) -> None:
        for turn in self.driver.advance(self._now_ms):
            self._write(turn)

    def _write(self, turn: Turn[Window, Rules]) -> None:
        for (topic, partition), outputs in turn.batches.items():
            log = self._log[topic]
            for key, value, headers, *_ in outputs:
                log.append(InputRecord(topic, partition, len(log), self._now_ms, key, value, headers))


class TestAgentOnTheDriver(AgentSuite):
    @pytest.fixture
    def harness(self, prefix: str) -> Harness:
        return DriverHarness(prefix)

    async def test_an_inbox_record_before_the_control_document_is_refused(self, harness: DriverHarness) -> None:
        with pytest.raises(ValueError, match="control document"):
            await harness.send(Sent(b"a", b"1"))

    async def test_a_record_that_was_handled_before_is_refused(self, harness: DriverHarness) -> None:
        await harness.control(rules(1))
        with pytest.raises(ValueError, match="handled before"):
            harness.driver.handle([InputRecord(harness.names.rules, 0, 0, START_MS, None, rules(2))])

    async def test_timers_stand_in_the_inbox_as_records(self, harness: DriverHarness) -> None:
        await harness.control(rules(1))
        await harness.send(Sent(b"a", b"1"))
        await harness.wait_for_windows()
        inbox = await harness.records(harness.names.inbox)
        assert [record.headers for record in inbox] == [(), ((TIMER, b"1"),)]
