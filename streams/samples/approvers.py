"""The approvers of the demonstration: two people and a bot, with keys in a folder."""

from pathlib import Path

from schemas.policy import Policy
from schemas.registry import Approver, ApproverKind, PublicKey
from streams.keys import SigningKey

BOT = "release-bot"
ANN, BEA = "ann", "bea"

_ROLES = {ANN: ("lead", "security"), BEA: ("compliance", "on-call"), BOT: ("security",)}


def key_file(folder: Path, name: str) -> Path:
    """Where somebody's key is."""
    return folder / f"{name}.key"


def approvers(folder: Path) -> tuple[Approver, ...]:
    """Who decides in the demonstration. Keys that are not there are made.

    Raises:
        KeyFileError: a key cannot be made or read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(_approver(folder, name) for name in _ROLES)


def _approver(folder: Path, name: str) -> Approver:
    file = key_file(folder, name)
    if not file.exists():
        SigningKey.generate().save(file)
    kind = ApproverKind.BOT if name == BOT else ApproverKind.PERSON
    key = PublicKey(public_key=SigningKey.load(file).public_key)
    return Approver(id=name, kind=kind, roles=_ROLES[name], keys=(key,))


def with_approvers(policy: Policy, found: tuple[Approver, ...]) -> Policy:
    """The policy with these approvers in place of those of the same names."""
    names = {approver.id for approver in found}
    others = tuple(approver for approver in policy.approvers if approver.id not in names)
    return policy.model_copy(update={"approvers": (*others, *found)})
