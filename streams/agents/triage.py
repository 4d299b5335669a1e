"""The triage agent: scores each admitted message, delivers the harmless, holds the dangerous."""

import hashlib
from collections.abc import Mapping, Sequence

import orjson
from pydantic import JsonValue

from handlers import impact, triage
from schemas import deliberation, envelope, topics
from schemas.deliberation import DeliberationItem
from schemas.policy import PublishedPolicy, Tier
from streams.agents.control import control_input
from streams.agents.naming import Naming
from streams.engine.agent import Agent, View
from streams.engine.records import Emit, Record
from streams.metrics import Measures

_NONCE_BYTES = 16


def triage_agent(naming: Naming, measures: Measures, tenants: Sequence[str] = ()) -> Agent[None, PublishedPolicy]:
    """The agent; `tenants` are those that have deliveries of their own at its start; a later policy may add some."""
    deliveries, held = naming.topic(topics.DELIVERIES), naming.topic(topics.DELIBERATION)

    def handle(view: View[None, PublishedPolicy], record: Record) -> Sequence[Emit]:
        value = record.value or b""
        message = triage.parse(value)
        decided = triage.decide(message, view.control)
        headers = (
            *record.headers,
            (envelope.CARD, impact.encode_card(decided.card)),
            (envelope.SENDER_VERIFIED, b"false"),
            (envelope.EXECUTABLE, b"true" if decided.executable else b"false"),
            (envelope.DELIVERY_ID, envelope.delivery_id(_source(record))),
        )
        if decided.tier is None:
            topic = (
                deliveries if decided.tenant_topic is None else naming.topic(topics.deliveries_of(decided.tenant_topic))
            )
            return (Emit(topic, decided.receiver.encode(), value, headers, measure=decided.card.score),)
        item = _item(message, value, decided.tier, view.entropy())
        headers = (*headers, (envelope.ITEM, orjson.dumps(item.model_dump(mode="json"))))
        return (Emit(held, item.item_id.encode(), value, headers, measure=decided.card.score),)

    def of_tenants(tenants: Sequence[str]) -> tuple[str, ...]:
        return tuple(naming.topic(topics.deliveries_of(tenant)) for tenant in tenants)

    return Agent(
        name=topics.TRIAGE,
        inbox=(naming.topic(topics.MESSAGES),),
        outputs=(deliveries, held, *of_tenants(tenants)),
        topics=naming.own(topics.TRIAGE),
        handler=handle,
        decision_version=triage.DECISION_VERSION,
        control=control_input(naming),
        measure=measures.scores,
        outputs_under=lambda published: of_tenants(published.policy.tenant_topics),
    )


def _source(record: Record) -> bytes:
    """Where the producer's record stands. Headers of ours come first, so the first of that name is ours."""
    for name, content in record.headers:
        if name == envelope.SOURCE and content is not None:
            return content
    raise ValueError("the record has no source: no gateway wrote it")


def _item(message: Mapping[str, JsonValue], value: bytes, tier: Tier, entropy: bytes) -> DeliberationItem:
    digest = hashlib.sha256(value).hexdigest()
    message_id = str(message["message_id"])
    return DeliberationItem.model_validate(
        {
            "item_id": deliberation.item_id(message_id, digest, 0),
            "message_id": message_id,
            "digest": digest,
            "generation": 0,
            "tier": tier.name,
            "approvals": tier.approvals,
            "roles": tier.roles,
            "deadline_s": int(tier.deadline.total_seconds()),
            "expires_at": message.get("expires_at"),
            "nonce": entropy[:_NONCE_BYTES].hex(),
        }
    )
