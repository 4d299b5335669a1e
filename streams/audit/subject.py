"""The lane that is audited, and where what is found about it goes."""

from dataclasses import dataclass, field
from typing import Any

from streams.audit.entries import Entry
from streams.audit.erased import Erased, without
from streams.audit.facts import TopicFacts
from streams.audit.findings import position
from streams.audit.log import Log, Place
from streams.audit.report import LaneReport, Window
from streams.engine.agent import Agent
from streams.engine.rerun import Rerun
from streams.engine.trail import trail_key
from streams.engine.turn import Turn


@dataclass(slots=True)
class Subject:
    """One lane under audit: its rules, the log, and `rerun`, the lane as it was taken again so far.

    `knows_head`, `knows_state` and `knows_control` say what of `rerun` is derived; what is not is taken from what the
    trail or the log says. `tainted_since` is the first turn whose decisions differ.
    """

    agent: Agent[Any, Any]
    lane: int
    log: Log
    facts: TopicFacts
    window: Window
    report: LaneReport
    rerun: Rerun[Any, Any]
    audit: Place
    erased: Erased
    knows_head: bool = True
    knows_state: bool = True
    knows_control: bool = True
    tainted_since: int | None = field(default=None)

    @property
    def key(self) -> bytes:
        """The key of the lane's audit records."""
        return trail_key(self.agent.name, self.lane)

    def accounts_for(self, topic: str) -> bool:
        """Whether each record there must be some turn's."""
        return self.facts.is_lanes_alone(topic) and self.window.is_everything

    def at(self, entry: Entry) -> str:
        """Where an audit record stands."""
        return position(self.audit, entry.offset)

    def trail_of(self, derived: Turn[Any, Any]) -> bytes:
        """The audit record that a turn writes."""
        return derived.batches[self.audit][0][1] or b""

    def forget_state(self) -> None:
        """The rows that the next turn decides on are not known."""
        if self.agent.rows is not None:
            self.knows_state = False

    def lose_the_thread(self) -> None:
        """After audit records that are missing or not to be trusted, what the lane knew is not known."""
        self.knows_head = self.knows_control = False
        self.report.has_lost_turns = True
        self.forget_state()


def subject(
    agent: Agent[Any, Any], lane: int, log: Log, facts: TopicFacts, *, window: Window, erased: Erased
) -> Subject:
    """A lane of which nothing has been audited."""
    audit = agent.topics.audit
    place = audit, lane % facts.bounds([audit]).partitions[audit]
    report, rerun = LaneReport(agent.name, lane), Rerun(agent, lane)
    may_be_erased = erased.but_for(audit, agent.topics.changelog)
    return Subject(agent, lane, without(log, may_be_erased), facts, window, report, rerun, place, may_be_erased)
