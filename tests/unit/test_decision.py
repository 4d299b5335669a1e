"""What is signed of a decision."""

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from schemas.decision import Decision, ItemKind, Vote, signed_bytes

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
ID = "0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10"


@given(TEXT, TEXT, st.none() | TEXT, st.none() | TEXT, st.sampled_from(Vote))
def test_what_is_signed_is_canonical_json_as_rfc_8785_has_it(
    approver: str, hash_: str, relay: str | None, reason: str | None, vote: Vote
) -> None:
    decision = Decision(
        decision_id=ID,
        kind=ItemKind.POLICY,
        item_id=ID,
        digest="a" * 64,
        nonce="b" * 32,
        policy="1:" + "c" * 64,
        vote=vote,
        approver=approver,
        key_id="d" * 16,
        relay=relay,
        reason=reason,
        decided_at="2026-01-31T09:30:00.000Z",
        constitutional_hash=hash_,
        signature="A" * 86 + "==",
    )
    said = {k: v for k, v in decision.model_dump(mode="json").items() if k != "signature" and v is not None}
    assert decision.signed_bytes == b"acgs-decision-v1\n" + rfc8785.dumps(said)


@given(st.dictionaries(st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1), TEXT | st.integers(0, 2**53 - 1)))
def test_the_same_for_every_object_of_texts_and_integers(document: dict[str, str | int]) -> None:
    said = {name: value for name, value in document.items() if name != "signature"}
    assert signed_bytes(document) == b"acgs-decision-v1\n" + rfc8785.dumps(said)  # type: ignore[arg-type]
