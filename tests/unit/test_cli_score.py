import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from streams.cli.main import main
from streams.policies import default_policy
from streams.policy_changes import to_toml
from tests.support.product import NEXT_HASH, message

HARMLESS = {"tool": "lookup_order", "arguments": {"id": 7}}
GRAVE = {"tool": "grant_role", "arguments": {"role": "admin", "user": "mallory"}}


def score(lines: bytes, *options: str) -> Result:
    return CliRunner().invoke(main, ["score", "-", "--policy", "default", *options], input=lines)


def of(action: Mapping[str, object], **changes: Any) -> bytes:  # noqa: ANN401
    return orjson.dumps(message(payload={"action": action}, **changes))


def test_a_harmless_message_is_delivered_and_its_factors_are_told() -> None:
    told = score(of(HARMLESS))
    assert told.exit_code == 0
    assert told.stdout.splitlines()[0] == "line 1: delivered  0.0600  lookup_order  read"
    assert "it reads" in told.stdout
    assert "1 message: 1 delivered." in told.stderr


def test_a_grave_message_is_held_and_says_who_must_agree() -> None:
    told = score(of(GRAVE), "--json")
    document = json.loads(told.stdout)
    assert document["verdict"] == "hold"
    assert document["tier"] == "high"
    assert document["card"]["score"] >= 8_000
    assert sum(factor["points"] for factor in document["card"]["factors"]) == document["card"]["score"]


def test_a_message_of_another_generation_is_rejected_but_scored() -> None:
    told = score(of(HARMLESS, constitutional_hash=NEXT_HASH))
    assert "line 1: rejected  0.0600" in told.stdout
    assert f"hash_unknown: constitutional_hash {NEXT_HASH[:8]}..." in told.stdout
    assert NEXT_HASH not in told.output


def test_what_is_no_message_is_rejected_with_its_reason_and_line() -> None:
    told = score(b"\n{\n" + of(HARMLESS) + b"\n", "--json")
    first, second = map(json.loads, told.stdout.splitlines())
    assert (first["line"], first["verdict"], first["reason"], first["card"]) == (2, "reject", "truncated", None)
    assert (second["line"], second["verdict"]) == (3, "deliver")


def test_hostile_text_does_not_reach_the_terminal_as_it_is() -> None:
    told = score(of({"tool": "\x1b[31mred", "arguments": {}}))
    assert "\x1b" not in told.output
    assert "\\x1b[31mred" in told.stdout


def test_a_policy_file_can_be_tried(tmp_path: Path) -> None:
    runner = CliRunner()
    document = runner.invoke(main, ["policy", "show", "--default", "--toml"]).stdout
    file = tmp_path / "policy.toml"
    file.write_text(
        document.replace('lookup_order = { verb = "read", points = 600 }', 'lookup_order = { verb = "pay" }')
    )
    told = runner.invoke(main, ["score", "-", "--policy", str(file), "--json"], input=of(HARMLESS))
    assert json.loads(told.stdout)["card"]["verb"] == "pay"


@pytest.mark.parametrize("missing", ["nowhere.jsonl", "."])
def test_a_file_that_cannot_be_read_is_a_usage_error(missing: str) -> None:
    assert CliRunner().invoke(main, ["score", missing, "--policy", "default"]).exit_code == 2


def test_a_signed_message_of_a_tenant_that_must_sign_is_scored_as_such(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(to_toml(default_policy().model_copy(update={"signed_tenants": ("acme",)})))
    verdicts = [
        json.loads(
            CliRunner().invoke(main, ["score", "-", "--policy", str(file), "--json", *options], of(HARMLESS)).stdout
        )
        for options in ([], ["--signed"])
    ]
    assert [one["verdict"] for one in verdicts] == ["hold", "deliver"]
