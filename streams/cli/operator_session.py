"""Who signs what commands send: an operator's or an agent's key, and whom the policy has it as."""

import os
from pathlib import Path

import click

from schemas.policy import Policy
from schemas.registry import Approver, Sender
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


sender_key_option = click.option(
    "--key",
    "key_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The sending agent's key, which signs; needed for tenants whose messages must be signed.",
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


def sender_of(key: SigningKey, policy: Policy, tenant_id: str) -> Sender:
    """The sender of that tenant whose key it is by the policy in force.

    Raises:
        KeyFileError: none's, or another tenant's; the message says what to do.
    """
    found = [sender for sender in policy.senders if any(one.id == key.id for one in sender.keys)]
    for sender in found:
        if sender.tenant_id == tenant_id:
            return sender
    of = f" but of tenant {found[0].tenant_id!a}: --tenant names it" if found else ", nor of any other"
    raise KeyFileError(
        f"key {key.id} is no sender's of tenant {tenant_id!a} by epoch {policy.epoch}{of}. 'acgs policy show' lists "
        "the senders; a policy that names it has to be published or proposed first"
    )
