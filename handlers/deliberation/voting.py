"""One decision on one open item: does it count, and does the item end by it?"""

from collections.abc import Sequence
from typing import NamedTuple

from handlers.deliberation.ending import End
from handlers.deliberation.entitled import (
    check_approver,
    check_distinct,
    check_signer,
    check_subject,
    lacking,
    weighed_again,
)
from handlers.deliberation.items import Open
from handlers.deliberation.records import approvals
from handlers.deliberation.standing import is_past, withdrawn_hash
from schemas.decision import Decision, Vote
from schemas.deliberation import CountedVote, DeliberationState
from schemas.effects import Refused
from schemas.policy import Policy, PublishedPolicy
from schemas.reasons import Reason


class Moment(NamedTuple):
    """When a decision is taken: by which policy, at which log time, and since when the agent has run on this lane."""

    published: PublishedPolicy
    now_ms: int
    began: int | None


class Voted(NamedTuple):
    """The item after a decision. `refused` says why that did not count, `end` how the item ends."""

    open: Open
    refused: Refused | None = None
    end: End | None = None


def voted(open_: Open, decision: Decision, moment: Moment) -> Voted:
    """The item after a decision on it. What does not count changes nothing.

    An item whose policy generation is withdrawn ends by itself, whatever the decision says.
    """
    gone = withdrawn_hash(open_.item, moment.published, moment.now_ms)
    if gone is not None:
        return Voted(open_, Refused(Reason.ITEM_CLOSED, gone), End(DeliberationState.EXPIRED, gone))
    weighed = weighed_again(open_.row.votes, open_.item, moment.published.policy, moment.now_ms)
    refused = _check(open_, decision, weighed, moment)
    if refused is not None:
        return Voted(open_, refused)
    vote = CountedVote(decision=decision, at=moment.now_ms)
    row = open_.row.model_copy(update={"votes": (*open_.row.votes, vote)})
    after = open_._replace(row=row)
    return Voted(after, None, _end(after, decision, (*weighed, vote), moment.published.policy))


def _check(open_: Open, decision: Decision, weighed: Sequence[CountedVote], moment: Moment) -> Refused | None:
    policy, item = moment.published.policy, open_.item
    if decision.vote is Vote.REOPEN:
        return Refused(Reason.NOT_APPLICABLE, "the item still waits")
    refused = check_subject(decision, item) or check_approver(decision, item, policy)
    if refused is not None:
        return refused
    if is_past(open_, moment.began, moment.now_ms):
        return Refused(Reason.AFTER_DEADLINE, f"signed at {decision.decided_at}; the deadline has passed")
    if any(vote.decision.decision_id == decision.decision_id for vote in weighed):
        return Refused(Reason.REPLAYED, f"decision {decision.decision_id} has been counted")
    standing = [vote.decision for vote in weighed if vote.stands]
    return check_distinct(decision, standing, policy) or check_signer(decision, policy, moment.now_ms, moment.now_ms)


def _end(open_: Open, decision: Decision, weighed: Sequence[CountedVote], policy: Policy) -> End | None:
    """How the item ends by a decision that counts; every other vote has been weighed again at this moment."""
    if decision.vote is Vote.VETO:
        why = f"vetoed by {decision.approver}" + (f": {decision.reason}" if decision.reason else "")
        return End(DeliberationState.REJECTED, why, decision.approver)
    if decision.vote is Vote.APPROVE and lacking(weighed, open_.item, policy).approvals == 0:
        return End(DeliberationState.APPROVED, f"approved by {approvals(weighed)}")
    return None
