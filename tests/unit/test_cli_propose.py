"""Who proposes a policy: by name, or by the key that signs the proposal."""

import pytest
from click import Command
from click.testing import CliRunner

from streams.cli.policy_propose import propose_command, rollback


@pytest.mark.parametrize(("command", "arguments"), [(propose_command, ["-"]), (rollback, [])])
def test_a_name_beside_a_key_is_refused(command: Command, arguments: list[str]) -> None:
    told = CliRunner().invoke(command, [*arguments, "--as", "ann", "--key", "ann.key"])
    assert (told.exit_code, "exclude each other" in told.output) == (2, True)
