"""Triage: what an admitted message weighs, and whether it goes on or waits for approvals."""

from collections.abc import Mapping
from typing import NamedTuple

import orjson
from pydantic import JsonValue

from handlers import impact
from schemas import deliberation
from schemas.decision import ItemKind
from schemas.deliberation import Terms
from schemas.policy import PublishedPolicy
from schemas.score import ScoreCard

DECISION_VERSION = impact.DECISION_VERSION
"""Rises when the same message and policy would be decided otherwise."""


class Triage(NamedTuple):
    """What was decided on one message.

    `terms` says who must approve, None where the message goes on at once, and `kind` what it is that waits.
    `executable` says whether it holds an action that its receiver may execute. `tenant_topic` is the tenant whose
    deliveries are kept apart, None for all others.
    """

    card: ScoreCard
    terms: Terms | None
    kind: ItemKind
    executable: bool
    receiver: str
    tenant_topic: str | None


def decide(message: Mapping[str, JsonValue], published: PublishedPolicy, *, sender_verified: bool = False) -> Triage:
    """Decides on a message that passed the gateway. A change of the policy always waits."""
    card = impact.score(message, published, sender_verified=sender_verified)
    policy = published.policy
    tenant = str(message["tenant_id"])
    tier = policy.tier_of(card.score)
    terms, kind = None if tier is None else deliberation.terms_of(tier), ItemKind.MESSAGE
    if card.tool == deliberation.CHANGE_POLICY:
        terms, kind = deliberation.terms_of_policy_change(policy), ItemKind.POLICY
    return Triage(
        card=card,
        terms=terms,
        kind=kind,
        executable=card.tool is not None,
        receiver=str(message.get("to_agent") or str(message["conversation_id"]).lower()),
        tenant_topic=tenant if tenant in policy.tenant_topics else None,
    )


def parse(value: bytes) -> dict[str, JsonValue]:
    """A message as the gateway let it pass.

    Raises:
        ValueError: it is no JSON object, so it did not pass the gateway.
    """
    message: JsonValue = orjson.loads(value)
    if not isinstance(message, dict):
        raise ValueError("not an object")  # noqa: TRY004  # the value is wrong, whatever its type
    return message
