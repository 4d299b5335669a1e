import contextlib
import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.policy import AcceptedHash, Policy, Tier, Tool, Verb, from_toml
from schemas.registry import Approver, Relay, Sender
from schemas.weights import SensitiveTarget, Weights
from streams.cli.main import main
from streams.cli.policy import show_policy
from streams.policies import default_policy
from streams.policy_changes import ABSENT, Change, between, to_toml
from streams.proposals import restored
from streams.samples.approvers import approvers, unknown_to, with_approvers
from tests.support.product import HASH, NEXT_HASH, policy
from tests.support.signing import approver, owners, public

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def check(file: Path) -> Result:
    return CliRunner().invoke(main, ["policy", "check", "--offline", str(file)])


def test_the_default_policy_is_one() -> None:
    told = CliRunner().invoke(main, ["policy", "check", "--offline"])
    assert told.exit_code == 0
    assert "epoch 1" in told.output


def test_every_error_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    wrong = (
        to_toml(default_policy()).replace("hold_at = 8000", "hold_at = 80000").replace("approvals = 3", "approvals = 9")
    )
    file.write_text(wrong)
    told = check(file)
    assert told.exit_code == 1
    places = told.stderr.splitlines()[1:]
    assert [place.strip().split(":")[0] for place in places] == ["hold_at", "tiers.0"]


def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("epoch = 1\nhold_at =\n")
    told = check(file)
    assert told.exit_code == 1
    assert "line 2" in told.stderr


def test_the_table_shows_no_whole_hash() -> None:
    told = CliRunner().invoke(main, ["policy", "show", "--default"])
    assert told.exit_code == 0
    assert f"{HASH[:8]}..." in told.output
    assert HASH not in told.output


def test_json_is_the_document_as_it_stands_in_the_log() -> None:
    told = CliRunner().invoke(main, ["policy", "show", "--default", "--json"])
    assert told.stdout.encode() == default_policy().canonical() + b"\n"


@given(st.sampled_from([default_policy(), policy(), policy(3, (HASH, NEXT_HASH), **owners("ann", "bob"))]))
def test_a_policy_written_for_people_reads_back_as_it_was(document: Policy) -> None:
    assert from_toml(to_toml(document)) == document


def test_two_policies_that_differ_in_their_number_only_are_the_same() -> None:
    assert between(policy(1), policy(2)) == []


@pytest.mark.parametrize(
    ("after", "change"),
    [
        (policy(hold_at=8_100, unknown_tool=8_100), Change("hold_at", "8000", "8100")),
        (policy(**owners("ann", "bob")), Change("owners", ABSENT, '["ann","bob"]')),
        (policy(approvers=(approver("ann", "lead"),)), Change("approvers.ann.roles", ABSENT, '["lead"]')),
        (policy(hashes=(HASH, NEXT_HASH)), Change(f"accepted_hashes.{NEXT_HASH[:8]}...", ABSENT, "yes")),
        (
            policy().model_copy(update={"tools": {}}),
            Change("tools.look", 'verb "read", reversible true', ABSENT),
        ),
    ],
    ids=lambda case: case.place if isinstance(case, Change) else "",
)
def test_a_change_is_told_with_its_place(after: Policy, change: Change) -> None:
    assert change in between(policy(), after)


KEYS = st.sampled_from("abc").map(lambda name: (public(name),))
NAMES = st.sampled_from(["planner", "a", "a.keys", "a/b", "b"])
HASHES = [HASH, HASH[:8] + "deadbeef", HASH[:15] + "0", NEXT_HASH]
TIERS = [
    Tier(name=name, at_least=at_least, approvals=approvals, roles=("lead", "security"), deadline=timedelta(hours=4))
    for name, at_least, approvals in (("high", 8_000, 2), ("high", 8_000, 1), ("severe", 9_000, 2), ("grave", 8_000, 2))
]


SENDERS = st.builds(Sender, agent=NAMES, tenant_id=NAMES, keys=KEYS)
PEOPLE = st.builds(
    Approver, id=NAMES, accounts=st.dictionaries(NAMES, st.sampled_from(["U1", "U2", "U3", "U4"]), max_size=1)
)
TARGETS = st.builds(SensitiveTarget, name=NAMES, read=st.integers(0, 1), change=st.just(1))
SAID = {
    "accepted_hashes": st.lists(st.sampled_from(HASHES), min_size=1, max_size=2, unique=True).map(
        lambda hashes: tuple(AcceptedHash(hash=one) for one in hashes)
    ),
    "tiers": st.sampled_from([(TIERS[0],), (TIERS[1],), (TIERS[3],), (TIERS[0], TIERS[2]), (TIERS[2], TIERS[0])]),
    "senders": st.lists(
        SENDERS, max_size=2, unique_by=(lambda one: (one.tenant_id, one.agent), lambda one: one.keys)
    ).map(tuple),
    "approvers": st.lists(
        PEOPLE, max_size=2, unique_by=(lambda one: one.id, lambda one: tuple(one.accounts.values()))
    ).map(tuple),
    "signed_tenants": st.lists(NAMES, max_size=2).map(tuple),
    "tools": st.dictionaries(NAMES, st.sampled_from([Tool(verb=Verb.READ), Tool(verb=Verb.PAY)]), max_size=2),
    "weights": st.lists(TARGETS, max_size=2).map(lambda targets: Weights(targets=tuple(targets))),
}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """Two policies, of which the second says one thing anew, which may be the same."""
    drawn = {name: draw(each) for name, each in SAID.items()}
    name = draw(st.sampled_from(sorted(SAID)))
    return said(1, drawn), said(draw(st.integers(1, 2)), {**drawn, name: draw(SAID[name])})


