"""The signature that a message may carry, in the header `agent-signature`: `KEY_ID:BASE64`."""

import re
from typing import NamedTuple

_CONTEXT = b"acgs-message-v1\n"
"""Begins what is signed, so that a signature of something else can never be one of a message."""
_FORM = re.compile(rb"([0-9a-f]{16}):([A-Za-z0-9+/]{86}==)", re.ASCII)


class SenderSignature(NamedTuple):
    """An Ed25519 signature in base64, and the id of the key that made it."""

    key_id: str
    signature: str


def signed_bytes(value: bytes) -> bytes:
    """What a sender signs: a context, then the message's exact bytes."""
    return _CONTEXT + value


def encode_signature(signature: SenderSignature) -> bytes:
    """The header's content."""
    return f"{signature.key_id}:{signature.signature}".encode()


def parse_signature(content: bytes | None) -> SenderSignature:
    """Reads the header's content.

    Raises:
        ValueError: it is not `KEY_ID:BASE64`.
    """
    found = _FORM.fullmatch(content or b"")
    if found is None:
        raise ValueError("not KEY_ID:BASE64")
    return SenderSignature(found[1].decode(), found[2].decode())
