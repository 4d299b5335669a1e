"""An audit of lanes in one log, one after the other."""

from collections.abc import Callable, Sequence
from typing import Any

from schemas import topics
from streams.audit.accounting import unaccounted
from streams.audit.anchoring import Checkpoints, anchor
from streams.audit.erased import NOTHING, Erased
from streams.audit.facts import InstalledTopics
from streams.audit.findings import Finding, Open
from streams.audit.lane import LaneAudit
from streams.audit.log import Log
from streams.audit.releases import Pythons
from streams.audit.report import LaneReport, Window
from streams.audit.strangers import strangers
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
    return await conclude(log, facts, reports, checkpoints, accounts=accounts, window=window, erased=erased)


async def conclude(
    log: Log,
    facts: InstalledTopics,
    reports: Sequence[LaneReport],
    checkpoints: Checkpoints | None = None,
    *,
    accounts: bool,
    window: Window = EVERYTHING,
    erased: Erased = NOTHING,
) -> Verdict:
    """The verdict on lanes, held to checkpoints if there are any.

    With `accounts`, and unless the window leaves something out, records that no lane wrote are looked for.
    """
    verdict = together(reports)
    if checkpoints is not None:
        to_the_end = window.until_ms is None
        verdict.anchor = await anchor(log, facts, reports, checkpoints, to_the_end=to_the_end)
        verdict.findings.put_before(verdict.anchor.findings)
    if not verdict.verified and not verdict.findings.first:
        words = "no lane has taken a turn, or none at the times that were asked for"
        verdict.findings.add(Finding(Open.NO_TURN, facts.naming.topic(topics.AUDIT), 0, None, words))
    if not (accounts and window.is_everything):
        return verdict
    async for finding in strangers(log, facts, reports):
        verdict.findings.add(finding)
    verdict.accounted = 0
    every = sorted({*facts.lanes_alone, *facts.boxes})
    places = [(topic, p) for topic in every for p in range(facts.partitions[topic])]
    async for told in unaccounted(log, facts, places, reports, erased):
        if isinstance(told, Finding):
            verdict.findings.add(told)
        else:
            verdict.accounted += told
    return verdict
