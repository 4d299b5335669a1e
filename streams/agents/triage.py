"""The triage agent: scores each admitted message, delivers the harmless, holds the dangerous."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from handlers import impact, triage
from schemas import deliberation, envelope, topics
from schemas.deliberation import DeliberationItem
from schemas.policy import PublishedPolicy
from streams.agents.control import control_input
from streams.agents.naming import Naming
from streams.engine.agent import Agent, View
from streams.engine.records import Emit, Record
from streams.metrics import Measures


def triage_agent(naming: Naming, measures: Measures, tenants: Sequence[str] = ()) -> Agent[None, PublishedPolicy]:
    """The agent; `tenants` are those that have deliveries of their own at its start; a later policy may add some."""
    deliveries, held = naming.topic(topics.DELIVERIES), naming.topic(topics.DELIBERATION)

    def handle(view: View[None, PublishedPolicy], record: Record) -> Sequence[Emit]:
        value = record.value or b""
        message = triage.parse(value)
        is_verified = _header(record, envelope.SENDER_VERIFIED) == b"true"
        decided = triage.decide(message, view.control, sender_verified=is_verified)
        headers = (
            *record.headers,
            (envelope.CARD, impact.encode_card(decided.card)),
            (envelope.EXECUTABLE, b"true" if decided.executable else b"false"),
            (envelope.DELIVERY_ID, envelope.delivery_id(_header(record, envelope.SOURCE))),
        )
        if decided.terms is None:
            topic = (
                deliveries if decided.tenant_topic is None else naming.topic(topics.deliveries_of(decided.tenant_topic))
            )
            return (Emit(topic, decided.receiver.encode(), value, headers, measure=decided.card.score),)
        item = _item(message, value, decided, view, sender_verified=is_verified)
        key = deliberation.key_of(item.kind, item.item_id).encode()
        headers = (*headers, (envelope.ITEM, item.model_dump_json().encode()))
        return (Emit(held, key, value, headers, measure=decided.card.score),)

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


def _header(record: Record, wanted: str) -> bytes:
    """A header of ours. Ours come first, so the first of that name is ours."""
    for name, content in record.headers:
        if name == wanted and content is not None:
            return content
    raise ValueError(f"the record has no header {wanted}: no gateway wrote it")


def _item(
    message: Mapping[str, JsonValue],
    value: bytes,
    decided: triage.Triage,
    view: View[None, PublishedPolicy],
    *,
    sender_verified: bool,
) -> DeliberationItem:
    if decided.terms is None:
        raise ValueError("what is delivered is not held")
    digest = deliberation.digest_of(value)
    message_id = str(message["message_id"])
    item_id = deliberation.item_id(message_id, digest, 0)
    said = {
        **decided.terms._asdict(),
        "item_id": item_id,
        "kind": decided.kind,
        "message_id": message_id,
        "digest": digest,
        "generation": 0,
        "expires_at": message.get("expires_at"),
        "nonce": deliberation.nonce_of(view.entropy(), item_id),
        "policy": view.control.reference,
        "tenant_id": message["tenant_id"],
        "sender": message["from_agent"],
        "sender_verified": sender_verified,
        "constitutional_hash": message["constitutional_hash"],
        "action": _action_digest(message),
        "receiver": decided.receiver,
        "tenant_topic": decided.tenant_topic,
        "score": decided.card.score,
        "tool": decided.card.tool,
    }
    return DeliberationItem.model_validate(said)


def _action_digest(message: Mapping[str, JsonValue]) -> str:
    payload = message.get("payload")
    action = payload.get("action") if isinstance(payload, dict) else None
    given = action if isinstance(action, dict) else {}
    tenant_id, sender, tool = str(message["tenant_id"]), str(message["from_agent"]), given.get("tool")
    asked = given.get("arguments") if given else message["content"]
    return deliberation.action_digest(tenant_id, sender, tool if isinstance(tool, str) else None, asked)
