"""What a button of a card says when it is clicked: on which item, exactly as it was shown, and how to vote."""

import re
from typing import Final, NamedTuple

from schemas.decision import Vote
from schemas.deliberation import DeliberationItem

ACTIONS: Final = {"acgs_approve": Vote.APPROVE, "acgs_veto": Vote.VETO}
"""The votes of a card's buttons, by the buttons' names."""

_VALUE: Final = re.compile(r"v1\.([0-9a-f-]{36})\.([0-9a-f]{64})\.([0-9a-f]{32})", re.ASCII)


class Subject(NamedTuple):
    """The item that was shown, with the digest of the bytes that were and the nonce."""

    item_id: str
    digest: str
    nonce: str

    def is_of(self, item: DeliberationItem) -> bool:
        """Whether this is what was shown of that item."""
        return self == (item.item_id, item.digest, item.nonce)


def encode(item: DeliberationItem) -> str:
    """A button's value: letters, digits, dots and hyphens alone, which no platform escapes."""
    return f"v1.{item.item_id}.{item.digest}.{item.nonce}"


def decode(value: str) -> Subject:
    """What a button's value says.

    Raises:
        ValueError: it is none of ours.
    """
    found = _VALUE.fullmatch(value)
    if found is None:
        raise ValueError("the button's value is none of ours")
    return Subject(*found.groups())
