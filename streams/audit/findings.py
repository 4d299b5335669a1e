"""What an audit finds, in an auditor's words and for machines."""

from dataclasses import dataclass, field
from enum import StrEnum

from streams.audit.log import Place


class Kind(StrEnum):
    """What is not as the trail says: each is a difference."""

    CHAIN_BROKEN = "chain-broken"
    TRAIL_CUT = "trail-cut"
    INPUT_GAP = "input-gap"
    INPUT_REMOVED = "input-removed"
    INPUT_ADDED = "input-added"
    INPUT_CHANGED = "input-changed"
    INPUT_REORDERED = "input-reordered"
    OUTPUT_REMOVED = "output-removed"
    OUTPUT_ADDED = "output-added"
    OUTPUT_CHANGED = "output-changed"
    OUTPUT_REORDERED = "output-reordered"
    DECISION_DIFFERS = "decision-differs"
    ENCODING_DIFFERS = "encoding-differs"
    HISTORY_REWRITTEN = "history-rewritten"
    CHECKPOINT_BROKEN = "checkpoint-broken"
    CHECKPOINT_FORKED = "checkpoint-forked"


class Open(StrEnum):
    """Why something could not be verified: neither right nor wrong."""

    OTHER_RELEASE = "other-release"
    INPUTS_DELETED = "inputs-deleted"
    OUTPUTS_DELETED = "outputs-deleted"
    TRAIL_DELETED = "trail-deleted"
    ERASED = "erased"
    STATE_UNKNOWN = "state-unknown"
    ACCEPTED = "accepted-by-operator"
    OTHER_LIMITS = "other-limits"
    NO_POSITION = "no-position"
    NO_CHECKPOINT = "no-checkpoint"
    NO_TURN = "no-turn"


MEANING: dict[Kind | Open, str] = {
    Kind.CHAIN_BROKEN: "an audit record was changed, removed, added or moved",
    Kind.TRAIL_CUT: "the last audit records of a lane are missing",
    Kind.INPUT_GAP: "a lane left out records of its input, or handled some twice",
    Kind.INPUT_REMOVED: "records that a turn decided on are not in the log any more",
    Kind.INPUT_ADDED: "the log has records that were not there when the turn read it",
    Kind.INPUT_CHANGED: "records that a turn decided on are not the same any more",
    Kind.INPUT_REORDERED: "records that a turn decided on stand in another order",
    Kind.OUTPUT_REMOVED: "records that a turn wrote are not in the log any more",
    Kind.OUTPUT_ADDED: "the log has records that no turn wrote",
    Kind.OUTPUT_CHANGED: "records that a turn wrote are not the same any more",
    Kind.OUTPUT_REORDERED: "records that a turn wrote stand in another order",
    Kind.DECISION_DIFFERS: "the same inputs come out as another decision",
    Kind.ENCODING_DIFFERS: "the same decision, written in other bytes of JSON",
    Kind.HISTORY_REWRITTEN: "the log has other audit records than those that a checkpoint was signed for",
    Kind.CHECKPOINT_BROKEN: "a checkpoint was changed, removed, added or moved, or the notary has not signed it",
    Kind.CHECKPOINT_FORKED: "the notary's key has signed checkpoints that exclude each other",
    Open.OTHER_RELEASE: "decided by another decision_version than this release's",
    Open.INPUTS_DELETED: "retention has deleted the inputs",
    Open.OUTPUTS_DELETED: "retention has deleted the outputs; that the decision comes out as recorded was verified",
    Open.TRAIL_DELETED: "the first audit records of the lane are deleted",
    Open.ERASED: "records that a turn read or wrote were erased; the hashes that they left are those of the trail",
    Open.STATE_UNKNOWN: "the state that was decided upon cannot be derived, because of what stands before",
    Open.ACCEPTED: "an operator put the lane to another position by hand",
    Open.OTHER_LIMITS: "records were put aside as too large by limits that the topics do not have now",
    Open.NO_POSITION: "the lane's changelog has no position to hold the trail's end to",
    Open.NO_CHECKPOINT: "there is no checkpoint to hold the trail to",
    Open.NO_TURN: "there was nothing to verify",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. `seq` is the turn, `at` where in the log to look, `words` what is seen there."""

    kind: Kind | Open
    agent: str
    lane: int
    seq: int | None
    words: str
    at: str | None = None

    def document(self) -> dict[str, object]:
        """For machines."""
        return {
            "kind": self.kind.value,
            "means": MEANING[self.kind],
            "agent": self.agent,
            "lane": self.lane,
            "turn": self.seq,
            "at": self.at,
            "says": self.words,
        }


@dataclass(slots=True)
class Findings:
    """The first finding of each kind, and how many there are of each."""

    first: dict[Kind | Open, Finding] = field(default_factory=dict[Kind | Open, Finding])
    count: dict[Kind | Open, int] = field(default_factory=dict[Kind | Open, int])

    def add(self, finding: Finding) -> None:
        """Notes one."""
        self.first.setdefault(finding.kind, finding)
        self.count[finding.kind] = self.count.get(finding.kind, 0) + 1

    def take(self, others: "Findings") -> None:
        """Adds what another part has found."""
        for kind, finding in others.first.items():
            self.first.setdefault(kind, finding)
            self.count[kind] = self.count.get(kind, 0) + others.count[kind]

    def put_before(self, others: "Findings") -> None:
        """Adds what another part has found; of a kind that both have, its finding is the first."""
        self.first = {**others.first, **{kind: one for kind, one in self.first.items() if kind not in others.first}}
        for kind, times in others.count.items():
            self.count[kind] = self.count.get(kind, 0) + times

    def differences(self) -> list[Finding]:
        """The first of each kind of difference."""
        return [finding for kind, finding in self.first.items() if isinstance(kind, Kind)]

    def unverified(self) -> list[Finding]:
        """The first of each reason why something was not verified."""
        return [finding for kind, finding in self.first.items() if isinstance(kind, Open)]


def position(place: Place, offset: int) -> str:
    """Where a record stands: `topic/partition/offset`."""
    return f"{place[0]}/{place[1]}/{offset}"
