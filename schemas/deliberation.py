"""What waits on `deliberation`: the message as it came, and the terms of its release."""

import uuid
from typing import Annotated

from pydantic import Field

from schemas.model import Contract, Name, Rfc3339, Sha256, Uuid


class DeliberationItem(Contract):
    """The header `acgs-item` of a held message, whose value is the message byte for byte.

    `digest` is the SHA-256 of exactly those bytes: an approval is for them and nothing else. The item's deadline is its
    log time plus `deadline_s` seconds, and never past `expires_at`. `nonce` is 16 random bytes from the turn's entropy,
    in hexadecimal. `generation` counts reopenings.
    """

    item_id: Uuid
    message_id: Uuid
    digest: Sha256
    generation: Annotated[int, Field(ge=0)]
    tier: Name
    approvals: Annotated[int, Field(ge=1)]
    roles: tuple[Name, ...]
    deadline_s: Annotated[int, Field(gt=0)]
    expires_at: Rfc3339 | None
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


def item_id(message_id: str, digest: str, generation: int) -> str:
    """The id that a held message has everywhere: a UUID (version 5) of message, exact bytes and generation."""
    return str(uuid.uuid5(uuid.UUID(message_id), f"{digest}:{generation}"))
