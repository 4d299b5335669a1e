"""An expired item waits anew: as a new item, under the terms of the policy in force."""

from handlers.deliberation import records
from handlers.deliberation.items import Held, Open
from handlers.deliberation.keeping import forget_ms, released
from handlers.deliberation.rows import Closed, Row, encode, held_key, item_key
from handlers.deliberation.standing import withdrawn_hash
from schemas import deliberation, envelope, topics
from schemas.decision import Decision
from schemas.deliberation import DeliberationItem, DeliberationState, Terms
from schemas.effects import Decided, Forget, Keep, Publish, Refused, Surroundings
from schemas.model import ms
from schemas.policy import Policy
from schemas.reasons import Reason


def reopened(closed: Closed, open_: Open, said: Decision, held: Held, view: Surroundings[Row]) -> Decided[Row]:
    """The new item, of the next generation, or why there is none: its message must still be fit to be acted on."""
    item, now, published = open_.item, view.clock_ms, view.control
    gone = withdrawn_hash(item, published, now)
    if gone is None and item.expires_at is not None and ms(item.expires_at) <= now:
        gone = f"the message itself expired at {item.expires_at.isoformat()}"
    if gone is not None:
        return Refused(Reason.NOT_APPLICABLE, gone)
    value, headers = held
    renewed = _next(item, _terms(item, published.policy), published.reference, view.entropy())
    own = tuple((n, renewed.model_dump_json().encode() if n == envelope.ITEM else c) for n, c in headers)
    after = closed.model_copy(
        update={
            "open": None,
            "slot": None,
            "reopened_as": renewed.item_id,
            "decisions": (*closed.decisions, said.decision_id),
        }
    )
    why = f"reopened by {said.approver}" + (f": {said.reason}" if said.reason else "")
    told = records.status(
        open_,
        closed.deadline or closed.closed,
        published,
        now,
        state=DeliberationState.EXPIRED,
        closed=closed.closed,
        why=why,
        by=said.approver,
        reopened_as=renewed.item_id,
    )
    return [
        Publish(topics.DELIBERATION, renewed.item_id, value, own),
        Keep(item_key(item.item_id), encode(after), forget_ms(closed.closed, published.policy)),
        Forget(held_key(item.item_id)),
        *released(closed, view),
        told,
    ]


def _terms(item: DeliberationItem, policy: Policy) -> Terms:
    tier = None if item.score is None else policy.tier_of(item.score)
    if tier is not None:
        return deliberation.terms_of(tier)
    return Terms(item.tier, item.approvals, item.roles, item.relayed, item.deadline_s, item.remind_s, item.escalate_s)


def _next(item: DeliberationItem, terms: Terms, reference: str, entropy: bytes) -> DeliberationItem:
    generation = item.generation + 1
    item_id = deliberation.item_id(item.message_id, item.digest, generation)
    named = {
        "item_id": item_id,
        "generation": generation,
        "policy": reference,
        "nonce": deliberation.nonce_of(entropy, item_id),
    }
    return item.model_copy(update={**terms._asdict(), **named})
