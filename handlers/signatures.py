"""Ed25519 signatures (RFC 8032): is this the signature of these bytes by this key?"""

import base64
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.effects import Refused
from schemas.model import ms
from schemas.reasons import Reason
from schemas.registry import PublicKey

_KEYS_KEPT = 1_024
_KEPT = 8_192
_SHORT_BYTES = 2_048
"""Decisions are about 700 bytes; with the number kept, this bounds what is remembered to 16 MiB."""


def is_signed(raw_key: bytes, signature: str, signed: bytes) -> bool:
    """Whether a signature in base64 is the key's for exactly these bytes. Never raises. It takes 140 us."""
    try:
        _key(raw_key).verify(base64.b64decode(signature, validate=True), signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def is_signed_again(raw_key: bytes, signature: str, signed: bytes) -> bool:
    """The same for what is asked about more than once, such as votes: the answer for short bytes is remembered."""
    return (
        _remembered(raw_key, signature, signed)
        if len(signed) <= _SHORT_BYTES
        else is_signed(raw_key, signature, signed)
    )


_remembered = lru_cache(_KEPT)(is_signed)


@lru_cache(_KEYS_KEPT)
def _key(raw: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(raw)


def void(key: PublicKey, signed_ms: int, now_ms: int) -> Refused | None:
    """Why a signature that the log has since `signed_ms` does not count at `now_ms`, None where it does.

    A key that has expired signs nothing new, and what it signed before stands; a revoked one takes it along.
    """
    if key.revoked_at is not None and ms(key.revoked_at) <= now_ms:
        return Refused(Reason.KEY_REVOKED, f"key {key.id} was revoked at {key.revoked_at.isoformat()}")
    if key.valid_from is not None and signed_ms < ms(key.valid_from):
        return Refused(Reason.KEY_NOT_YET_VALID, f"key {key.id} is valid from {key.valid_from.isoformat()}")
    if key.valid_until is not None and signed_ms >= ms(key.valid_until):
        return Refused(Reason.KEY_EXPIRED, f"key {key.id} was valid until {key.valid_until.isoformat()}")
    return None
