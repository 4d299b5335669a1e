"""Who gives an order: the signature that an operator's command carries, checked against the policy's registry."""

from collections.abc import Sequence
from typing import NamedTuple

from handlers.proof import claims_signature, unproven
from schemas.effects import Refused
from schemas.policy import PublishedPolicy
from schemas.reasons import Reason

Headers = Sequence[tuple[str, bytes | None]]


class Ordered(NamedTuple):
    """Who a command says has given it, where that is for operators only.

    `must_be_signed`: also while the policy names no operators, so that then nobody may give it.
    """

    operator: str
    must_be_signed: bool = False


def check(ordered: Ordered, value: bytes, headers: Headers, published: PublishedPolicy, now_ms: int) -> Refused | None:
    """Why these bytes are no order of that operator; None if they are, or if nobody has to sign under this policy."""
    policy = published.policy
    is_signed = claims_signature(headers)
    if not is_signed and (policy.operators or ordered.must_be_signed):
        return Refused(Reason.UNSIGNED, "an operator's command bears their signature, in header agent-signature")
    if not is_signed:
        return None
    operator = policy.approver(ordered.operator) if ordered.operator in policy.operators else None
    if operator is None:
        return Refused(Reason.UNKNOWN_OPERATOR, f"epoch {policy.epoch} names no operator {ordered.operator!a}")
    return unproven(f"operator {operator.id!a}", operator.keys, value, headers, now_ms)
