"""The verdict on a receipt: what it proves, and up to where."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from schemas.parsed import first_defect
from schemas.receipt import Receipt
from streams.notary.checkpoint_file import Line
from streams.receipts.anchoring import Anchor, check_anchor
from streams.receipts.checking import DIFFERENT, PROVEN, Checked, check
from streams.receipts.findings import Finding, Findings, Kind
from streams.receipts.story import Moment, story


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a file. `receipt` is None where it is none."""

    receipt: Receipt | None
    findings: Findings
    moments: Sequence[Moment]
    anchor: Anchor
    exit_code: int

    @property
    def words(self) -> str:
        """The verdict in a sentence."""
        if self.exit_code == DIFFERENT:
            if all(one.kind is Kind.CHECKPOINT_BROKEN for one in self.findings.differences):
                return "NOT PROVEN: your file of checkpoints was changed. The receipt alone holds; get a whole copy"
            return "NOT PROVEN: the receipt was changed, or what it shows was not decided so"
        so_far = "proven" if self.exit_code == PROVEN else "proven as far as it could be verified"
        checkpoint = None if self.receipt is None else self.receipt.checkpoint
        if checkpoint is None:
            return f"{so_far}, not anchored: who owns the broker could have written all of this anew"
        at = f"checkpoint {checkpoint.number} of {checkpoint.signed_at}"
        match self.anchor:
            case Anchor.SIGNED:
                return f"{so_far}, and anchored at {at}, signed by the notary's key {checkpoint.key_id}"
            case Anchor.KNOWN:
                return f"{so_far}, and anchored at {at}, which your file of checkpoints has"
            case _:
                held = "is not held to the notary's key (--notary-key) or file (--checkpoint)"
                return f"{so_far}, not anchored: {at} {held}"

    def document(self) -> dict[str, object]:
        """For machines."""
        checkpoint = None if self.receipt is None else self.receipt.checkpoint
        is_anchored = self.anchor in {Anchor.SIGNED, Anchor.KNOWN} and self.exit_code != DIFFERENT
        return {
            "verdict": {0: "proven", 1: "different", 3: "unverifiable"}[self.exit_code],
            "anchored": is_anchored,
            "says": self.words,
            "message_id": None if self.receipt is None else self.receipt.message_id,
            "source": None if self.receipt is None else self.receipt.source,
            "checkpoint": None if checkpoint is None else checkpoint.number,
            "story": [{"at": one.at_ms, "where": one.where, "says": one.words} for one in self.moments],
            "differences": [one.document() for one in self.findings.differences],
            "not_verified": [one.document() for one in self.findings.unverified],
        }


def verify(
    content: bytes, keys: Mapping[str, bytes] | None = None, checkpoints: Iterable[Line] | None = None
) -> Verdict:
    """Verifies a receipt's file. Needs no broker, no network and no file but these; never raises for what it holds.

    `keys` are the notary's public keys by id, `checkpoints` the lines of its file, where whoever verifies has them from
    somewhere else than the receipt.
    """
    try:
        receipt = Receipt.model_validate_json(content)
    except ValidationError as error:
        findings = Findings([Finding(Kind.DAMAGED, None, first_defect(error, "the file"))])
        return Verdict(None, findings, (), Anchor.NONE, DIFFERENT)
    checked: Checked = check(receipt)
    anchor = check_anchor(receipt, keys or {}, checkpoints, checked.findings)
    return Verdict(receipt, checked.findings, story(checked), anchor, checked.exit_code)
