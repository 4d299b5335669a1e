"""The policy: one versioned document that says what is accepted, what an action weighs and who must agree."""

import hashlib
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Self, cast

import rfc8785
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from schemas.chaos import MAX_DURATION, TargetPattern
from schemas.errors import PolicyError
from schemas.message import MessageType
from schemas.model import Contract, Duration, Name, Rfc3339, Score
from schemas.recovery import EVERY_SERVICE, RecoveryRule
from schemas.registry import OWNER, Approver, PublicKey, Relay, Sender, persons
from schemas.topics import DEFAULT_QUEUE, MIB
from schemas.weights import Weights

TopicPart = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
"""A name that ends a topic's."""

HashText = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""A constitutional hash: the policy generation that producers name."""


class AcceptedHash(Contract):
    """A policy generation that producers may name, until a time if it is being withdrawn."""

    hash: HashText
    until: Rfc3339 | None = None


class Verb(StrEnum):
    """What an action does, from harmless to grave."""

    READ = "read"
    CHANGE = "change"
    DELETE = "delete"
    EXECUTE = "execute"
    PAY = "pay"
    PUBLISH = "publish"
    ESCALATE = "escalate"


VERB_POINTS: dict[Verb, Score] = {
    Verb.READ: 1_000,
    Verb.CHANGE: 3_000,
    Verb.DELETE: 6_000,
    Verb.EXECUTE: 4_000,
    Verb.PAY: 5_000,
    Verb.PUBLISH: 5_500,
    Verb.ESCALATE: 8_500,
}
"""What each verb weighs where the policy does not say otherwise."""


def _over_verb_points(given: object) -> object:
    """The given points over the built-in ones, so that a document names only what it changes."""
    if not isinstance(given, dict):
        return given
    builtin = {verb.value: points for verb, points in VERB_POINTS.items()}
    return {**builtin, **cast("dict[str, object]", given)}


class Tool(Contract):
    """What the policy knows of one tool.

    `points` replaces the verb's own weight. The `..._argument` fields name the argument that says what is acted on, how
    many, how much money (in the currency's smallest unit), whose data, what text is written (and what it replaces), an
    SQL statement or a command line to be parsed. `target_argument` may list several names of which one is used.
    An action that lacks a named count, amount, SQL statement or command line, or an action that does more than read and
    names no target where it should, cannot be scored and weighs at least `unknown_tool`.
    """

    verb: Verb
    points: Score | None = None
    reversible: bool = True
    target_argument: str | tuple[str, ...] | None = None
    count_argument: str | None = None
    amount_argument: str | None = None
    tenant_argument: str | None = None
    content_argument: str | tuple[str, ...] | None = None
    replaced_argument: str | None = None
    sql_argument: str | None = None
    command_argument: str | None = None

    @cached_property
    def is_plain(self) -> bool:
        """Whether nothing in the arguments says what is written or run."""
        return self.content_argument is None and self.sql_argument is None and self.command_argument is None

    @cached_property
    def is_measured(self) -> bool:
        """Whether the arguments say how many, how much, or whose."""
        named = (self.count_argument, self.amount_argument, self.tenant_argument)
        return any(name is not None for name in named)

    @cached_property
    def target_arguments(self) -> tuple[str, ...]:
        """The arguments that may name what is acted on."""
        return _names(self.target_argument)

    @cached_property
    def content_arguments(self) -> tuple[str, ...]:
        """The arguments that may hold the text to be written."""
        return _names(self.content_argument)


def _names(given: str | tuple[str, ...] | None) -> tuple[str, ...]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else given


class Tier(Contract):
    """Who must agree, and by when, to an action that scores at least `at_least`.

    Each of the `approvals` comes from another of the `roles`. `relayed` is how many of them may come through callback
    servers; by default all but one. While an item waits, it is reminded of every `remind_every` (default: a quarter of
    the deadline) and escalated once `escalate_after` (default: three quarters) has passed.
    """

    name: Name
    at_least: Score
    approvals: Annotated[int, Field(ge=1)]
    roles: tuple[Name, ...]
    deadline: Duration
    relayed: Annotated[int, Field(ge=0)] | None = None
    remind_every: Duration | None = None
    escalate_after: Duration | None = None

    @model_validator(mode="after")
    def _roles_suffice(self) -> Self:
        if len(set(self.roles)) != len(self.roles) or len(self.roles) < self.approvals:
            raise ValueError("a tier names as many distinct roles as it asks approvals")
        if OWNER in self.roles:
            raise ValueError(f"the role {OWNER} is for changes of the policy alone")
        return self


OWNERS_TO_AGREE = 2
"""How many owners sign a change of the policy."""


class ChaosLimits(Contract):
    """What chaos is allowed: on which targets, for how long, and how many scenarios at once.

    In `targets`, `*` stands for any characters, and an agent has its lanes within it. No scenario lasts longer than
    300 s in any case, and some targets are never allowed: docs/chaos.md lists them.
    """

    targets: Annotated[tuple[TargetPattern, ...], Field(min_length=1)]
    max_duration: Annotated[Duration, Field(le=MAX_DURATION)] = MAX_DURATION
    at_once: Annotated[int, Field(ge=1, le=16)] = 1


class Policy(Contract):
    """One epoch of the policy.

    `epoch` counts up by one a document. `hold_at` is the score from which an action waits for approvals and
    `critical_floor` the least score of an action sent with CRITICAL priority. `type_floors` gives the score of a
    message without an action by its type (0 where absent). `verb_points` and `weights` say what an action weighs; what
    the document leaves out has the built-in value. `tenant_topics` are the tenants with deliveries of their own,
    `queues` the queues of activities that workflows may name. A closed workflow is remembered for
    `keep_closed_workflows`.

    `approvers`, `relays` and `senders` are who may sign, and `owners` the approvers of whom two must sign a change of
    this policy, within `proposal_deadline`. Messages of `signed_tenants` must be signed by their senders, or what they
    ask for weighs at least `unknown_tool`. One sender has at most `max_held_per_sender` items waiting in a lane, and
    all who do not sign together at most `max_held_unverified`, of `max_held_unverified_bytes`. A closed item is
    remembered for `keep_closed_items`, a decision whose item is not there for `keep_early_decisions`; of what expired
    and may be reopened a lane keeps the last `max_reopenable`, of `max_reopenable_bytes`, and as much of senders who do
    not sign.

    `operators` are the approvers who may order what is for operators only; once there are some, they must sign it. Of
    the services in `critical_services` one open breaker makes the service's health critical.

    `recoveries` says by service how it is recovered when a breaker of its opens; `*` is every service that has no rule
    of its own. Without a rule nothing is done. A lane runs at most `max_recoveries_at_once`; what is due beyond that
    waits for its turn, the lowest priority number first.

    `chaos` is what may be done to find out what holds; without it, none is allowed.
    """

    epoch: Annotated[int, Field(ge=1)]
    accepted_hashes: Annotated[tuple[AcceptedHash, ...], Field(min_length=1)]
    hold_at: Score = 8_000
    critical_floor: Score = 9_000
    unknown_tool: Score = 8_000
    type_floors: dict[MessageType, Score] = Field(default_factory=dict[MessageType, Score])
    verb_points: Annotated[dict[Verb, Score], BeforeValidator(_over_verb_points)] = Field(
        default_factory=lambda: dict(VERB_POINTS)
    )
    weights: Weights = Field(default_factory=Weights)
    tools: dict[Name, Tool]
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1)]
    owners: tuple[Name, ...] = ()
    operators: tuple[Name, ...] = ()
    critical_services: tuple[Name, ...] = ()
    recoveries: dict[Name, RecoveryRule] = Field(default_factory=dict[str, RecoveryRule])
    max_recoveries_at_once: Annotated[int, Field(ge=1, le=100_000)] = 4
    tenant_topics: tuple[TopicPart, ...] = ()
    queues: tuple[TopicPart, ...] = (DEFAULT_QUEUE,)
    keep_closed_workflows: Duration = timedelta(days=30)
    approvers: tuple[Approver, ...] = ()
    relays: tuple[Relay, ...] = ()
    senders: tuple[Sender, ...] = ()
    signed_tenants: tuple[Name, ...] = ()
    proposal_deadline: Duration = timedelta(hours=24)
    max_held_per_sender: Annotated[int, Field(ge=1)] = 100
    max_held_unverified: Annotated[int, Field(ge=1)] = 100_000
    max_held_unverified_bytes: Annotated[int, Field(ge=1)] = 256 * MIB
    max_reopenable: Annotated[int, Field(ge=0)] = 1_000
    max_reopenable_bytes: Annotated[int, Field(ge=0)] = 64 * MIB
    keep_closed_items: Duration = timedelta(days=30)
    keep_early_decisions: Duration = timedelta(minutes=10)
    chaos: ChaosLimits | None = None

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        hashes = [accepted.hash for accepted in self.accepted_hashes]
        if len(set(hashes)) != len(hashes):
            raise ValueError("an accepted hash is listed twice")
        if min(tier.at_least for tier in self.tiers) > self.hold_at:
            raise ValueError("no tier covers scores from hold_at up to the lowest tier's at_least")
        _require_distinct("tier", [tier.name for tier in self.tiers])
        if len({tier.at_least for tier in self.tiers}) != len(self.tiers):
            raise ValueError("two tiers begin at the same score")
        if self.unknown_tool < self.hold_at:
            raise ValueError("unknown_tool is below hold_at: an unknown tool would not be held")
        return self

    @model_validator(mode="after")
    def _tells_signers_apart(self) -> Self:
        _require_distinct("approver", [approver.id for approver in self.approvers])
        _require_distinct("relay", [relay.id for relay in self.relays])
        _require_distinct("sender", [f"{sender.tenant_id}/{sender.agent}" for sender in self.senders])
        signers: tuple[Approver | Relay | Sender, ...] = (*self.approvers, *self.relays, *self.senders)
        _require_distinct("public key", [key.public_key for signer in signers for key in signer.keys])
        accounts = [f"{platform}/{name}" for one in self.approvers for platform, name in one.accounts.items()]
        _require_distinct("account", accounts)
        return self

    @model_validator(mode="after")
    def _can_be_changed(self) -> Self:
        """That owners, once there are some, are able to agree."""
        if not self.owners:
            return self
        _require_distinct("owner", self.owners)
        for owner in self.owners:
            approver = self.approver(owner)
            if approver is None or not approver.keys:
                raise ValueError(f"owner {owner!r} is no approver with a key")
        if len(self.owners) < OWNERS_TO_AGREE:
            raise ValueError(f"{OWNERS_TO_AGREE} owners must sign a change, so there must be as many")
        if all(self.are_one_person(self.owners[0], owner) for owner in self.owners):
            raise ValueError("all owners count as one person, since `operates` joins them: nobody could sign with them")
        return self

    @model_validator(mode="after")
    def _operators_can_sign(self) -> Self:
        _require_distinct("operator", self.operators)
        for operator in self.operators:
            approver = self.approver(operator)
            if approver is None or not approver.keys:
                raise ValueError(f"operator {operator!r} is no approver with a key")
        return self

    @model_validator(mode="after")
    def _recoveries_can_run(self) -> Self:
        for service, rule in self.recoveries.items():
            if rule.queue not in self.queues:
                raise ValueError(f"the recovery of {service!r} names queue {rule.queue!r}, which is not in queues")
        return self

    @cached_property
    def preferred_hash(self) -> str:
        """A hash that it accepts, for whoever is free to choose: until further notice, if there is one like that."""
        hashes = self.accepted_hashes
        return next((one.hash for one in hashes if one.until is None), hashes[0].hash)

    @cached_property
    def tiers_from_the_top(self) -> tuple[Tier, ...]:
        """The tiers, the gravest first."""
        return tuple(sorted(self.tiers, key=lambda tier: -tier.at_least))

    def tier_of(self, score: int) -> Tier | None:
        """The tier that a score falls in, or None where it is below hold_at."""
        if score < self.hold_at:
            return None
        return next(tier for tier in self.tiers_from_the_top if score >= tier.at_least)

    def recovery_of(self, service: str) -> RecoveryRule | None:
        """How a service is recovered, or None where nothing is done."""
        return self.recoveries.get(service) or self.recoveries.get(EVERY_SERVICE)

    def approver(self, id_: str) -> Approver | None:
        """The approver of that id."""
        return self._approvers.get(id_)

    def are_one_person(self, one: str, other: str) -> bool:
        """Whether two ids, of approvers or of who asks, count as the same person: `operates` joins them."""
        return self._persons.get(one, one) == self._persons.get(other, other)

    def relay_key(self, id_: str, key_id: str) -> PublicKey | None:
        """A callback server's key."""
        return next((key for relay in self.relays if relay.id == id_ for key in relay.keys if key.id == key_id), None)

    def sender(self, tenant_id: str, agent: str) -> Sender | None:
        """The agent that signs by that name for that tenant."""
        return self._senders.get((tenant_id, agent))

    @cached_property
    def _approvers(self) -> Mapping[str, Approver]:
        return {approver.id: approver for approver in self.approvers}

    @cached_property
    def _persons(self) -> Mapping[str, str]:
        return persons(self.approvers)

    @cached_property
    def _senders(self) -> Mapping[tuple[str, str], Sender]:
        return {(sender.tenant_id, sender.agent): sender for sender in self.senders}

    def canonical(self) -> bytes:
        """The document as it stands in the log: canonical JSON (RFC 8785)."""
        return rfc8785.dumps(self.model_dump(mode="json"))


def _require_distinct(what: str, names: Sequence[str]) -> None:
    """That no name stands twice.

    Raises:
        ValueError: one does.
    """
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(f"{what} {twice[0]!r} is there twice")


@dataclass(frozen=True, slots=True)
class PublishedPolicy:
    """A policy as the log holds it.

    `digest` is the SHA-256 of the published bytes in hexadecimal: the exact content. `reference` is `EPOCH:DIGEST`, as
    it stands on score cards and in the header `acgs-policy`. `accepted` finds an accepted hash by its text.
    """

    policy: Policy
    digest: str
    reference: str
    accepted: Mapping[str, AcceptedHash]


def published(document: bytes) -> PublishedPolicy:
    """Reads a policy as it stands in the log.

    Raises:
        PolicyError: with every place that is wrong.
    """
    try:
        policy = Policy.model_validate_json(document)
    except ValidationError as error:
        raise PolicyError(_places(error)) from error
    digest = hashlib.sha256(document).hexdigest()
    accepted = {accepted.hash: accepted for accepted in policy.accepted_hashes}
    return PublishedPolicy(policy, digest, f"{policy.epoch}:{digest}", accepted)


def from_toml(text: str) -> Policy:
    """Reads a policy as people write it.

    Raises:
        PolicyError: with every place that is wrong.
    """
    try:
        return Policy.model_validate(tomllib.loads(text), strict=False)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"not TOML: {error}") from error
    except ValidationError as error:
        raise PolicyError(_places(error)) from error


def _places(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, place['loc'])) or 'policy'}: {place['msg']}" for place in error.errors())
