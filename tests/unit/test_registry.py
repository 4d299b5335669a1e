"""Who may sign, as the policy says it: what is refused before it is published."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.policy import Tier
from schemas.registry import OWNER, PublicKey, Relay, Sender, key_id
from tests.support.deliberated import registry
from tests.support.signing import approver, key, public

ANN, BOB = approver("ann"), approver("bob")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"approvers": (ANN, approver("ann", keys=()))}, "approver 'ann' is there twice"),
        ({"approvers": (ANN, approver("bob", keys=(public("ann"),)))}, "public key"),
        ({"relays": (Relay(id="x", keys=(public("ann"),)),), "approvers": (ANN,)}, "public key"),
        ({"senders": (Sender(agent="a", tenant_id="t", keys=()),) * 2}, "sender 't/a' is there twice"),
        ({"relays": (Relay(id="x", keys=()),) * 2}, "relay 'x' is there twice"),
        (
            {"approvers": (approver("ann", accounts={"slack": "U1"}), approver("bob", accounts={"slack": "U1"}))},
            "account 'slack/U1' is there twice",
        ),
        ({"approvers": (ANN, BOB), "owners": ("ann",)}, "2 owners must sign"),
        ({"approvers": (ANN, BOB), "owners": ("ann", "ann")}, "owner 'ann' is there twice"),
        ({"approvers": (ANN, BOB), "owners": ("ann", "eve")}, "owner 'eve' is no approver with a key"),
        ({"approvers": (approver("ann", operates=("bob",)), BOB), "owners": ("ann", "bob")}, "count as one person"),
        ({"approvers": (ANN, approver("bob", keys=())), "owners": ("ann", "bob")}, "owner 'bob' is no approver"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_what_cannot_tell_signers_apart_is_no_policy(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        registry(**changes)


@pytest.mark.parametrize("text", ["", "x", "AAAA", "A" * 44, key("ann").public_key[:-1], key("ann").public_key + "\n"])
def test_a_public_key_is_32_bytes_in_base64(text: str) -> None:
    with pytest.raises(ValidationError):
        PublicKey(public_key=text)


def test_a_keys_id_follows_from_the_key() -> None:
    assert public("ann").id == key("ann").id == key_id(public("ann").raw)
    assert len({key(name).id for name in "abcdefgh"}) == 8


def test_the_role_of_owners_is_given_by_owners_alone() -> None:
    with pytest.raises(ValidationError, match=OWNER):
        approver("ann", OWNER)
    with pytest.raises(ValidationError, match=OWNER):
        Tier.model_validate(
            {"name": "x", "at_least": 1, "approvals": 1, "roles": (OWNER,), "deadline": "PT1H"}, strict=False
        )


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=8))
def test_who_counts_as_one_person_is_who_can_be_reached_by_operates_in_either_direction(
    pairs: list[tuple[str, str]],
) -> None:
    people = tuple(approver(one, operates=tuple(b for a, b in pairs if a == one)) for one in "abcdef")
    policy = registry(approvers=people)
    for one in "abcdef":
        reached = {one}
        for _ in people:
            reached |= {b for pair in pairs for a, b in (pair, pair[::-1]) if a in reached}
        assert {other for other in "abcdef" if policy.are_one_person(one, other)} == reached


def test_a_changed_copy_of_a_policy_forgets_whom_it_had_before() -> None:
    policy = registry(approvers=(ANN, BOB))
    assert not policy.are_one_person("ann", "bob")
    changed = policy.model_copy(update={"approvers": (approver("ann", operates=("bob",)), approver("eve"))})
    assert changed.are_one_person("ann", "bob")
    assert (changed.approver("bob"), changed.approver("eve")) == (None, approver("eve"))
