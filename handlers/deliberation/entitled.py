"""Whether a decision counts: each rule by itself, with the reason it refuses for."""

from collections.abc import Sequence
from typing import NamedTuple

from handlers.deliberation.quorum import Approval, filled, missing
from handlers.signatures import is_signed_again, void
from schemas.decision import Decision, ItemKind, Vote
from schemas.deliberation import CountedVote, DeliberationItem
from schemas.effects import Refused
from schemas.policy import Policy
from schemas.reasons import Reason
from schemas.registry import EVERY_TENANT, OWNER, Approver, PublicKey


def check_signer(decision: Decision, policy: Policy, signed_ms: int, now_ms: int) -> Refused | None:
    """Whether the one it names has signed it, by the registry: with a key that counts at the given times."""
    if decision.signature is None:
        return Refused(Reason.UNSIGNED, f"the decision of {decision.approver!a} has no signature")
    approver = policy.approver(decision.approver)
    if approver is None:
        return Refused(Reason.UNKNOWN_APPROVER, f"epoch {policy.epoch} has no approver {decision.approver!a}")
    key = _key(decision, approver, policy)
    if isinstance(key, Refused):
        return key
    if not is_signed_again(key.raw, decision.signature, decision.signed_bytes):
        return Refused(Reason.BAD_SIGNATURE, f"key {key.id} has not signed this decision as it stands")
    return void(key, signed_ms, now_ms)


def _key(decision: Decision, approver: Approver, policy: Policy) -> PublicKey | Refused:
    if decision.relay is None:
        key = next((key for key in approver.keys if key.id == decision.key_id), None)
        return key or Refused(Reason.UNKNOWN_KEY, f"approver {approver.id!a} has no key {decision.key_id}")
    if all(relay.id != decision.relay for relay in policy.relays):
        return Refused(Reason.UNKNOWN_RELAY, f"epoch {policy.epoch} has no callback server {decision.relay!a}")
    if not approver.accounts:
        return Refused(Reason.NO_ACCOUNT, f"approver {approver.id!a} has no account on a platform")
    key = policy.relay_key(decision.relay, decision.key_id)
    return key or Refused(Reason.UNKNOWN_KEY, f"callback server {decision.relay!a} has no key {decision.key_id}")


def check_subject(decision: Decision, item: DeliberationItem) -> Refused | None:
    """Whether it is about exactly this item."""
    if decision.digest != item.digest:
        detail = f"it is about bytes of digest {decision.digest[:8]}..., the item's is {item.digest[:8]}..."
        return Refused(Reason.WRONG_DIGEST, detail)
    if decision.nonce != item.nonce:
        return Refused(Reason.WRONG_NONCE, "its nonce is not the item's")
    if decision.policy != item.policy:
        detail = f"it names policy {_short(decision.policy)}, the item's is {_short(item.policy)}"
        return Refused(Reason.WRONG_POLICY, detail)
    if decision.kind is not item.kind:
        return Refused(Reason.WRONG_POLICY, f"it is about an item of kind {decision.kind}, this one is {item.kind}")
    return None


def check_approver(decision: Decision, item: DeliberationItem, policy: Policy) -> Refused | None:
    """Whether this approver has a say on this item. Who asks, or runs who does, may only not approve."""
    approver = policy.approver(decision.approver)
    if approver is None:
        return Refused(Reason.UNKNOWN_APPROVER, f"epoch {policy.epoch} has no approver {decision.approver!a}")
    is_approval = decision.vote is Vote.APPROVE
    if is_approval and approver.id == item.sender:
        return Refused(Reason.REQUESTER, f"{approver.id!a} asks for this action")
    if is_approval and policy.are_one_person(approver.id, item.sender):
        detail = f"{approver.id!a} and {item.sender!a}, which asks for this, count as one person"
        return Refused(Reason.OPERATES_REQUESTER, detail)
    is_of_tenant = EVERY_TENANT in approver.tenants or item.tenant_id in approver.tenants
    if item.kind is not ItemKind.POLICY and not is_of_tenant:
        return Refused(Reason.WRONG_TENANT, f"{approver.id!a} has no say on items of tenant {item.tenant_id!a}")
    if not roles(approver, policy) & set(item.roles):
        wanted = ", ".join(dict.fromkeys(item.roles))
        return Refused(Reason.WRONG_ROLE, f"{approver.id!a} has none of the roles {wanted}")
    return None


def check_distinct(decision: Decision, standing: Sequence[Decision], policy: Policy) -> Refused | None:
    """Whether nobody who counts as the same person has a vote that stands; a veto is heard from everybody, once."""
    for other in standing:
        if other.decision_id == decision.decision_id:
            return Refused(Reason.REPLAYED, f"decision {decision.decision_id} has been counted")
        if decision.vote is Vote.VETO:
            continue
        if other.approver == decision.approver:
            return Refused(Reason.ALREADY_VOTED, f"{decision.approver!a} has said {other.vote} before")
        if policy.are_one_person(other.approver, decision.approver):
            detail = f"{other.approver!a} has voted, and the two count as one person"
            return Refused(Reason.SAME_PERSON, detail)
    return None


def roles(approver: Approver, policy: Policy) -> frozenset[str]:
    """An approver's roles, that of an owner of the policy included."""
    named = frozenset(approver.roles)
    return named | {OWNER} if approver.id in policy.owners else named


def weighed_again(
    votes: Sequence[CountedVote], item: DeliberationItem, policy: Policy, now_ms: int
) -> tuple[CountedVote, ...]:
    """The votes, each with whether it still counts under the registry in force; of one person's the first that does."""
    weighed: list[CountedVote] = []
    standing: list[Decision] = []
    for vote in votes:
        refused = (
            check_signer(vote.decision, policy, vote.at, now_ms)
            or check_subject(vote.decision, item)
            or check_approver(vote.decision, item, policy)
            or check_distinct(vote.decision, standing, policy)
        )
        if refused is None:
            standing.append(vote.decision)
        reason = None if refused is None else refused.reason
        weighed.append(CountedVote(decision=vote.decision, at=vote.at, stands=refused is None, reason=reason))
    return tuple(weighed)


class Lacking(NamedTuple):
    """How many more approvals release an item, and the roles of which the next one helps; none where enough stand."""

    approvals: int
    roles: tuple[str, ...]


def lacking(weighed: Sequence[CountedVote], item: DeliberationItem, policy: Policy) -> Lacking:
    """What the approvals that stand lack: distinct approvers in distinct roles, not too many of them relayed."""
    approvals = [
        Approval(roles(approver, policy), vote.decision.relay is not None)
        for vote in weighed
        if vote.stands and vote.decision.vote is Vote.APPROVE and (approver := policy.approver(vote.decision.approver))
    ]
    if not approvals:
        return Lacking(item.approvals, tuple(dict.fromkeys(item.roles)))
    left = item.approvals - filled(item.roles, approvals, item.relayed)
    return Lacking(left, missing(item.roles, approvals, item.relayed)) if left > 0 else Lacking(0, ())


def _short(reference: str) -> str:
    epoch, _, digest = reference.partition(":")
    return f"{epoch}:{digest[:8]}..."
