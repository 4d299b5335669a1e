"""The check of the constitutional hash: the policy generation that a workflow runs under."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

CONSTITUTIONAL_HASH = "cdd01ef066bc6cf2"
"""The generation of the original system."""

_FORM = re.compile(r"[0-9a-f]{16}", re.ASCII)
_SHOWN = 8
_KEYS = ("is_valid", "reason")


@dataclass(frozen=True, slots=True)
class HashValidation(Mapping[str, object]):
    """The outcome of a check: a mapping whose keys are attributes too. `reason` is empty where it is valid."""

    is_valid: bool
    reason: str = ""

    def __getitem__(self, key: str) -> object:
        if key not in _KEYS:
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)

    def __len__(self) -> int:
        return len(_KEYS)

    def __contains__(self, key: object) -> bool:
        return key in _KEYS


def validate_constitutional_hash(provided: object, expected: str = CONSTITUTIONAL_HASH) -> HashValidation:
    """Whether the hash is the expected one. The reason never shows a whole hash."""
    if not isinstance(provided, str) or not _FORM.fullmatch(provided):
        return HashValidation(is_valid=False, reason="the hash is not 16 lower-case hexadecimal digits")
    if provided != expected:
        return HashValidation(is_valid=False, reason=f"the hash {provided[:_SHOWN]}... is not the expected one")
    return HashValidation(is_valid=True)
