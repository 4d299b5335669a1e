"""What is wrong with a receipt, and what could not be verified of it, in an auditor's words."""

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What makes a receipt prove nothing."""

    DAMAGED = "damaged"
    RECORD_CHANGED = "record-changed"
    TURN_CHANGED = "turn-changed"
    CHAIN_BROKEN = "chain-broken"
    TIME_IMPOSSIBLE = "time-impossible"
    STORY_BROKEN = "story-broken"
    POLICY_DIFFERS = "policy-differs"
    DECISION_DIFFERS = "decision-differs"
    SIGNATURE_INVALID = "signature-invalid"
    NOT_IN_TREE = "not-in-tree"
    CHECKPOINT_INVALID = "checkpoint-invalid"
    CHECKPOINT_BROKEN = "checkpoint-broken"


class Open(StrEnum):
    """Why a part could not be verified: neither right nor wrong."""

    OTHER_RELEASE = "other-release"
    STATE_UNKNOWN = "state-unknown"
    NOT_ANCHORED = "not-anchored"
    NOT_ONE_CHAIN = "not-one-chain"


MEANING: dict[Kind | Open, str] = {
    Kind.DAMAGED: "the file is no receipt, or not whole",
    Kind.RECORD_CHANGED: "a record is not the one that the turn's hash is of",
    Kind.TURN_CHANGED: "the hashes of a turn are not those that its audit record is of",
    Kind.CHAIN_BROKEN: "an audit record does not follow the one before it",
    Kind.TIME_IMPOSSIBLE: "a time is not one that the audit records allow",
    Kind.STORY_BROKEN: "what is shown is not the story of this message, or a link of it is missing",
    Kind.POLICY_DIFFERS: "a policy is not the one that was in force",
    Kind.DECISION_DIFFERS: "what is shown to have been decided does not follow from what was decided upon",
    Kind.SIGNATURE_INVALID: "an approval that is said to stand does not",
    Kind.NOT_IN_TREE: "an audit record is not in the tree that the checkpoint is of",
    Kind.CHECKPOINT_INVALID: "the checkpoint is not one that the notary signed",
    Kind.CHECKPOINT_BROKEN: "a line of the file of checkpoints does not continue those before it",
    Open.OTHER_RELEASE: "decided by another decision_version than this release's",
    Open.STATE_UNKNOWN: "the decision rests on what others did, which a receipt does not show",
    Open.NOT_ONE_CHAIN: "others than lanes have written audit records, and the notary has signed that there are such",
    Open.NOT_ANCHORED: "the receipt cannot be held to the checkpoints that were given",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or open; `at` says which turn it is about."""

    kind: Kind | Open
    at: str | None
    words: str

    def document(self) -> dict[str, object]:
        """For machines."""
        return {"kind": self.kind.value, "means": MEANING[self.kind], "at": self.at, "says": self.words}


@dataclass(slots=True)
class Findings:
    """Everything that was found, in the order in which it was."""

    every: list[Finding] = field(default_factory=list[Finding])

    def say(self, kind: Kind | Open, at: str | None, words: str) -> None:
        """Notes one."""
        self.every.append(Finding(kind, at, words))

    @property
    def differences(self) -> list[Finding]:
        """What makes the receipt prove nothing."""
        return [one for one in self.every if isinstance(one.kind, Kind)]

    @property
    def unverified(self) -> list[Finding]:
        """What could not be verified."""
        return [one for one in self.every if isinstance(one.kind, Open)]
