"""The records that deliberation publishes."""

from collections.abc import Sequence
from datetime import UTC, datetime

import orjson

from handlers.deliberation.entitled import lacking, weighed_again
from handlers.deliberation.items import Open
from schemas import envelope, topics
from schemas.decision import Vote
from schemas.deliberation import (
    CountedVote,
    DeliberationItem,
    DeliberationState,
    DeliberationStatus,
    DeliberationVerdict,
    VoteSummary,
)
from schemas.effects import Headers, Publish
from schemas.policy import Policy, PublishedPolicy
from schemas.workflow import WorkflowVerdict

_STAMP: Headers = ((envelope.VERSION, envelope.CURRENT_VERSION),)


def status(
    open_: Open,
    deadline: int,
    published: PublishedPolicy,
    now_ms: int,
    *,
    state: DeliberationState = DeliberationState.PENDING,
    closed: int | None = None,
    why: str | None = None,
    by: str | None = None,
    reopenable: bool = False,
    reopened_as: str | None = None,
) -> Publish:
    """How an item stands; its votes are weighed by the policy in force."""
    weighed = weighed_again(open_.row.votes, open_.item, published.policy, now_ms)
    is_pending = state is DeliberationState.PENDING
    left = lacking(weighed, open_.item, published.policy) if is_pending else None
    said = DeliberationStatus(
        item=open_.item,
        state=state,
        partition=open_.row.partition,
        offset=open_.row.offset,
        opened=open_.row.opened,
        changed=now_ms,
        deadline=deadline,
        closed=closed,
        votes=tuple(map(_summary, weighed)),
        needed=None if left is None else left.approvals,
        missing=() if left is None else left.roles,
        reminders=open_.row.reminders,
        escalated=open_.row.escalated,
        why=why,
        by=by,
        reopenable=reopenable,
        reopened_as=reopened_as,
    )
    value = said.model_dump_json().encode()
    return Publish(topics.DELIBERATION_STATUS, open_.item.item_id, value, _STAMP)


def _summary(vote: CountedVote) -> VoteSummary:
    said = vote.decision
    return VoteSummary(
        decision_id=said.decision_id,
        approver=said.approver,
        vote=said.vote,
        relay=said.relay,
        reason=said.reason,
        at=vote.at,
        stands=vote.stands,
        void=vote.reason,
    )


def forgotten(item_id: str) -> Publish:
    """The end of an item's status."""
    return Publish(topics.DELIBERATION_STATUS, item_id, None)


def verdict(said: DeliberationVerdict) -> Publish:
    """The public record of an item's end."""
    return Publish(topics.VERDICTS, said.item.item_id, said.model_dump_json().encode(), _STAMP, measure=said.state)


def delivery(item: DeliberationItem, value: bytes, headers: Headers, policy: Policy) -> Publish:
    """What was held goes to its receiver: the same bytes, under the headers it was held with."""
    apart = item.tenant_topic if item.tenant_topic in policy.tenant_topics else None
    topic = topics.DELIVERIES if apart is None else topics.deliveries_of(apart)
    return Publish(topic, item.receiver or item.message_id, value, headers)


def answer(item: DeliberationItem, value: bytes, why: str, *, approved: bool) -> Publish:
    """The answer to the workflow that asks."""
    asked = orjson.loads(value)
    said = WorkflowVerdict(
        item_id=item.item_id,
        workflow_id=asked["workflow_id"],
        run=asked["run"],
        node=asked["node"],
        approved=approved,
        why=why,
    )
    return Publish(topics.WORKFLOWS, said.workflow_id, said.model_dump_json().encode(), _STAMP)


def approvals(votes: Sequence[CountedVote]) -> str:
    """Who has approved, in words."""
    names = [vote.decision.approver for vote in votes if vote.stands and vote.decision.vote is Vote.APPROVE]
    return ", ".join(names)


def instant(at_ms: int) -> str:
    """A log time as people read it, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
