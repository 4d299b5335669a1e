from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from schemas.policy import AcceptedHash, Policy, from_toml
from streams.cli.main import main
from streams.policies import default_policy
from streams.policy_changes import ABSENT, Change, between, to_toml
from tests.support.product import HASH, NEXT_HASH, policy
from tests.support.signing import approver, owners


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


def test_a_hash_that_is_being_withdrawn_is_told_by_its_beginning() -> None:
    ending = AcceptedHash.model_validate_json(f'{{"hash": "{HASH}", "until": "2026-03-01T00:00:00Z"}}')
    changes = between(policy(), policy().model_copy(update={"accepted_hashes": (ending,)}))
    assert [change.place for change in changes] == [f"accepted_hashes.{HASH[:8]}..."]
    assert "2026-03-01" in changes[0].after
