"""What would change: two outcomes of one input compared, and all of them together."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from streams.replay.marker import Marker
from streams.replay.outcomes import Outcome, Place, Verdict

EXAMPLES = 5
"""How many examples of each kind a difference tells."""

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Who:
    """Whose input it is: the sender and the id that the bytes name."""

    sender: str | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One input that would be decided otherwise."""

    place: Place
    kind: str
    before: Outcome
    after: Outcome
    who: Who

    def document(self) -> dict[str, Any]:
        """For machines; what does not apply is left out."""
        found: dict[str, Any] = {
            "at": str(self.place),
            "kind": self.kind,
            "message_id": self.who.message_id,
            "from": self.who.sender,
            "tool": self.after.tool or self.before.tool,
            "score": None if self.before.score == self.after.score else [self.before.score, self.after.score],
            "factors": _factors(self.before, self.after),
            "terms": None if self.before.terms == self.after.terms else [self.before.terms, self.after.terms],
            "reason": None if self.before.reason == self.after.reason else [self.before.reason, self.after.reason],
        }
        return {name: content for name, content in found.items() if content}


def kind_of(before: Outcome, after: Outcome) -> str | None:
    """How two outcomes of one input differ, in a few words; None if they do not.

    A verdict or a reason outweighs who is asked, which outweighs where it is delivered, which outweighs a score.
    """
    if before.verdict is not after.verdict or before.reason != after.reason:
        return f"{_said(before)} -> {_said(after)}"
    if before.terms != after.terms:
        return "held under other terms"
    if before.receives != after.receives:
        return "delivered on another topic"
    if (before.score, before.factors) != (after.score, after.factors):
        return f"{after.verdict.value} with another score"
    return None


def _said(outcome: Outcome) -> str:
    is_refused = outcome.verdict in {Verdict.REJECTED, Verdict.FAILED}
    return f"{outcome.verdict.value}: {outcome.reason}" if is_refused else outcome.verdict.value


def _factors(before: Outcome, after: Outcome) -> list[dict[str, Any]]:
    """The factors whose points differ, with both."""
    old, new = _points(before), _points(after)
    return [
        {"name": name, "before": old[name], "after": new[name]}
        for name in dict.fromkeys((*old, *new))
        if old[name] != new[name]
    ]


def _points(outcome: Outcome) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, points in outcome.factors:
        found[name] += points
    return found


@dataclass(slots=True)
class Difference:
    """All that would change, in bounded memory. Add inputs in the order of their places: the digest follows it.

    `epochs` counts the inputs by the epoch that decided them. `unknown` are inputs of which nothing is found that was
    decided: not yet, or retention has deleted it.
    """

    marker: Marker
    compared: int = 0
    unknown: int = 0
    epochs: Counter[int] = field(default_factory=Counter[int])
    kinds: Counter[str] = field(default_factory=Counter[str])
    examples: dict[str, list[Change]] = field(default_factory=dict[str, list[Change]])
    raised: int = 0
    lowered: int = 0
    _all: Any = field(default_factory=hashlib.sha256)

    @property
    def changed(self) -> int:
        """How many inputs would be decided otherwise."""
        return self.kinds.total()

    def add(self, place: Place, before: Outcome | None, after: Outcome, who: Who) -> None:
        """One input with what was decided and what would be."""
        if before is None:
            self.unknown += 1
            return
        self.compared += 1
        self.epochs[before.epoch] += 1
        kind = kind_of(before, after)
        if kind is None:
            return
        if before.score is not None and after.score is not None:
            self.raised += after.score > before.score
            self.lowered += after.score < before.score
        change = Change(place, kind, before, after, who)
        self.kinds[kind] += 1
        self._all.update(orjson.dumps(change.document()) + b"\n")
        if self.kinds[kind] <= EXAMPLES:
            self.examples.setdefault(kind, []).append(change)

    def document(self) -> dict[str, Any]:
        """For machines and for those who sign. It says nothing of the replay's own prefix: made again, it is the same.

        `changes_sha256` is over every change, `sha256` over the rest of the document as digest_of() takes it.
        """
        marker = self.marker
        said: dict[str, Any] = {
            "v": _VERSION,
            "made_of": {
                "live": marker.live,
                "from": marker.since,
                "to": marker.until,
                "inputs": [window.model_dump() for window in marker.windows],
                "release": marker.release,
                "decision_versions": dict(sorted(marker.decision_versions.items())),
            },
            "policy": {"epoch": marker.epoch, "sha256": marker.policy},
            "decided_by_epoch": {str(epoch): count for epoch, count in sorted(self.epochs.items())},
            "compared": self.compared,
            "not_compared": self.unknown,
            "changed": self.changed,
            "scores": {"raised": self.raised, "lowered": self.lowered},
            "changes": [
                {"kind": kind, "count": count, "examples": [one.document() for one in self.examples[kind]]}
                for kind, count in sorted(self.kinds.items(), key=lambda one: (-one[1], one[0]))
            ],
            "changes_sha256": self._all.hexdigest(),
        }
        return {**said, "sha256": digest_of(said)}


def digest_of(document: Mapping[str, Any]) -> str:
    """The SHA-256 of a difference's document without its own `sha256`: compact JSON with sorted keys."""
    said = {name: content for name, content in document.items() if name != "sha256"}
    return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()
