"""Who gives orders that are for operators only: their key, and the operator that the policy has it as."""

import os
from pathlib import Path

import click

from schemas.policy import Policy
from schemas.registry import Approver
from streams.cli.keys import load
from streams.errors import KeyFileError
from streams.keys import SigningKey

KEY_VARIABLE = "ACGS_KEY_FILE"

key_option = click.option(
    "--key",
    "key_file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar=KEY_VARIABLE,
    show_envvar=True,
    help="Your signing key; needed once the policy names operators.",
)


def key_of(file: Path | None) -> SigningKey | None:
    """The key in a file, None where none is given.

    Raises:
        KeyFileError: it cannot be read or used; the message says what to do.
    """
    return None if file is None else load(file)


def owner_of(key: SigningKey, policy: Policy, file: Path | None = None) -> Approver:
    """The approver whose key it is by the policy in force.

    Raises:
        KeyFileError: nobody's; the message says what to do.
    """
    for approver in policy.approvers:
        if any(one.id == key.id for one in approver.keys):
            return approver
    shown = file or os.environ.get(KEY_VARIABLE) or "the file"
    raise KeyFileError(
        f"the key in {shown}, {key.id}, is no approver's by epoch {policy.epoch}: what it signs would not count. "
        "'acgs policy show' lists the approvers; a policy that names it has to be published or proposed first"
    )
