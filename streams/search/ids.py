"""Ids as the index keeps them: a UUID as its 16 bytes, any other as text."""

import re
import uuid

Id = bytes | str
"""A UUID's 16 bytes, or at most 128 characters of text."""

MAX_CHARACTERS = 128
_UUID_CHARACTERS = 36
_UUID_BYTES = 16
_HEX = re.compile(r"[0-9a-f]{1,32}", re.ASCII)


def stored(given: object) -> Id | None:
    """An id as it is kept; None for what is none. A longer text is cut, so that whatever a record says can be kept."""
    if not isinstance(given, str) or not given:
        return None
    if len(given) == _UUID_CHARACTERS and given[8] == given[13] == given[18] == given[23] == "-":
        try:
            found = bytes.fromhex(given.replace("-", ""))
        except ValueError:
            found = b""
        if len(found) == _UUID_BYTES:  # fromhex() passes over spaces, and a text may have more than four dashes
            return found
    return given[:MAX_CHARACTERS]


def shown(kept: Id | None) -> str | None:
    """An id as people know it."""
    return str(uuid.UUID(bytes=kept)) if isinstance(kept, bytes) else kept


def ranges(prefix: str) -> list[tuple[Id, Id]]:
    """From which kept id to below which other one all ids are that begin so, of UUIDs and of texts; none if empty."""
    if not prefix:
        return []
    found: list[tuple[Id, Id]] = [(prefix, f"{prefix}\U0010ffff")]
    digits = prefix.lower().replace("-", "")
    if _HEX.fullmatch(digits):
        found.append((bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f")) + b"\0"))
    return found
