"""Who may sign: approvers, callback servers and agents with their public keys. Part of the policy, so one for all."""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.model import Contract, Name, Rfc3339

PUBLIC_KEY_BYTES = 32
"""How long an Ed25519 public key is (RFC 8032)."""
KEY_ID_CHARACTERS = 16
EVERY_TENANT = "*"
OWNER = "policy-owner"
"""The role of the policy's owners where its change is approved. It is given by `owners` and by nothing else."""

KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""The first 16 hexadecimal digits of the SHA-256 of a raw public key."""


def _is_key(text: str) -> str:
    raw_key(text)
    return text


PublicKeyText = Annotated[str, AfterValidator(_is_key)]
"""A raw Ed25519 public key in base64."""


def raw_key(text: str) -> bytes:
    """The 32 bytes of a public key.

    Raises:
        ValueError: it is no base64 of 32 bytes.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("a public key is base64") from error
    if len(raw) != PUBLIC_KEY_BYTES or base64.b64encode(raw).decode() != text:
        raise ValueError(f"an Ed25519 public key is {PUBLIC_KEY_BYTES} bytes in base64")
    return raw


def key_id(raw: bytes) -> str:
    """The id of a raw public key."""
    return hashlib.sha256(raw).hexdigest()[:KEY_ID_CHARACTERS]


class PublicKey(Contract):
    """One public key. It signs from `valid_from` until `valid_until`; from `revoked_at` on, all it signed is void."""

    public_key: PublicKeyText
    valid_from: Rfc3339 | None = None
    valid_until: Rfc3339 | None = None
    revoked_at: Rfc3339 | None = None

    @cached_property
    def raw(self) -> bytes:
        """The key's 32 bytes."""
        return raw_key(self.public_key)

    @cached_property
    def id(self) -> str:
        """What signatures name it by."""
        return key_id(self.raw)


Keys = Annotated[tuple[PublicKey, ...], Field(max_length=16)]


class ApproverKind(StrEnum):
    """Who approves: a person, or a program by a written rule."""

    PERSON = "person"
    BOT = "bot"


class Approver(Contract):
    """Somebody who may vote on held items.

    `roles` are those that tiers ask for, `tenants` those whose items they may vote on (`*` for all). `operates` names
    the agents and bots that they run. Whoever is joined by it, over any number of steps and in either direction, counts
    as one person (persons()): none of them approves what another one asks for, and together they have one vote.
    `accounts` are their names on the platforms of callback servers, such as `slack = "U012AB3CD"`. Without keys, they
    vote by a callback server only.
    """

    id: Name
    kind: ApproverKind = ApproverKind.PERSON
    roles: tuple[Name, ...] = ()
    tenants: tuple[Name, ...] = (EVERY_TENANT,)
    operates: tuple[Name, ...] = ()
    accounts: dict[Name, Name] = Field(default_factory=dict[str, str])
    keys: Keys = ()

    @model_validator(mode="after")
    def _has_no_reserved_role(self) -> Self:
        if OWNER in self.roles:
            raise ValueError(f"the role {OWNER} belongs to those whom `owners` names")
        return self


def persons(approvers: Iterable[Approver]) -> dict[str, str]:
    """Who counts as one person: of each id that `operates` joins to another, the id that stands for all so joined.

    An id that is not in it stands for itself. The relation has no direction: two who operate the same bot are one.
    """
    above: dict[str, str] = {}

    def top(id_: str) -> str:
        while (higher := above.setdefault(id_, id_)) != id_:
            above[id_] = above[higher]
            id_ = higher
        return id_

    for approver in approvers:
        for operated in approver.operates:
            above[top(operated)] = top(approver.id)
    return {id_: top(id_) for id_ in tuple(above)}


class Relay(Contract):
    """A callback server: it signs votes that people give on a platform, in their names."""

    id: Name
    keys: Keys


class Sender(Contract):
    """An agent of a tenant that signs its messages."""

    agent: Name
    tenant_id: Name
    keys: Keys
