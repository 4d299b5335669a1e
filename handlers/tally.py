"""The factors of a score and their sum."""

from dataclasses import dataclass, field

from schemas.model import MAX_SCORE
from schemas.score import Factor, ScoreCard


@dataclass(slots=True)
class Tally:
    """The factors so far and their sum; it only grows."""

    total: int = 0
    factors: list[Factor] = field(default_factory=list[Factor])

    def add(self, name: str, points: int, why: str) -> None:
        """Adds points; none leave no factor."""
        if points > 0:
            self.total += points
            self.factors.append(Factor(name, points, why))

    def at_least(self, name: str, floor: int, why: str) -> None:
        """Raises the sum to a floor, if it is below."""
        if floor > self.total:
            self.add(name, floor - self.total, why)

    def card(self, tool: str | None, verb: str | None, policy: str, decision_version: int) -> ScoreCard:
        """The card; its score stays on the scale and is the sum of its factors."""
        if self.total > MAX_SCORE:
            self.factors.append(Factor("ceiling", MAX_SCORE - self.total, "the scale ends at 10,000"))
            self.total = MAX_SCORE
        return ScoreCard(self.total, tuple(self.factors), tool, verb, policy, decision_version)
