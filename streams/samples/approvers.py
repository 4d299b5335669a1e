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


def names_of(found: tuple[Approver, ...]) -> tuple[str, ...]:
    """Their ids."""
    return tuple(one.id for one in found)


def unknown_to(policy: Policy, found: tuple[Approver, ...], folder: Path) -> str | None:
    """Why some of them cannot decide under a policy, and how they can again; None where all can.

    Other keys of theirs, or other roles, do not matter: after a rotation the policy may have more of both.
    """
    unknown = [one.id for one in found if not _is_known(policy, one)]
    if not unknown:
        return None
    return (
        f"epoch {policy.epoch} does not have the keys of {', '.join(unknown)} in {folder}: no approvals are shown. To "
        f"have them again, put their new keys there, or their public keys ('acgs keys show {folder}/NAME.key') under "
        "those approvers in the policy"
    )


def _is_known(policy: Policy, one: Approver) -> bool:
    registered = policy.approver(one.id)
    good = {key.public_key for key in registered.keys if key.revoked_at is None} if registered else set[str]()
    return all(key.public_key in good for key in one.keys)


def with_approvers(policy: Policy, found: tuple[Approver, ...]) -> Policy:
    """The policy with these approvers in place of those of the same names."""
    names = {approver.id for approver in found}
    others = tuple(approver for approver in policy.approvers if approver.id not in names)
    return policy.model_copy(update={"approvers": (*others, *found)})
