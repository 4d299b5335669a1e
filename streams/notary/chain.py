"""Checkpoints held to each other: signatures, numbers, hashes, and that no tree shrinks. Pure."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from handlers.signatures import is_signed
from schemas import registry
from schemas.checkpoint import FIRST_PREVIOUS, Checkpoint, parse


class Fault(StrEnum):
    """What is wrong with a row of checkpoints."""

    BROKEN = "broken"
    """One was changed, removed, doubled or moved, or is not the notary's."""
    FORKED = "forked"
    """The notary's key has signed two that exclude each other."""


class ChainError(ValueError):
    """A checkpoint does not continue the ones before it; the message says how."""

    def __init__(self, fault: Fault, words: str) -> None:
        super().__init__(words)
        self.fault = fault


def by_id(public_keys: Sequence[str]) -> dict[str, bytes]:
    """Raw public keys by their ids, from base64.

    Raises:
        ValueError: one is no public key.
    """
    raw = [registry.raw_key(text) for text in public_keys]
    return {registry.key_id(one): one for one in raw}


class Chain:
    """Takes checkpoints one after the other, from the first. Holds the last one only.

    `keys` are the notary's public keys by id: several where it has changed its key. None where nobody knows them: then
    no signature is looked at, and it is only the hash in the next one that holds each.
    """

    def __init__(self, keys: Mapping[str, bytes] | None) -> None:
        self._keys = keys
        self.last: Checkpoint | None = None

    def take(self, line: bytes) -> Checkpoint:
        """The next checkpoint, as it is in the file, without the line's end.

        Raises:
            ChainError: it does not continue those before; it is not taken, and none after it should be.
        """
        try:
            read = parse(line)
        except ValueError as error:
            raise ChainError(Fault.BROKEN, f"it is no checkpoint: {error}") from error
        if self._keys is not None:
            _require_signature(read, self._keys)
        self._require_place(read)
        if self.last is not None:
            _require_growth(self.last, read)
        self.last = read
        return read

    def _require_place(self, read: Checkpoint) -> None:
        number = self.last.number if self.last else 0
        digest = self.last.digest if self.last else FIRST_PREVIOUS
        if read.number > number + 1:
            words = f"checkpoint {number + 1} is missing before checkpoint {read.number}"
            raise ChainError(Fault.BROKEN, words)
        if read.number == number + 1:
            if read.previous != digest:
                words = f"checkpoint {read.number} is signed as one after another checkpoint {number} than this one"
                raise ChainError(Fault.FORKED, words)
        elif read.number < number or read.digest == digest:
            words = f"checkpoint {read.number} stands after checkpoint {number}"
            raise ChainError(Fault.BROKEN, words)
        else:
            raise ChainError(Fault.FORKED, f"there are two checkpoints {number}, and key {read.key_id} has signed both")


def _require_signature(read: Checkpoint, keys: Mapping[str, bytes]) -> None:
    raw = keys.get(read.key_id)
    if raw is None:
        known = ", ".join(keys) or "none"
        words = f"checkpoint {read.number} is signed by key {read.key_id}, which is not the notary's ({known})"
        raise ChainError(Fault.BROKEN, words)
    if not is_signed(raw, read.signature, read.signed_bytes):
        words = f"checkpoint {read.number} was changed: key {read.key_id} has not signed it as it stands"
        raise ChainError(Fault.BROKEN, words)


def _require_growth(last: Checkpoint, read: Checkpoint) -> None:
    if (read.prefix, read.cluster_id) != (last.prefix, last.cluster_id):
        words = f"checkpoint {read.number} is of prefix '{read.prefix}' at cluster {read.cluster_id}, those before not"
        raise ChainError(Fault.BROKEN, words)
    if len(read.trees) != len(last.trees):
        words = f"checkpoint {read.number} has {len(read.trees)} trees, those before have {len(last.trees)}"
        raise ChainError(Fault.BROKEN, words)
    for before, after in zip(last.trees, read.trees, strict=True):
        if after.size < before.size:
            words = f"checkpoint {read.number} has fewer records of partition {after.partition} than the one before"
            raise ChainError(Fault.FORKED, words)
        if after.size == before.size and after != before:
            words = f"checkpoint {read.number} has other records of partition {after.partition} than the one before"
            raise ChainError(Fault.FORKED, words)
