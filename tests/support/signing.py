"""People with keys, and what they sign."""

import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.decision import Decision, Vote
from schemas.deliberation import DeliberationItem
from schemas.registry import Approver, PublicKey
from streams.keys import Signer, SigningKey
from tests.support.product import HASH


def key(name: str) -> SigningKey:
    """The same key at every run."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


def public(name: str, **changes: Any) -> PublicKey:  # noqa: ANN401
    return PublicKey.model_validate({"public_key": key(name).public_key, **changes}, strict=False)


def approver(id_: str, *roles: str, **changes: Any) -> Approver:  # noqa: ANN401
    return Approver.model_validate({"id": id_, "roles": roles, "keys": (public(id_),), **changes}, strict=False)


def owners(*names: str) -> dict[str, Any]:
    """What a policy says that these own."""
    return {"approvers": tuple(map(approver, names)), "owners": names}


def signer(name: str, *, relay: str | None = None) -> Signer:
    return Signer(approver=name, key=key(relay or name), constitutional_hash=HASH, relay=relay)


def decide(
    name: str, item: DeliberationItem, vote: Vote = Vote.APPROVE, *, relay: str | None = None, reason: str | None = None
) -> Decision:
    return signer(name, relay=relay).decide(item, vote, reason)


def signed_anew(name: str, decision: Decision, **changes: Any) -> Decision:  # noqa: ANN401
    """A decision that says something else, signed as it then stands."""
    changed = decision.model_copy(update={**changes, "signature": None})
    return Decision.model_validate({**dict(changed), "signature": key(name).sign(changed.signed_bytes)})
