"""What the orchestrator holds for approval: a call, an approval node, or a start whose compensations weigh too much."""

import uuid
from collections.abc import Mapping
from typing import NamedTuple

import orjson

from compensation.definition import Node
from compensation.durable.effects import Headers, Scorer
from compensation.durable.rows import Case
from compensation.durable.weighing import heaviest_undo
from schemas import deliberation, envelope
from schemas.decision import ItemKind
from schemas.policy import PublishedPolicy, Tier
from schemas.score import ScoreCard, encode_card

_SPACE = uuid.UUID("8a1f4f0e-9d0c-5b52-9d57-0c4a3a0c7d1e")
"""The namespace of what workflows ask approval for."""


class Item(NamedTuple):
    """A record on `deliberation`. The approval binds exactly the bytes of `value`."""

    item_id: str
    value: bytes
    headers: Headers
    score: int | None = None
    why: str = ""


def item_of_start(case: Case, scorer: Scorer, policy: PublishedPolicy, entropy: bytes) -> Item:
    """The start as a whole: its definition and input."""
    weighed = heaviest_undo(case, scorer, policy)
    if weighed is None:
        raise RuntimeError("no compensation must be approved")
    asked = {
        "definition": orjson.Fragment(case.prepared.text),
        "input": orjson.Fragment(case.input),
        "why": f"compensation {weighed.activity} weighs {weighed.card.score}",
    }
    tier = policy.policy.tier_of(weighed.card.score)
    return _item(case, None, asked, _Terms(tier, weighed.card, None, policy, entropy))


def item_of_node(
    case: Case,
    node: Node,
    inputs: Mapping[str, bytes],
    card: ScoreCard | None,
    *,
    policy: PublishedPolicy,
    entropy: bytes,
) -> Item:
    """A call that weighs as `card` says, or an approval node (card None), with the results it is given."""
    undo = node.compensation
    asked: dict[str, object] = {
        "name": node.name,
        "activity": node.activity,
        "queue": node.queue,
        "input": orjson.Fragment(case.input),
        "inputs": {id_: orjson.Fragment(result) for id_, result in inputs.items()},
        "compensation": undo.activity if undo else None,
    }
    if card is not None:
        terms = _Terms(policy.policy.tier_of(card.score), card, None, policy, entropy)
    else:
        approval = node.approval
        named = approval.tier if approval else ""
        tier = next((tier for tier in policy.policy.tiers if tier.name == named), policy.policy.tiers_from_the_top[0])
        terms = _Terms(tier, None, approval.deadline_ms if approval else None, policy, entropy)
    return _item(case, node.id, asked, terms)


def withdrawn(item_id: str, workflow_id: str, why: str) -> Item:
    """The word that an item is of no use any more."""
    value = orjson.dumps({"v": 1, "item_id": item_id, "workflow_id": workflow_id, "why": why})
    return Item(item_id, value, ((envelope.VERSION, envelope.CURRENT_VERSION), (envelope.WITHDRAWN, item_id.encode())))


class _Terms(NamedTuple):
    tier: Tier | None
    card: ScoreCard | None
    deadline_ms: int | None
    policy: PublishedPolicy
    entropy: bytes


def _item(case: Case, node: str | None, asked: Mapping[str, object], terms: _Terms) -> Item:
    tier, card, deadline_ms, policy, entropy = terms
    if tier is None:
        raise RuntimeError("what needs no approval is not held")
    named = {"v": 1, "workflow_id": case.workflow_id, "run": case.run, "node": node, "tenant_id": case.tenant_id}
    value = orjson.dumps({**named, "requested_by": case.requested_by, **asked})
    digest = deliberation.digest_of(value)
    message_id = str(uuid.uuid5(_SPACE, f"{case.run}/{node or ''}"))
    item_id = deliberation.item_id(message_id, digest, 0)
    item = deliberation.DeliberationItem(
        item_id=item_id,
        kind=ItemKind.WORKFLOW,
        message_id=message_id,
        digest=digest,
        generation=0,
        **deliberation.terms_of(tier, None if deadline_ms is None else deadline_ms // 1_000)._asdict(),
        expires_at=None,
        nonce=deliberation.nonce_of(entropy, item_id),
        policy=policy.reference,
        tenant_id=case.tenant_id,
        sender=case.requested_by,
        sender_verified=case.verified,
        constitutional_hash=case.constitutional_hash,
        action=deliberation.action_digest(
            case.tenant_id, case.requested_by, None if card is None else card.tool, orjson.loads(case.input)
        ),
        score=None if card is None else card.score,
        tool=None if card is None else card.tool,
    )
    headers: Headers = (
        (envelope.VERSION, envelope.CURRENT_VERSION),
        (envelope.POLICY, policy.reference.encode()),
        (envelope.WORKFLOW, case.workflow_id.encode()),
        (envelope.ITEM, item.model_dump_json().encode()),
    )
    why = f"{tier.approvals} approvals of tier {tier.name}"
    if card is None:
        return Item(item_id, value, headers, None, why)
    return Item(item_id, value, (*headers, (envelope.CARD, encode_card(card))), card.score, why)
