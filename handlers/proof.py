"""The signature that a record's header `agent-signature` claims: does one of these keys prove it?"""

from collections.abc import Sequence

from handlers.signatures import is_signed, void
from schemas import envelope
from schemas.effects import Refused
from schemas.reasons import Reason
from schemas.registry import PublicKey
from schemas.sender import parse_signature, signed_bytes

Headers = Sequence[tuple[str, bytes | None]]


def claims_signature(headers: Headers) -> bool:
    """Whether the record says that it is signed."""
    return any(name == envelope.SIGNATURE for name, _ in headers)


def unproven(who: str, keys: Sequence[PublicKey], value: bytes, headers: Headers, now_ms: int) -> Refused | None:
    """Why the headers do not prove that the owner of these keys, called `who`, has signed these bytes; None if so."""
    given = [content for name, content in headers if name == envelope.SIGNATURE]
    try:
        signature = parse_signature(given[0] if len(given) == 1 else None)
    except ValueError:
        return Refused(Reason.BAD_SIGNATURE, f"header {envelope.SIGNATURE} is not once KEY_ID:BASE64")
    key = next((key for key in keys if key.id == signature.key_id), None)
    if key is None:
        return Refused(Reason.UNKNOWN_KEY, f"{who} has no key {signature.key_id}")
    if not is_signed(key.raw, signature.signature, signed_bytes(value)):
        return Refused(Reason.BAD_SIGNATURE, f"key {key.id} has not signed this message as it stands")
    return void(key, now_ms, now_ms)
