"""`acgs keys`: the keys that approvers, bots, callback servers, agents and the notary sign with."""

import os
from collections.abc import Collection
from pathlib import Path

import click

from schemas.policy import Policy
from streams.cli.output import clean, say, tell
from streams.cli.session import engine_if_any, wait_for
from streams.control import in_force
from streams.keys import SigningKey
from streams.notary import settings as notary_settings

PASSPHRASE = "ACGS_KEY_PASSPHRASE"  # noqa: S105  # the name of a variable

file_argument = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.group()
def keys() -> None:
    r"""Make and show signing keys (Ed25519).

    The private key stays in its file, which only its owner can read. The public key goes into the policy, where it says
    whose signature counts: under an approver, a callback server (relay) or a sender. The one exception is a notary's:
    whoever audits gives its public key to --notary-key, or sets ACGS_NOTARY_PUBLIC_KEYS, and no policy has it.

    \b
    Example:
      acgs keys generate ann.key
      acgs keys show ann.key
    """


@keys.command()
@file_argument
@click.option("--passphrase", is_flag=True, help=f"Encrypt the file; asks, or takes {PASSPHRASE}.")
def generate(file: Path, *, passphrase: bool) -> None:
    r"""Make a new key in FILE, and say where its public half goes: into the policy, or, of a notary, to who audits.

    A file that exists is never overwritten. To rotate a key, add the new one to the policy beside the old one, give the
    old one a valid_until, and publish; docs/approvals.md has the steps.

    \b
    Example:
      acgs keys generate ann.key
      ACGS_KEY_PASSPHRASE=... acgs keys generate --passphrase bot.key
    """
    key = SigningKey.generate()
    key.save(file, _chosen_passphrase() if passphrase else None)
    say(f"{file}: a new key, {key.id}. Nobody else can read the file; keep it so.", "green")
    say("")
    say("For the policy, under whoever signs with it:")
    say(f'  keys = [{{ public_key = "{key.public_key}" }}]')
    say("If it is a notary's, never for the policy, but for whoever audits, as --notary-key or in their settings:")
    say(f"  ACGS_NOTARY_PUBLIC_KEYS={key.public_key}")


@keys.command()
@file_argument
def show(file: Path) -> None:
    r"""Show the id and the public half of the key in FILE; with a broker, also whose it is by the policy in force.

    A notary's key is in no policy; it is known by ACGS_NOTARY_PUBLIC_KEYS.

    \b
    Example:
      acgs keys show ann.key
    """
    key = load(file)
    say(f"{'id':<11} {key.id}", "bold")
    say(f"{'public key':<11} {key.public_key}")
    settings = engine_if_any("keys")
    if settings is not None:
        current = wait_for(in_force(settings))
        notarys = notary_settings.load().public_keys
        say(f"{'whose':<11} {_whose(key, current.policy, notarys) if current else 'no policy is in force'}")


def load(file: Path) -> SigningKey:
    """The key in a file; a passphrase comes from ACGS_KEY_PASSPHRASE.

    Raises:
        KeyFileError: it cannot be read or used; the message says what to do.
    """
    given = os.environ.get(PASSPHRASE)
    return SigningKey.load(file, given.encode() if given else None)


def _whose(key: SigningKey, policy: Policy, notarys: Collection[str]) -> str:
    named = [
        *((f"approver {one.id}", one.keys) for one in policy.approvers),
        *((f"callback server {one.id}", one.keys) for one in policy.relays),
        *((f"sender {one.agent} of tenant {one.tenant_id}", one.keys) for one in policy.senders),
    ]
    for name, its_keys in named:
        for one in its_keys:
            if one.id == key.id:
                until = f", valid until {one.valid_until.isoformat()}" if one.valid_until else ""
                revoked = f", revoked at {one.revoked_at.isoformat()}" if one.revoked_at else ""
                return f"{clean(name)} (epoch {policy.epoch}){until}{revoked}"
    if key.public_key in notarys:
        return "a notary's, by ACGS_NOTARY_PUBLIC_KEYS: it belongs in no policy"
    return (
        f"nobody's by epoch {policy.epoch}: what it signs does not count, unless it is a notary's, whose public key "
        "goes to whoever audits (ACGS_NOTARY_PUBLIC_KEYS, --notary-key) and never into the policy"
    )


def _chosen_passphrase() -> bytes:
    given = os.environ.get(PASSPHRASE)
    if given is None:
        given = str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True))
        tell(f"Set {PASSPHRASE} wherever the key is used.")
    return given.encode()
