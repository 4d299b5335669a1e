"""Audit records that are no audited lane's: whoever verifies lanes alone does not see them."""

from collections.abc import AsyncIterator, Sequence

from pydantic import ValidationError

from schemas import topics
from schemas.audit import AuditRecord
from streams.audit.facts import InstalledTopics
from streams.audit.findings import Finding, Kind, Open, position
from streams.audit.log import Log, Place
from streams.audit.report import LaneReport
from streams.engine.records import Record
from streams.engine.trail import trail_key


async def strangers(log: Log, facts: InstalledTopics, lanes: Sequence[LaneReport]) -> AsyncIterator[Finding]:
    """A finding for each audit record under a key that is none of the lanes'. With all lanes there are none.

    What the lanes have counted on their way tells whether there are any: only then is a partition read again.
    """
    topic = facts.naming.topic(topics.AUDIT)
    known = {trail_key(lane.agent, lane.lane) for lane in lanes}
    agents = {lane.agent for lane in lanes}
    for partition in range(facts.partitions[topic]):
        mine = [lane for lane in lanes if lane.lane % facts.partitions[topic] == partition]
        if mine and max(lane.trail for lane in mine) <= sum(lane.turns for lane in mine):
            continue
        async for record in _of(log, (topic, partition)):
            if record.key not in known:
                yield _finding(record, agents)


def _finding(record: Record, agents: set[str]) -> Finding:
    at = position((record.topic, record.partition), record.offset)
    try:
        turn = AuditRecord.model_validate_json(record.value or b"")
    except ValidationError:
        words = "this is no audit record, and stands under the key of no lane"
        return Finding(Kind.CHAIN_BROKEN, record.topic, record.partition, None, words, at)
    if record.key != trail_key(turn.agent, turn.lane):
        words = "it stands under the key of no lane"
    elif turn.agent in agents:
        words = f"there is no lane {turn.lane} of {turn.agent}"
    else:
        words = f"this release has no agent {turn.agent}: what it has decided was not looked at"
        return Finding(Open.OTHER_RELEASE, turn.agent, turn.lane, turn.seq, words, at)
    return Finding(Kind.CHAIN_BROKEN, turn.agent, turn.lane, turn.seq, words, at)


async def _of(log: Log, place: Place) -> AsyncIterator[Record]:
    async for records in log.read(place, log.begin(place)):
        for record in records:
            yield record
