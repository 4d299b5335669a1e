"""Signing keys: made and kept in files, and what they sign: decisions and messages."""

import base64
import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas import registry, sender
from schemas.decision import MAX_REASON_CHARACTERS, Decision, Vote, signed_bytes
from schemas.deliberation import DeliberationItem
from schemas.sender import SenderSignature
from streams.errors import KeyFileError
from streams.texts import require_text

_ONLY_OWNER = 0o600
_OTHERS = 0o077


class SigningKey:
    """An Ed25519 private key. `id` and `public_key` are what the policy's registry has of it."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        raw = private.public_key().public_bytes_raw()
        self.public_key, self.id = base64.b64encode(raw).decode(), registry.key_id(raw)

    @classmethod
    def generate(cls) -> Self:
        """A new key from the system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, file: Path, passphrase: bytes | None = None) -> Self:
        """The key in a file (PKCS #8, PEM).

        Raises:
            KeyFileError: it cannot be read, others may read it, or it is no such key.
        """
        try:
            if file.stat().st_mode & _OTHERS:
                raise KeyFileError(f"{file} can be read by others, so that they could sign with it: chmod 600 {file}")
            text = file.read_bytes()
        except OSError as error:
            raise KeyFileError(f"{file} cannot be read: {error.strerror}") from error
        try:
            private = serialization.load_pem_private_key(text, passphrase)
        except TypeError as error:
            wanted = "has a passphrase: set ACGS_KEY_PASSPHRASE" if passphrase is None else "has no passphrase"
            raise KeyFileError(f"{file} {wanted}") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f"{file} is no private key, or the passphrase is wrong") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyFileError(f"{file} is a key of another kind: 'acgs keys generate' makes an Ed25519 key")
        return cls(private)

    def save(self, file: Path, passphrase: bytes | None = None) -> None:
        """Writes the key to a new file that only its owner can read, encrypted where a passphrase is given.

        Raises:
            KeyFileError: the file exists or cannot be written, or the passphrase is empty.
        """
        if passphrase is not None and not passphrase:
            raise KeyFileError(
                "an empty passphrase would leave the key unencrypted. Give one, or none at all: then whoever can read "
                "the file can sign"
            )
        encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        text = self._private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _ONLY_OWNER)
        except FileExistsError:
            raise KeyFileError(f"{file} exists; a key is never overwritten. Name another file") from None
        except OSError as error:
            raise KeyFileError(f"{file} cannot be written: {error.strerror}") from error
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(text)

    def sign(self, signed: bytes) -> str:
        """The signature of exactly these bytes, in base64."""
        return base64.b64encode(self._private.sign(signed)).decode()

    def message_signature(self, value: bytes) -> bytes:
        """The header `agent-signature` for a message of these bytes."""
        return sender.encode_signature(SenderSignature(self.id, self.sign(sender.signed_bytes(value))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who decides, and with which key; with `relay`, the key is a callback server's that speaks for the approver.

    `constitutional_hash` is the policy generation that the signer accepts.
    """

    approver: str
    key: SigningKey
    constitutional_hash: str
    relay: str | None = None

    def decide(self, item: DeliberationItem, vote: Vote, reason: str | None = None) -> Decision:
        """A signed decision on exactly this item.

        Raises:
            UnfitTextError: the reason is empty, too long or no text.
        """
        if reason is not None:
            require_text(reason, "the reason", MAX_REASON_CHARACTERS)
        unsigned = Decision(
            decision_id=str(uuid.uuid4()),
            kind=item.kind,
            item_id=item.item_id,
            digest=item.digest,
            nonce=item.nonce,
            policy=item.policy,
            vote=vote,
            approver=self.approver,
            key_id=self.key.id,
            relay=self.relay,
            reason=reason,
            decided_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            constitutional_hash=self.constitutional_hash,
        )
        signature = self.key.sign(signed_bytes(unsigned.model_dump(mode="json")))
        return unsigned.model_copy(update={"signature": signature})


def encode(decision: Decision) -> bytes:
    """A decision as it is published."""
    return decision.model_dump_json(exclude_none=True).encode()
