"""What `make run` ends with: everything verified, and one byte of a copy found."""

from schemas import topics
from streams.audit.log import MemoryLog
from streams.demonstrations.audit import everything, result_line, tampered
from tests.support.product import SAFE_TOOL, UNKNOWN_TOOL, encoded, policy
from tests.support.recorded import NAMING, PARTITIONS, Recorder, installed


def some_lanes(*tools: str) -> Recorder:
    lanes = Recorder(topics.GATEWAY_MESSAGES, topics.TRIAGE)
    lanes.publish(policy())
    lanes.send(topics.IN_MESSAGES, *[encoded(number, tool=tool) for number, tool in enumerate(tools)])
    lanes.run()
    return lanes


async def test_a_byte_that_is_changed_in_a_copy_is_found_and_the_log_stays_as_it_was() -> None:
    lanes = some_lanes(SAFE_TOOL, UNKNOWN_TOOL, SAFE_TOOL, SAFE_TOOL)
    log = MemoryLog(lanes.topics, {})
    found = await tampered(log, installed(), range(PARTITIONS))
    assert found is not None
    assert found.kind == "output-changed"
    assert 'from_agent is "qlanner", was written as "planner"' in found.says
    assert found.where.startswith(NAMING.topic(topics.DELIVERIES))
    assert (found.before[-10:], found.after[-10:]) == ('planner","', 'qlanner","')
    verdict = await everything(log, installed(), range(PARTITIONS))
    assert verdict.exit_code == 0
    assert result_line(verdict, found) == (
        f"RESULT audit {verdict.decisions} decisions verified, none differs; a byte changed in a copy: output-changed"
    )


async def test_where_nothing_was_delivered_nothing_is_changed() -> None:
    lanes = some_lanes(UNKNOWN_TOOL)
    assert await tampered(MemoryLog(lanes.topics, {}), installed(), range(PARTITIONS)) is None
