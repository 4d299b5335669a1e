"""What a whole audit comes to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.audit.anchoring import Anchor
from streams.audit.findings import Finding, Findings
from streams.audit.report import LaneReport

CONSISTENT, DIFFERENT, UNVERIFIABLE = 0, 1, 3


@dataclass(slots=True)
class Verdict:
    """The sum of all lanes. `accounted` are records on the lanes' output topics that a turn was found for or not.

    `anchor` is there where the trail was held to checkpoints.
    """

    lanes: list[LaneReport] = field(default_factory=list[LaneReport])
    findings: Findings = field(default_factory=Findings)
    accounted: int | None = None
    anchor: Anchor | None = None

    @property
    def turns(self) -> int:
        """Audit records read."""
        return sum(lane.turns for lane in self.lanes)

    @property
    def before(self) -> int:
        """Turns of them that stand before those that were asked for."""
        return sum(lane.before for lane in self.lanes)

    @property
    def verified(self) -> int:
        """Turns of which everything was compared and is the same."""
        return sum(lane.verified for lane in self.lanes)

    @property
    def decisions(self) -> int:
        """Input records of turns that came out as recorded."""
        return sum(lane.decisions for lane in self.lanes)

    @property
    def is_anchored(self) -> bool:
        """Whether the log keeps to a checkpoint, and nothing differs."""
        return self.anchor is not None and self.anchor.last is not None and not self.findings.differences()

    @property
    def anchored(self) -> int:
        """Of the decisions, at least how many stand in the last checkpoint: exactly, where all turns were verified."""
        if self.anchor is None or not self.is_anchored:
            return 0
        after = self.anchor.after
        return sum(
            max(0, lane.decisions - (after[lane.agent, lane.lane].records if (lane.agent, lane.lane) in after else 0))
            for lane in self.lanes
        )

    @property
    def turns_after(self) -> int:
        """Turns of these lanes that came after the last checkpoint."""
        if self.anchor is None:
            return 0
        mine = {(lane.agent, lane.lane) for lane in self.lanes}
        return sum(after.turns for lane, after in self.anchor.after.items() if lane in mine)

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
                return f"consistent as far as it could be verified, {self._anchored_words()}"
            case _:
                return f"consistent, {self._anchored_words()}"

    def _anchored_words(self) -> str:
        if self.anchor is None:
            return "not anchored: nobody outside has signed it"
        last = self.anchor.last
        if last is None:
            return "not anchored: no checkpoint holds it"
        return f"and anchored at checkpoint {last.number} of {last.signed_at}"

    def document(self) -> dict[str, object]:
        """For machines."""
        return {
            "verdict": {0: "consistent", 1: "different", 3: "unverifiable"}[self.exit_code],
            "anchored": self.is_anchored,
            "anchor": self._anchor_document(),
            "says": self.words,
            "lanes": len(self.lanes),
            "turns": self.turns,
            "turns_before_from": self.before,
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

    def _anchor_document(self) -> dict[str, object] | None:
        if self.anchor is None:
            return None
        last = self.anchor.last
        return {
            "checkpoints": self.anchor.checkpoints,
            "number": last.number if last else None,
            "signed_at": last.signed_at if last else None,
            "sha256": last.digest if last else None,
            "key_id": last.key_id if last else None,
            "prefix": last.prefix if last else None,
            "cluster_id": last.cluster_id if last else None,
            "decisions_anchored": self.anchored,
            "turns_after": self.turns_after,
        }

    def _documents(self, found: Sequence[Finding]) -> list[dict[str, object]]:
        return [{**finding.document(), "count": self.findings.count[finding.kind]} for finding in found]


def together(lanes: Sequence[LaneReport]) -> Verdict:
    """The verdict on lanes, without what only all of them together tell."""
    verdict = Verdict(list(lanes))
    for lane in lanes:
        verdict.findings.take(lane.findings)
    return verdict
