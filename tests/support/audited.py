"""The audit of an installation on a broker: what `acgs audit verify` does, with agents beside the product's."""

from collections.abc import Collection
from typing import Any

from prometheus_client import CollectorRegistry

from schemas import topics
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.audit.findings import Open
from streams.audit.kafka_log import KafkaLog, installed, moment
from streams.audit.verdict import Verdict
from streams.audit.verifying import verify
from streams.engine.agent import Agent
from streams.engine.client import EngineSettings
from streams.metrics import Measures


async def audit_of(settings: EngineSettings, *others: Agent[Any, Any]) -> Verdict:
    """The verdict on every lane of every agent."""
    facts = await installed(settings)
    every = [*build_agents((), Naming(settings.prefix), Measures(CollectorRegistry())), *others]
    lanes = range(facts.partitions[facts.naming.topic(topics.CONTROL)])
    async with KafkaLog(settings, await moment(settings, facts)) as log:
        return await verify(log, facts, every, lanes=lanes)


async def assert_audited(
    settings: EngineSettings, *others: Agent[Any, Any], may_say: Collection[Open] = frozenset()
) -> None:
    """Every turn of every lane comes out as recorded, and nothing is on the topics besides."""
    verdict = await audit_of(settings, *others)
    assert set(verdict.findings.first) <= set(may_say), verdict.findings.first
    assert verdict.verified == verdict.turns > 0