def said(epoch: int, drawn: Mapping[str, object]) -> Policy:
    builtin = {name: value for name, value in policy(epoch) if name != "verb_points"}
    return Policy.model_validate({**builtin, **drawn})


def unnumbered(one: Policy) -> bytes:
    return one.model_copy(update={"epoch": 1}).canonical()


@settings(max_examples=300, deadline=None)
@given(pairs())
def test_no_change_is_told_if_and_only_if_two_policies_say_the_same(pair: tuple[Policy, Policy]) -> None:
    one, other = pair
    changes = between(one, other)
    assert (changes == []) == (unnumbered(one) == unnumbered(other))
    assert all(change.before != change.after for change in changes)
    assert len({change.place for change in changes}) == len(changes)


def test_another_key_of_a_sender_is_told_where_another_tenant_has_one_of_that_name() -> None:
    def of(bank: str) -> Policy:
        senders = [Sender(agent="planner", tenant_id=t, keys=(public(k),)) for t, k in (("bank", bank), ("shop", "s"))]
        return policy(senders=tuple(senders))

    (change,) = between(of("good"), of("evil"))
    assert change.place == "senders.bank.planner.keys"
    assert public("evil").public_key in change.after


def test_another_hash_with_the_same_beginning_is_told_so_that_the_two_differ() -> None:
    other = HASH[:8] + "deadbeef"
    changes = between(policy(hashes=(HASH,)), policy(hashes=(other,)))
    assert [(change.place, change.before, change.after) for change in changes] == [
        (f"accepted_hashes.{HASH[:9]}...", "yes", ABSENT),
        (f"accepted_hashes.{other[:9]}...", ABSENT, "yes"),
    ]


def test_another_order_is_told() -> None:
    two = approver("a.b"), approver("c")
    (change,) = between(policy(approvers=two), policy(approvers=two[::-1]))
    assert change == Change("approvers, in order", "a.b, c", "c, a.b")


def test_a_key_that_was_revoked_since_stays_revoked_when_the_policy_goes_back() -> None:
    def people(epoch: int, *names: str, revoked: str = "") -> Policy:
        keys = {n: (public(n, **({"revoked_at": "2026-02-01T00:00:00Z"} if n == revoked else {})),) for n in names}
        return policy(epoch, approvers=tuple(approver(name, keys=keys[name]) for name in names))

    first, second, third = people(1, "ann", "bob"), people(2, "ann", "bob", revoked="bob"), people(3, "ann")
    gone_back = restored(first, [first, second, third])
    assert gone_back == people(4, "ann", "bob", revoked="bob")


def test_a_proposal_is_of_a_file_never_of_the_default_policy() -> None:
    told = CliRunner().invoke(main, ["policy", "propose", "--next-epoch"])
    assert (told.exit_code, "Missing argument 'FILE'" in told.stderr) == (2, True)


def test_two_tiers_of_one_name_are_no_policy() -> None:
    said = policy().model_copy(update={"tiers": (TIERS[0], TIERS[2].model_copy(update={"name": "high"}))})
    with pytest.raises(ValidationError, match="tier 'high' is there twice"):
        Policy.model_validate_json(said.canonical())


def test_a_hash_that_is_being_withdrawn_is_told_by_its_beginning() -> None:
    ending = AcceptedHash.model_validate_json(f'{{"hash": "{HASH}", "until": "2026-03-01T00:00:00Z"}}')
    changes = between(policy(), policy().model_copy(update={"accepted_hashes": (ending,)}))
    assert [change.place for change in changes] == [f"accepted_hashes.{HASH[:8]}..."]
    assert "2026-03-01" in changes[0].after


def test_the_table_shows_who_may_sign_until_when_and_how_much_may_wait() -> None:
    shown = policy(
        approvers=(approver("ann", keys=(public("ann", valid_until="2027-01-31T00:00:00Z"),)), approver("bob")),
        operators=("bob",),
        relays=(Relay(id="office", keys=(public("office", revoked_at="2026-02-01T00:00:00Z"),)),),
        senders=(Sender(agent="planner", tenant_id="bank", keys=(public("planner"),)),),
        signed_tenants=("bank",),
        max_held_unverified=7,
    )
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        show_policy(shown)
    told = written.getvalue()
    assert f"{public('ann').id} (until 2027-01-31T00:00:00+00:00)" in told
    assert f"office           {public('office').id} (revoked 2026-02-01T00:00:00+00:00)" in told
    assert f"planner  bank    {public('planner').id}" in told
    for line in ("operators     bob", "must sign     bank", "do not sign together 7, of 256 MiB"):
        assert line in told


def test_the_demonstration_says_whose_keys_the_policy_does_not_have(tmp_path: Path) -> None:
    found = approvers(tmp_path)
    known = with_approvers(policy(), found)
    assert unknown_to(known, found, tmp_path) is None
    ann, *others = found
    both = ann.model_copy(update={"keys": (public("new"), *ann.keys), "roles": ("lead",)})
    assert unknown_to(with_approvers(known, (both,)), found, tmp_path) is None
    for keys in ((public("new"),), (ann.keys[0].model_copy(update={"revoked_at": LONG_AGO}),)):
        rotated = with_approvers(known, (ann.model_copy(update={"keys": keys}), *others))
        said = unknown_to(rotated, found, tmp_path) or ""
        assert said.startswith(f"epoch 1 does not have the keys of ann in {tmp_path}")
        assert "acgs keys show" in said
