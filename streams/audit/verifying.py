"""An audit of lanes in one log, one after the other."""

from collections.abc import Callable, Sequence
from typing import Any

from streams.audit.accounting import unaccounted
from streams.audit.anchoring import Checkpoints, anchor
from streams.audit.erased import NOTHING, Erased, without
from streams.audit.facts import InstalledTopics
from streams.audit.findings import Finding
from streams.audit.lane import LaneAudit
from streams.audit.log import Log
from streams.audit.releases import Pythons
from streams.audit.report import LaneReport, Window
from streams.audit.verdict import Verdict, together
from streams.engine.agent import Agent

EVERYTHING = Window()


async def verify(
    log: Log,
    facts: InstalledTopics,
    agents: Sequence[Agent[Any, Any]],
    *,
    lanes: Sequence[int],
    window: Window = EVERYTHING,
    erased: Erased = NOTHING,
    pythons: Pythons | None = None,
    on_turns: Callable[[int], None] = lambda _: None,
    checkpoints: Checkpoints | None = None,
    accounts: bool = True,
) -> Verdict:
    """Verifies the lanes of agents. With `accounts` they must be all the lanes there are."""
    reports = [
        await LaneAudit(
            agent, lane, log, facts, window=window, erased=erased, pythons=pythons or {}, on_turns=on_turns
        ).run()
        for agent in agents
        for lane in lanes
    ]
    left = without(log, erased)
    return await conclude(left, facts, reports, checkpoints, accounts=accounts and window.is_everything)


async def conclude(
    log: Log,
    facts: InstalledTopics,
    reports: Sequence[LaneReport],
    checkpoints: Checkpoints | None = None,
    *,
    accounts: bool,
) -> Verdict:
    """The verdict on lanes, held to checkpoints if there are any.

    With `accounts`, records that no lane wrote are looked for.
    """
    verdict = together(reports)
    if checkpoints is not None:
        verdict.anchor = await anchor(log, facts, reports, checkpoints)
        verdict.findings.put_before(verdict.anchor.findings)
    if not accounts:
        return verdict
    verdict.accounted = 0
    places = [(topic, p) for topic in sorted(facts.lanes_alone) for p in range(facts.partitions[topic])]
    async for told in unaccounted(log, facts, places, reports):
        if isinstance(told, Finding):
            verdict.findings.add(told)
        else:
            verdict.accounted += told
    return verdict
