"""What is signed with shared secrets: callbacks, items that go to a webhook, and links."""

import hashlib
import hmac
from datetime import timedelta
from typing import Final

from pydantic import SecretStr

MAX_AGE: Final = timedelta(minutes=5)
"""How far a callback's time may be from ours, either way."""

_ITEM: Final = b"acgs-item-v1:"
_TO_WEBHOOK: Final = b"acgs-webhook-v1:"
_FROM_WEBHOOK: Final = b"acgs-callback-v1:"
"""Begin what is signed, so that nothing that one side has signed passes for something of the other's."""


def slack_signature(secret: SecretStr, timestamp: str, body: bytes) -> str:
    """What Slack sends as X-Slack-Signature."""
    return f"v0={_hmac(secret, b'v0:', timestamp, body)}"


def webhook_signature(secret: SecretStr, timestamp: str, body: bytes) -> str:
    """What we send as X-Acgs-Signature."""
    return f"v1={_hmac(secret, _TO_WEBHOOK, timestamp, body)}"


def callback_signature(secret: SecretStr, timestamp: str, body: bytes) -> str:
    """What a webhook's platform sends as X-Acgs-Signature."""
    return f"v1={_hmac(secret, _FROM_WEBHOOK, timestamp, body)}"


def item_token(secret: SecretStr, item_id: str) -> str:
    """What lets one read an item at its link."""
    return hmac.new(secret.get_secret_value().encode(), _ITEM + item_id.encode(), hashlib.sha256).hexdigest()


def is_same(given: str, expected: str) -> bool:
    """Whether two signatures or tokens are the same, in a time that does not say where they differ."""
    return hmac.compare_digest(given.encode(errors="surrogatepass"), expected.encode())


def _hmac(secret: SecretStr, context: bytes, timestamp: str, body: bytes) -> str:
    signed = context + timestamp.encode() + b":" + body
    return hmac.new(secret.get_secret_value().encode(), signed, hashlib.sha256).hexdigest()
