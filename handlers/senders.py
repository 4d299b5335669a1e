"""Who sent a message: the signature that it may carry, checked against the policy's registry."""

from collections.abc import Sequence
from typing import NamedTuple

from handlers.proof import claims_signature, unproven
from schemas.effects import Refused
from schemas.policy import PublishedPolicy
from schemas.reasons import Reason

Headers = Sequence[tuple[str, bytes | None]]


class Sent(NamedTuple):
    """Who a record says has sent it."""

    tenant_id: str
    agent: str


def check(sent: Sent, value: bytes, headers: Headers, published: PublishedPolicy, now_ms: int) -> Refused | None:
    """Why a signature that the headers claim does not prove that this agent has sent these bytes.

    None if it does, or if none is claimed.
    """
    if not claims_signature(headers):
        return None
    sender = published.policy.sender(*sent)
    if sender is None:
        detail = f"epoch {published.policy.epoch} has no sender {sent.agent!a} of tenant {sent.tenant_id!a}"
        return Refused(Reason.UNKNOWN_SENDER, detail)
    return unproven(f"sender {sent.agent!a}", sender.keys, value, headers, now_ms)
