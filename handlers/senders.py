"""Who sent a message: the signature that it may carry, checked against the policy's registry."""

from collections.abc import Sequence
from typing import NamedTuple

from handlers.proof import claims_signature, unproven
from schemas.effects import Refused
from schemas.policy import PublishedPolicy
from schemas.reasons import Reason

Headers = Sequence[tuple[str, bytes | None]]


class Sent(NamedTuple):
    """Who a record says has sent it; `proposes`: it proposes a policy, which approvers may sign with their own keys."""

    tenant_id: str
    agent: str
    proposes: bool = False


def check(sent: Sent, value: bytes, headers: Headers, published: PublishedPolicy, now_ms: int) -> Refused | None:
    """Why a signature that the headers claim does not prove that this agent has sent these bytes.

    None if it does, or if none is claimed.
    """
    if not claims_signature(headers):
        return None
    policy = published.policy
    sender, approver = policy.sender(sent.tenant_id, sent.agent), policy.approver(sent.agent)
    keys = () if sender is None else sender.keys
    if sent.proposes and approver is not None:
        keys = (*keys, *approver.keys)
    elif sender is None:
        detail = f"epoch {policy.epoch} has no sender {sent.agent!a} of tenant {sent.tenant_id!a}"
        return Refused(Reason.UNKNOWN_SENDER, detail)
    return unproven(f"sender {sent.agent!a}", keys, value, headers, now_ms)
