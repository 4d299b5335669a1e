"""What comes of one lane, and which of its turns were asked for."""

from dataclasses import dataclass, field

from schemas.audit import AuditRecord
from streams.audit.cells import Cells, Present
from streams.audit.findings import Finding, Findings, Kind, Open
from streams.audit.log import Place


@dataclass(frozen=True, slots=True)
class Window:
    """Turns whose audit records the broker wrote at or after `since_ms` and before `until_ms`."""

    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def is_everything(self) -> bool:
        """Whether no turn is left out."""
        return self.since_ms is None and self.until_ms is None

    def has(self, at_ms: int) -> bool:
        """Whether a turn of that time is to be verified."""
        return self.since_ms is None or at_ms >= self.since_ms


@dataclass(slots=True)
class LaneReport:
    """What came of one lane. `verified` are turns of which everything was compared and the same.

    `before` are turns that stand before the window: their chain was verified, and not all else. `claims` are the
    records found that its turns wrote, `unresolved` how many it wrote that were not looked for, `present` the records
    of all writers that were seen on the way, `trail` how many audit records, those of other lanes among them. `erased`
    are the offsets of erased records that its turns wrote.
    """

    agent: str
    lane: int
    turns: int = 0
    before: int = 0
    trail: int = 0
    verified: int = 0
    decisions: int = 0
    head: str | None = None
    last_seq: int = 0
    has_lost_turns: bool = False
    findings: Findings = field(default_factory=Findings)
    claims: dict[Place, Cells] = field(default_factory=dict[Place, Cells])
    present: dict[Place, Present] = field(default_factory=dict[Place, Present])
    unresolved: dict[Place, int] = field(default_factory=dict[Place, int])
    erased: dict[Place, set[int]] = field(default_factory=dict[Place, set[int]])

    def say(self, kind: Kind | Open, seq: int | None, words: str, at: str | None) -> None:
        """Notes what was found at a turn."""
        self.findings.add(Finding(kind, self.agent, self.lane, seq, words, at))

    def count_unresolved(self, turn: AuditRecord) -> None:
        """The turn's records are in the log without being claimed: they are not to be taken for added ones."""
        for part in turn.outputs:
            place = part.topic, part.partition
            self.unresolved[place] = self.unresolved.get(place, 0) + part.count
