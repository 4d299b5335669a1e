"""What a whole audit comes to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.audit.findings import Finding, Findings
from streams.audit.lane import LaneReport

CONSISTENT, DIFFERENT, UNVERIFIABLE = 0, 1, 3


@dataclass(slots=True)
class Verdict:
    """The sum of all lanes. `accounted` are records on the lanes' output topics that a turn was found for or not."""

    lanes: list[LaneReport] = field(default_factory=list[LaneReport])
    findings: Findings = field(default_factory=Findings)
    accounted: int | None = None

    @property
    def turns(self) -> int:
        """Audit records read."""
        return sum(lane.turns for lane in self.lanes)

    @property
    def verified(self) -> int:
        """Turns of which everything was compared and is the same."""
        return sum(lane.verified for lane in self.lanes)

    @property
    def decisions(self) -> int:
        """Input records of turns that came out as recorded."""
        return sum(lane.decisions for lane in self.lanes)

    @property
    def exit_code(self) -> int:
        """0 consistent, 1 a difference, 3 no difference and something that could not be verified."""
        if self.findings.differences():
            return DIFFERENT
        return UNVERIFIABLE if self.findings.unverified() else CONSISTENT

    @property
    def words(self) -> str:
        """The verdict in a sentence."""
        match self.exit_code:
            case 1:
                kinds = len(self.findings.differences())
                return f"NOT CONSISTENT: {kinds} {'kind' if kinds == 1 else 'kinds'} of difference"
            case 3:
                return "consistent as far as it could be verified, not anchored: nobody outside has signed it"
            case _:
                return "consistent, not anchored: nobody outside has signed it"

    def document(self) -> dict[str, object]:
        """For machines."""
        return {
            "verdict": {0: "consistent", 1: "different", 3: "unverifiable"}[self.exit_code],
            "anchored": False,
            "says": self.words,
            "lanes": len(self.lanes),
            "turns": self.turns,
            "turns_verified": self.verified,
            "decisions_verified": self.decisions,
            "records_accounted_for": self.accounted,
            "differences": self._documents(self.findings.differences()),
            "not_verified": self._documents(self.findings.unverified()),
            "heads": [
                {"agent": lane.agent, "lane": lane.lane, "turn": lane.last_seq, "sha256": lane.head}
                for lane in self.lanes
                if lane.head
            ],
        }

    def _documents(self, found: Sequence[Finding]) -> list[dict[str, object]]:
        return [{**finding.document(), "count": self.findings.count[finding.kind]} for finding in found]


def together(lanes: Sequence[LaneReport]) -> Verdict:
    """The verdict on lanes, without what only all of them together tell."""
    verdict = Verdict(list(lanes))
    for lane in lanes:
        verdict.findings.take(lane.findings)
    return verdict
