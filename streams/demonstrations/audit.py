"""The demonstration of the audit: every decision once more, and then one byte changed in a copy of the log."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry

from schemas import envelope, topics
from streams.agents.building import build_agents
from streams.audit.facts import InstalledTopics
from streams.audit.findings import MEANING
from streams.audit.kafka_log import KafkaLog, installed, moment
from streams.audit.log import Log, MemoryLog
from streams.audit.verdict import Verdict
from streams.audit.verifying import conclude, verify
from streams.engine.agent import Agent
from streams.engine.client import EngineSettings
from streams.engine.records import InputRecord, Record
from streams.metrics import Measures

_FIELD = b'"from_agent":"'
_AROUND = 10
_AT_A_TIME = 6
"""Lanes that are read at once: of small ones most of the time is waiting for the broker."""

OnVerdict = Callable[[Verdict], None]
"""Is told what came of the audit of the log as it is."""


@dataclass(frozen=True, slots=True)
class Tampered:
    """One byte changed in a copy of the log: where, what stood and stands there, and what the audit says to it."""

    where: str
    before: str
    after: str
    kind: str
    says: str


async def run(settings: EngineSettings, on_verdict: OnVerdict) -> tuple[Verdict, Tampered | None]:
    """Verifies everything as it is now, then triage in a copy in which who sent a message is another by one byte.

    Nothing is changed where triage has delivered nothing.

    Raises:
        BrokerError: the broker cannot be reached or refuses.
    """
    facts = await installed(settings)
    lanes = range(facts.partitions[facts.naming.topic(topics.CONTROL)])
    async with KafkaLog(settings, await moment(settings, facts)) as log:
        verdict = await everything(log, facts, lanes)
        on_verdict(verdict)
        return verdict, await tampered(log, facts, lanes)


async def everything(log: Log, facts: InstalledTopics, lanes: Sequence[int]) -> Verdict:
    """The audit of every lane, some at once."""
    free = asyncio.Semaphore(_AT_A_TIME)

    async def one(agent: Agent[Any, Any], lane: int) -> Verdict:
        async with free:
            return await verify(log, facts, [agent], lanes=[lane], accounts=False)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(agent, lane)) for agent in _built(facts) for lane in lanes]
    return await conclude(log, facts, [report for task in tasks for report in task.result().lanes], accounts=True)


async def tampered(log: Log, facts: InstalledTopics, lanes: Sequence[int]) -> Tampered | None:
    """The audit of triage in a copy of the log with one byte changed; None where triage has delivered nothing."""
    (triage,) = _built(facts, topics.TRIAGE)
    every = dict.fromkeys((*triage.inputs, *triage.written))
    copy = {topic: await _copied(log, topic, facts.partitions[topic]) for topic in every}
    deliveries = copy[facts.naming.topic(topics.DELIVERIES)]
    delivered = [record for records in deliveries.values() for record in records if _is_of_triage(record)]
    if not delivered:
        return None
    before = delivered[-1]
    after = _changed(before)
    records = deliveries[before.partition]
    records[records.index(before)] = after
    begins = {(topic, partition): log.begin((topic, partition)) for topic in copy for partition in copy[topic]}
    verdict = await verify(MemoryLog(copy, begins), facts, [triage], lanes=lanes, accounts=False)
    found = verdict.findings.differences()
    kind = found[0].kind.value if found else "nothing"
    says = f"{MEANING[found[0].kind]}: {found[0].words}" if found else "the audit has not found it"
    where = f"{before.topic}/{before.partition}/{before.offset}"
    return Tampered(where, _around(before), _around(after), kind, says)


async def _copied(log: Log, topic: str, partitions: int) -> dict[int, list[Record]]:
    return {
        partition: [
            record
            async for records in log.read((topic, partition), log.begin((topic, partition)))
            for record in records
        ]
        for partition in range(partitions)
    }


def _is_of_triage(record: Record) -> bool:
    """Not one that was held: deliberation delivered that."""
    return _FIELD in (record.value or b"") and all(name != envelope.ITEM for name, _ in record.headers)


def _changed(record: Record) -> InputRecord:
    value = bytearray(record.value or b"")
    value[_place(record)] ^= 1
    return InputRecord(
        record.topic, record.partition, record.offset, record.timestamp, record.key, bytes(value), record.headers
    )


def _place(record: Record) -> int:
    """Where the name of who sent it begins."""
    return (record.value or b"").index(_FIELD) + len(_FIELD)


def _around(record: Record) -> str:
    at = _place(record)
    return (record.value or b"")[at - len(_FIELD) : at + _AROUND].decode("utf-8", "replace")


def _built(facts: InstalledTopics, *names: str) -> tuple[Agent[Any, Any], ...]:
    return build_agents(names, facts.naming, Measures(CollectorRegistry()))


def result_line(verdict: Verdict, tampered: Tampered | None) -> str:
    """The line for scripts."""
    ended = {0: "none differs", 1: "SOME DIFFER", 3: "some could not be verified"}[verdict.exit_code]
    changed = "" if tampered is None else f"; a byte changed in a copy: {tampered.kind}"
    return f"RESULT audit {verdict.decisions} decisions verified, {ended}{changed}"
