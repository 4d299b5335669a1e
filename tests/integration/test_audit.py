"""The audit of real traffic on a real broker: it passes, and finds what was changed in a copy of the log."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from schemas import topics
from schemas.decision import Vote
from schemas.recovery import RecoveryState
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.audit.findings import Kind
from streams.audit.kafka_log import installed, moment
from streams.audit.log import MemoryLog
from streams.audit.running import Selection, UnknownLaneError, run
from streams.audit.verdict import Verdict
from streams.audit.verifying import verify
from streams.control import publish as publish_policy
from streams.engine.client import EngineSettings
from streams.metrics import Measures
from streams.settings import Settings
from tests.integration.test_cli import Acgs
from tests.support.deliberated import registry
from tests.support.deliberating import client_of, deliberating, publish
from tests.support.kafka import delete_records, read_topics
from tests.support.product import UNKNOWN_TOOL, encoded
from tests.support.recorded import copy_of
from tests.support.recovered import PROBE, rule
from tests.support.recovering import breakers, recovering, until
from tests.support.trail import record_hash

TWO = 2
Auditing = Callable[[EngineSettings], Awaitable[Verdict]]


def product(settings: EngineSettings) -> Settings:
    return Settings(kafka_bootstrap_servers=settings.bootstrap_servers, prefix=settings.prefix)


async def audited(settings: EngineSettings, selection: Selection | None = None, workers: int = 1) -> Verdict:
    return await asyncio.to_thread(run, product(settings), selection or Selection(), workers)


async def some_traffic(settings: EngineSettings, while_it_runs: Auditing | None = None) -> None:
    """Messages that are delivered, refused, held, released and vetoed, and a change of the policy."""
    async with deliberating(settings), client_of(settings, "lee") as lee, client_of(settings, "sam") as sam:
        await publish(
            settings, *[encoded(n) for n in range(30)], b"{", *[encoded(n, tool=UNKNOWN_TOOL) for n in (1, 2)]
        )
        waiting = []
        async with asyncio.timeout(60):
            async for one in lee.pending():
                waiting.append(one)
                if len(waiting) == TWO:
                    break
        await lee.decide(waiting[0].item, Vote.APPROVE)
        await sam.decide(waiting[0].item, Vote.APPROVE)
        await sam.decide(waiting[1].item, Vote.VETO, "no")
        await publish_policy(settings, registry(2))
        await publish(settings, *[encoded(n) for n in range(40, 50)])
        if while_it_runs is not None:
            assert (await while_it_runs(settings)).findings.first == {}


async def test_messages_votes_and_a_policy_are_verified_while_the_lanes_run_and_afterwards(
    settings: EngineSettings,
) -> None:
    await some_traffic(settings, while_it_runs=audited)
    verdict = await audited(settings)
    assert verdict.findings.first == {}
    assert verdict.exit_code == 0
    assert verdict.verified == verdict.turns > 0
    assert {lane.agent for lane in verdict.lanes if lane.turns} >= {topics.TRIAGE, topics.DELIBERATOR}
    several = await audited(settings, workers=2)
    assert several.document() == verdict.document()
    only = await audited(settings, Selection(agents=(topics.TRIAGE,), lanes=(0,)))
    assert (len(only.lanes), only.accounted, only.exit_code) == (1, None, 0)
    with pytest.raises(UnknownLaneError, match="there is no lane 7: there are 2, from 0 to 1"):
        await audited(settings, Selection(lanes=(0, 7)))


async def test_workflows_recoveries_and_their_timers_are_verified(settings: EngineSettings) -> None:
    soon = rule(initial_delay="PT0.2S", start_within="PT0.5S", timeout="PT0.5S")
    async with recovering(settings, lambda command: command.activity == PROBE, recoveries={"*": soon}):
        await breakers(settings, ("payments", "open"), ("orders", "open"))
        await until(settings, RecoveryState.SUCCEEDED)
        await until(settings, RecoveryState.SUCCEEDED, "orders")
    verdict = await audited(settings)
    assert verdict.findings.first == {}
    assert verdict.verified == verdict.turns
    assert {lane.agent for lane in verdict.lanes if lane.turns} >= {topics.ORCHESTRATOR, topics.RECOVERER}


async def test_a_byte_changed_in_a_copy_of_the_log_is_found(settings: EngineSettings) -> None:
    await some_traffic(settings)
    facts = await installed(settings)
    now = await moment(settings, facts)
    read = await read_topics(settings, facts.partitions)
    control = f"{settings.prefix}{topics.CONTROL}"
    made = build_agents((), Naming(settings.prefix), Measures(CollectorRegistry()))

    async def verdict_on(log: Any) -> Verdict:  # noqa: ANN401
        return await verify(MemoryLog(log, now.begins), facts, made, lanes=range(facts.partitions[control]))

    assert (await verdict_on(copy_of(read))).exit_code == 0
    for topic, kind in ((topics.DELIVERIES, Kind.OUTPUT_CHANGED), (topics.IN_MESSAGES, Kind.INPUT_CHANGED)):
        changed = copy_of(read)
        by_partition = changed[f"{settings.prefix}{topic}"]
        log = next(log for log in by_partition.values() if log)
        value = (log[0].value or b"").replace(b'"planner"', b'"plannes"')
        log[0] = log[0]._replace(value=value)
        verdict = await verdict_on(changed)
        assert set(verdict.findings.first) == {kind}


async def test_the_commands_say_what_is_verified_what_erased_records_and_what_retention_have_left(
    settings: EngineSettings, tmp_path: Path
) -> None:
    await some_traffic(settings)
    acgs, topic = Acgs(settings), f"{settings.prefix}{topics.IN_MESSAGES}"
    said = await acgs("audit", "verify")
    assert said.code == 0, said.out
    assert "consistent, not anchored: nobody outside has signed it." in said.out
    await erased_records_leave_hashes(settings, acgs, topic, tmp_path)
    await delete_records(settings, topic, {0: 10})
    said = await acgs("audit", "verify", "--json")
    assert said.code == 3
    document = json.loads(said.out)
    assert document["verdict"] == "unverifiable"
    assert [one["kind"] for one in document["not_verified"]] == ["inputs-deleted"]
    assert document["differences"] == []


async def erased_records_leave_hashes(settings: EngineSettings, acgs: Acgs, topic: str, tmp_path: Path) -> None:
    record = next(one for one in (await read_topics(settings, [topic]))[topic][0] if one.offset == 0)
    said = await acgs("audit", "hashes", f"{topic}/0/0")
    assert said.code == 0, said.out
    left = json.loads(said.out)
    assert left["input_hash"] == record_hash(record, with_offset=True).hex()
    assert left["output_hash"] == record_hash(record, with_offset=False).hex()
    (tmp_path / "erased.jsonl").write_text(said.out)
    verified = await acgs("audit", "verify", "--json", "--erased", str(tmp_path / "erased.jsonl"))
    assert verified.code == 3
    assert [one["kind"] for one in json.loads(verified.out)["not_verified"]] == ["erased"]
    for place, says, code in (
        (f"{topic}/0/999999", "there is no record at", 1),
        (f"{topic}/99/0", "there is no record at", 1),
        (f"{topic}/0", "is no place of a record: TOPIC/PARTITION/OFFSET", 2),
        ("nowhere/0/0", "nowhere", 1),
        (f"{settings.prefix}audit/0/0", "of a trail or a changelog nothing can be erased", 1),
        (f"{settings.prefix}triage.changelog/0/0", "of a trail or a changelog nothing can be erased", 1),
    ):
        refused = await acgs("audit", "hashes", place)
        assert (refused.code, says in refused.err) == (code, True)
    no_lane = await acgs("audit", "verify", "--lane", "7")
    assert (no_lane.code, "there is no lane 7: there are 2, from 0 to 1" in no_lane.err) == (2, True)
