"""Who sent a message: the signature that it may carry, checked against the policy's registry."""

from collections.abc import Sequence
from typing import NamedTuple

from handlers.signatures import is_signed, void
from schemas import envelope
from schemas.effects import Refused
from schemas.policy import PublishedPolicy
from schemas.reasons import Reason
from schemas.sender import parse_signature, signed_bytes

Headers = Sequence[tuple[str, bytes | None]]


def claims_signature(headers: Headers) -> bool:
    """Whether the record says that its sender has signed it."""
    return any(name == envelope.SIGNATURE for name, _ in headers)


class Sent(NamedTuple):
    """Who a record says has sent it."""

    tenant_id: str
    agent: str


def check(sent: Sent, value: bytes, headers: Headers, published: PublishedPolicy, now_ms: int) -> Refused | None:
    """Why the signature that the headers claim does not prove that this agent has sent these bytes; None if it does."""
    given = [content for name, content in headers if name == envelope.SIGNATURE]
    try:
        signature = parse_signature(given[0] if len(given) == 1 else None)
    except ValueError:
        return Refused(Reason.BAD_SIGNATURE, f"header {envelope.SIGNATURE} is not once KEY_ID:BASE64")
    sender = published.policy.sender(*sent)
    if sender is None:
        detail = f"epoch {published.policy.epoch} has no sender {sent.agent!a} of tenant {sent.tenant_id!a}"
        return Refused(Reason.UNKNOWN_SENDER, detail)
    key = next((key for key in sender.keys if key.id == signature.key_id), None)
    if key is None:
        return Refused(Reason.UNKNOWN_KEY, f"sender {sent.agent!a} has no key {signature.key_id}")
    if not is_signed(key.raw, signature.signature, signed_bytes(value)):
        return Refused(Reason.BAD_SIGNATURE, f"key {key.id} has not signed this message as it stands")
    return void(key, now_ms, now_ms)
