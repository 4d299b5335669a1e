"""What waits on `deliberation`, how it stands, and how it ended."""

import hashlib
import uuid
from enum import StrEnum
from typing import Annotated, NamedTuple

import orjson
from pydantic import Field, JsonValue

from schemas.decision import Decision, ItemKind, Nonce, PolicyReference, Vote
from schemas.model import Contract, Name, Rfc3339, Score, Sha256, Uuid
from schemas.policy import OWNERS_TO_AGREE, Policy, Tier
from schemas.reasons import Reason
from schemas.registry import OWNER

CHANGE_POLICY = "change_policy"
"""The tool of an action that proposes the next epoch of the policy: its argument `document` is that epoch."""
POLICY_TENANT = "policy"
"""The tenant that proposals bear: they belong to none."""
POLICY_TIER = "policy"
POLICY_KEY = "policy"
"""What every item that changes the policy is keyed by: one lane decides on all of them, in order."""

_NONCE_BYTES = 16

Count = Annotated[int, Field(ge=0)]
Ms = Count
"""Milliseconds since 1970."""


class DeliberationItem(Contract):
    """The header `acgs-item` of a held record, whose value is what would be released, byte for byte.

    `digest` is the SHA-256 of exactly those bytes: an approval is for them and nothing else. The item's deadline is its
    log time plus `deadline_s` seconds, and never past `expires_at`; it is reminded of every `remind_s` seconds and
    escalated after `escalate_s`. `approvals` of the `roles`, each from another one, release it (a role that stands
    twice may be filled twice); at most `relayed` of them come through callback servers. `nonce` is 16 random bytes in
    hexadecimal. `policy` made the terms, and decisions name it. `generation` counts reopenings. `action` is the same
    for items of one sender that ask for the same, so that they can be shown together; each is decided by itself.
    `receiver` is the key of the delivery, `tenant_topic` the tenant whose deliveries are kept apart.
    """

    item_id: Uuid
    kind: ItemKind
    message_id: Uuid
    digest: Sha256
    generation: Count
    tier: Name
    approvals: Annotated[int, Field(ge=1)]
    roles: tuple[Name, ...]
    relayed: Count
    deadline_s: Annotated[int, Field(gt=0)]
    remind_s: Annotated[int, Field(gt=0)]
    escalate_s: Annotated[int, Field(gt=0)]
    expires_at: Rfc3339 | None
    nonce: Nonce
    policy: PolicyReference
    tenant_id: Name
    sender: Name
    sender_verified: bool
    constitutional_hash: str
    action: Sha256
    receiver: str | None = None
    tenant_topic: Name | None = None
    score: Score | None = None
    tool: Name | None = None


class Terms(NamedTuple):
    """Under which terms something is released."""

    tier: str
    approvals: int
    roles: tuple[str, ...]
    relayed: int
    deadline_s: int
    remind_s: int
    escalate_s: int


def terms_of(tier: Tier, deadline_s: int | None = None) -> Terms:
    """The terms of a tier; a shorter deadline may be asked for, in seconds."""
    whole = int(tier.deadline.total_seconds())
    deadline = max(1, whole if deadline_s is None else min(whole, deadline_s))
    remind = tier.remind_every.total_seconds() if tier.remind_every else deadline / 4
    escalate = tier.escalate_after.total_seconds() if tier.escalate_after else deadline * 3 / 4
    relayed = tier.approvals - 1 if tier.relayed is None else tier.relayed
    return Terms(tier.name, tier.approvals, tier.roles, relayed, deadline, max(1, int(remind)), max(1, int(escalate)))


def terms_of_policy_change(policy: Policy) -> Terms:
    """The terms of the next epoch under this one: owners sign, and none of them through a callback server."""
    deadline = max(1, int(policy.proposal_deadline.total_seconds()))
    roles = (OWNER,) * OWNERS_TO_AGREE
    return Terms(POLICY_TIER, OWNERS_TO_AGREE, roles, 0, deadline, max(1, deadline // 4), max(1, deadline * 3 // 4))


def item_id(message_id: str, digest: str, generation: int) -> str:
    """The id that a held message has everywhere: a UUID (version 5) of message, exact bytes and generation."""
    return str(uuid.uuid5(uuid.UUID(message_id), f"{digest}:{generation}"))


def digest_of(value: bytes) -> str:
    """What an approval binds: the SHA-256 of exactly these bytes, in hexadecimal."""
    return hashlib.sha256(value).hexdigest()


def action_digest(tenant_id: str, sender: str, tool: str | None, arguments: JsonValue) -> str:
    """What tells items that ask for the same from others: the SHA-256 of who asks for what, in hexadecimal."""
    return digest_of(orjson.dumps([tenant_id, sender, tool, arguments], option=orjson.OPT_SORT_KEYS))


def nonce_of(entropy: bytes, item_id: str) -> str:
    """The nonce of an item from the entropy of the record that made it."""
    return hashlib.sha256(entropy + item_id.encode()).digest()[:_NONCE_BYTES].hex()


def key_of(kind: ItemKind, item_id: str) -> str:
    """The key of an item's records on `deliberation`, and of decisions on it."""
    return POLICY_KEY if kind is ItemKind.POLICY else item_id


class DeliberationState(StrEnum):
    """How an item stands, or ended."""

    PENDING = "pending"
    APPROVED = "approved"
    """Released: enough approvers have signed."""
    REJECTED = "rejected"
    """One approver vetoed it."""
    EXPIRED = "expired"
    """Its deadline passed, its message expired, or the policy withdrew what it was made under."""
    WITHDRAWN = "withdrawn"
    """Whoever asked does not need it any more."""


class CountedVote(Contract):
    """A vote that counted when it came, with all that proves it.

    `at` is its log time. `stands` is false where it did not count any more at the item's end: `reason` says why.
    """

    decision: Decision
    at: Ms
    stands: bool = True
    reason: Reason | None = None


class DeliberationVerdict(Contract):
    """On `verdicts`: an item ended. The public record, with every vote and its signature.

    `item` holds the terms. `registry` is the policy in force at the end, by whose registry every signature was checked
    again. Times are the log's, in milliseconds since 1970.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    item: DeliberationItem
    state: DeliberationState
    why: str
    by: Name | None = None
    votes: tuple[CountedVote, ...]
    registry: PolicyReference
    opened: Ms
    deadline: Ms | None
    closed: Ms


class VoteSummary(Contract):
    """One vote, in short; whether it stands as the registry is now, and if not, why."""

    decision_id: Uuid
    approver: Name
    vote: Vote
    relay: Name | None
    reason: str | None
    at: Ms
    stands: bool = True
    void: Reason | None = None


class DeliberationStatus(Contract):
    """On the compacted `deliberation-status`, under the item's id: how it stands.

    `partition` and `offset` are where the held record stands on `deliberation`. `deadline` is None for an item from
    before the agent's first run, until that begins. `by` is who decided alone: by a veto. While it waits,
    `needed` is how many more approvals release it, and `missing` the roles of which the next one would help, by the
    votes that stand at `changed`. `reopenable` is whether what
    it held is kept, so that it may wait anew.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    item: DeliberationItem
    state: DeliberationState
    partition: Count
    offset: Count
    opened: Ms
    changed: Ms
    deadline: Ms | None
    closed: Ms | None = None
    votes: tuple[VoteSummary, ...] = ()
    needed: Count | None = None
    missing: tuple[Name, ...] = ()
    reminders: Count = 0
    escalated: bool = False
    why: str | None = None
    by: Name | None = None
    reopenable: bool = False
    reopened_as: Uuid | None = None
