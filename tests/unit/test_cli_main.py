import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streams.cli.main import ENTRIES, Acgs, main
from streams.errors import StreamsError

ROOT = Path(__file__).parents[2]
NOBODY_THERE = "127.0.0.1:1"
HEAVY = ("aiokafka", "pydantic", "rich", "psutil", "prometheus_client", "streams.engine.client")


def acgs(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user does, without this process's own settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACGS_")}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-m", "streams.cli.main", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def commands(command: click.Command, path: Sequence[str] = ()) -> Iterator[tuple[Sequence[str], click.Command]]:
    """A command and all below it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, (*path, name))


def test_the_overview_lists_every_command_and_says_what_to_try_first() -> None:
    told = CliRunner().invoke(main, ["--help"])
    assert told.exit_code == 0
    assert "Try first:" in told.output
    for name in ENTRIES:
        assert f"\n  {name} " in told.output


def test_the_overview_loads_nothing_heavy() -> None:
    program = f"""
import sys
from streams.cli.main import main
main(["--help"], standalone_mode=False)
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "path", [path for path, _ in commands(main) if path and path[0] not in {"kafka", "bench"}], ids=" ".join
)
def test_each_commands_help_has_an_example(path: Sequence[str]) -> None:
    told = CliRunner().invoke(main, [*path, "--help"])
    assert told.exit_code == 0
    assert f"acgs {path[0]}" in told.output.split("Example:")[1]
    assert "\n  Example:\n" in told.output


def test_an_unknown_command_is_a_usage_error() -> None:
    assert acgs("nonsense").returncode == 2


def test_the_version_is_told() -> None:
    told = acgs("--version")
    assert told.returncode == 0
    assert told.stdout.startswith("acgs")


def test_without_a_broker_a_command_says_what_to_set_and_exits_with_2(tmp_path: Path) -> None:
    told = acgs("status", cwd=tmp_path, ACGS_DATA_DIR=str(tmp_path))
    assert told.returncode == 2
    assert "ACGS_KAFKA_BOOTSTRAP_SERVERS" in told.stderr
    assert "Traceback" not in told.stderr
    assert told.stdout == ""


def test_a_wrong_setting_is_named_and_exits_with_2(tmp_path: Path) -> None:
    file = tmp_path / "acgs.toml"
    file.write_text('partitions = "many"\n')
    told = acgs("--config", str(file), "topics", "list")
    assert told.returncode == 2
    assert "partitions" in told.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["topics", "list"],
        ["topics", "create"],
        ["policy", "show"],
        ["policy", "publish"],
        ["tail", "deliveries"],
        ["dead-letters", "list"],
        ["lanes", "accept", "triage", "0", "--reason", "test"],
        ["send", "-"],
    ],
    ids=" ".join,
)
def test_a_broker_that_does_not_answer_is_one_message_and_exit_code_1(arguments: Sequence[str]) -> None:
    told = acgs("--broker", NOBODY_THERE, *arguments)
    assert told.returncode == 1
    assert told.stdout == ""
    assert told.stderr.startswith(f"Error: no Kafka answers at {NOBODY_THERE}.")
    assert len(told.stderr.splitlines()) == 1


def test_the_doctor_says_that_no_broker_is_set(tmp_path: Path) -> None:
    told = acgs("doctor", "--json", cwd=tmp_path, ACGS_DATA_DIR=str(tmp_path))
    assert told.returncode == 1
    checks = {check["name"]: check for check in map(json.loads, told.stdout.splitlines())}
    assert checks["broker"]["grade"] == "wrong"
    assert "ACGS_KAFKA_BOOTSTRAP_SERVERS" in checks["broker"]["next_step"]
    assert checks["versions"]["grade"] == "good"


def test_acls_need_no_broker() -> None:
    told = acgs("topics", "acls", "--format", "commands", "--principal", "producers=User:fleet")
    assert told.returncode == 0
    assert (
        "kafka-acls.sh --add --allow-principal 'User:fleet' --operation Describe --operation Write "
        "--topic acgs.in.messages" in told.stdout.splitlines()
    )


def test_a_role_that_does_not_exist_is_a_usage_error() -> None:
    told = acgs("topics", "acls", "--principal", "nobody=User:x")
    assert told.returncode == 2
    assert "producers" in told.stderr


@click.command()
def failing() -> None:
    raise StreamsError("item \x1b]0;owned\x07\x1b[2J is not there.\n  acgs deliberation list shows what is")


class Failing(Acgs):
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        del ctx, cmd_name
        return failing


def test_what_somebody_else_wrote_does_nothing_on_the_terminal_when_an_error_names_it() -> None:
    told = CliRunner().invoke(Failing("acgs", entries={}), ["anything"])
    assert told.exit_code == 1
    assert "item \\x1b]0;owned\\x07\\x1b[2J is not there.\n  acgs deliberation list" in told.output
