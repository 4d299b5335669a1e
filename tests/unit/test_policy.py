"""The policy document: what it says, what it refuses, and its canonical form."""

import hashlib
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import PolicyError
from schemas.policy import AcceptedHash, Policy, Tier, Tool, Verb, from_toml, published
from streams.agents.control import follow
from streams.engine.errors import ControlRefusedError
from streams.policies import default_policy, default_policy_text
from tests.support.product import HASH, policy

MINIMAL = f"""
epoch = 1
[[accepted_hashes]]
hash = "{HASH}"
[tools.look]
verb = "read"
[[tiers]]
name = "high"
at_least = 8000
approvals = 1
roles = ["security"]
deadline = "PT24H"
"""


def test_the_policy_that_ships_is_valid_and_its_own_first_epoch() -> None:
    assert default_policy().epoch == 1
    assert from_toml(default_policy_text()) == default_policy()


def test_a_small_document_is_enough() -> None:
    read = from_toml(MINIMAL)
    assert read.accepted_hashes == (AcceptedHash(hash=HASH),)
    assert read.tiers[0].deadline == timedelta(hours=24)
    assert read.hold_at == 8_000


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (("epoch = 1", "epoch = 0"), "epoch"),
        (("epoch = 1", 'epoch = "one"'), "epoch"),
        (("epoch = 1", "epoch = 1\nnonsense = 2"), "nonsense"),
        ((f'hash = "{HASH}"', f'hash = "{HASH.upper()}"'), "accepted_hashes.0.hash"),
        (('verb = "read"', 'verb = "fly"'), "tools.look.verb"),
        (('verb = "read"', 'verb = "read"\npoints = 10001'), "tools.look.points"),
        (("at_least = 8000", "at_least = 8001"), "policy: Value error, no tier covers"),
        (("approvals = 1", "approvals = 2"), "tiers.0: Value error, a tier names as many distinct roles"),
        (("approvals = 1", "approvals = 0"), "tiers.0.approvals"),
        (('deadline = "PT24H"', 'deadline = "PT0S"'), "tiers.0.deadline"),
        (('deadline = "PT24H"', 'deadline = "soon"'), "tiers.0.deadline"),
        (("epoch = 1", "epoch = 1\nunknown_tool = 7999"), "unknown_tool is below hold_at"),
        (("epoch = 1", 'epoch = 1\ntenant_topics = ["UPPER"]'), "tenant_topics.0"),
        (("[tools.look]", "[tools"), "not TOML"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(change: tuple[str, str], place: str) -> None:
    assert change[0] in MINIMAL
    with pytest.raises(PolicyError) as caught:
        from_toml(MINIMAL.replace(*change))
    assert place in str(caught.value)


def test_every_place_that_is_wrong_is_named_at_once() -> None:
    wrong = MINIMAL.replace("epoch = 1", "epoch = 0").replace('"read"', '"fly"')
    with pytest.raises(PolicyError, match=r"epoch: .*; .*tools\.look\.verb: "):
        from_toml(wrong)


def test_two_tiers_at_one_score_and_a_hash_listed_twice_are_refused() -> None:
    tier = Tier(name="t", at_least=8_000, approvals=1, roles=("r",), deadline=timedelta(hours=1))
    accepted = AcceptedHash(hash=HASH)
    with pytest.raises(ValueError, match="begin at the same score"):
        Policy(epoch=1, accepted_hashes=(accepted,), tools={}, tiers=(tier, tier.model_copy(update={"name": "u"})))
    with pytest.raises(ValueError, match="listed twice"):
        Policy(epoch=1, accepted_hashes=(accepted, accepted), tools={}, tiers=(tier,))


scores = st.integers(0, 10_000)
verbs = st.sampled_from(list(Verb))
tools = st.dictionaries(st.text("abc.-_é", min_size=1, max_size=8), st.builds(Tool, verb=verbs), max_size=5)


@given(st.integers(1, 2**40), scores.map(lambda s: min(s, 8_000)), tools, st.dictionaries(verbs, scores))
def test_the_canonical_form_reads_back_the_same_and_is_stable(
    epoch: int, hold_at: int, catalogue: dict[str, Tool], points: dict[Verb, int]
) -> None:
    document = json.loads(policy(epoch).canonical())
    document["hold_at"] = hold_at
    document["tools"] = {name: tool.model_dump(mode="json") for name, tool in catalogue.items()}
    document["verb_points"] = {verb.value: score for verb, score in points.items()}
    document["tiers"][0]["at_least"] = 0
    first = published(json.dumps(document).encode()).policy
    again = published(first.canonical())
    assert again.policy == first
    assert again.policy.canonical() == first.canonical()
    assert again.digest == hashlib.sha256(first.canonical()).hexdigest()
    assert again.reference == f"{epoch}:{again.digest}"


def test_a_score_falls_in_the_highest_tier_it_reaches() -> None:
    tiers = [policy().tier_of(score) for score in (0, 7_999, 8_000, 8_999, 9_000, 10_000)]
    assert [tier and tier.name for tier in tiers] == [None, None, "high", "high", "severe", "severe"]


@given(st.binary())
def test_no_bytes_on_the_control_topic_raise_anything_but_a_refusal(document: bytes) -> None:
    with pytest.raises(ControlRefusedError):
        follow(document, None)


def test_only_the_next_epoch_may_follow() -> None:
    current = published(policy(3).canonical())
    assert follow(policy(4).canonical(), current).policy.epoch == 4
    assert follow(policy(9).canonical(), None).policy.epoch == 9
    for epoch in (1, 2, 3, 5):
        with pytest.raises(ControlRefusedError, match="must be the next one"):
            follow(policy(epoch).canonical(), current)
