"""Signing keys in files."""

import stat
import tracemalloc
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from handlers import senders
from handlers.signatures import is_signed, is_signed_again
from schemas import envelope
from schemas.policy import published
from schemas.registry import Sender, raw_key
from schemas.sender import SenderSignature, encode_signature, parse_signature, signed_bytes
from schemas.topics import MIB
from streams.cli.main import main
from streams.errors import KeyFileError
from streams.keys import SigningKey
from tests.support.deliberated import registry
from tests.support.signing import key, public


def test_a_key_comes_back_from_its_file_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    made, file = SigningKey.generate(), tmp_path / "ann.key"
    made.save(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert SigningKey.load(file).public_key == made.public_key
    file.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        SigningKey.load(file)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "ann.key"
    SigningKey.generate().save(file)
    before = file.read_bytes()
    with pytest.raises(KeyFileError, match="never overwritten"):
        SigningKey.generate().save(file)
    assert file.read_bytes() == before


def test_an_encrypted_key_needs_its_passphrase(tmp_path: Path) -> None:
    made, file = SigningKey.generate(), tmp_path / "ann.key"
    made.save(file, b"open sesame")
    assert SigningKey.load(file, b"open sesame").id == made.id
    with pytest.raises(KeyFileError, match="ACGS_KEY_PASSPHRASE"):
        SigningKey.load(file)
    with pytest.raises(KeyFileError, match="passphrase is wrong"):
        SigningKey.load(file, b"sesame")


def test_a_passphrase_for_a_key_without_one_is_told(tmp_path: Path) -> None:
    file = tmp_path / "ann.key"
    SigningKey.generate().save(file)
    with pytest.raises(KeyFileError, match="has no passphrase"):
        SigningKey.load(file, b"x")


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ann.key"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(KeyFileError, match="is no private key"):
        SigningKey.load(file)
    with pytest.raises(KeyFileError, match="cannot be read"):
        SigningKey.load(tmp_path / "other.key")


def test_a_key_of_another_kind_is_told(tmp_path: Path) -> None:
    file = tmp_path / "rsa.key"
    other = rsa.generate_private_key(65537, 2048)
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(other.private_bytes(*pem))
    file.chmod(0o600)
    with pytest.raises(KeyFileError, match="acgs keys generate"):
        SigningKey.load(file)


def test_a_messages_signature_is_for_its_bytes() -> None:
    made = SigningKey.generate()
    signature = parse_signature(made.message_signature(b"value"))
    raw = raw_key(made.public_key)
    assert signature.key_id == made.id
    assert is_signed(raw, signature.signature, signed_bytes(b"value"))
    assert not is_signed(raw, signature.signature, signed_bytes(b"valuE"))
    assert not is_signed(raw, signature.signature, b"value")


@pytest.mark.parametrize("signature", ["", "x", "A" * 88, "AAAA", "\ud800"])
def test_what_is_no_signature_signs_nothing(signature: str) -> None:
    assert not is_signed(raw_key(SigningKey.generate().public_key), signature, b"value")


def test_an_empty_passphrase_is_refused_and_no_key_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ann.key"
    monkeypatch.setenv("ACGS_KEY_PASSPHRASE", "")
    told = CliRunner().invoke(main, ["keys", "generate", "--passphrase", str(file)])
    assert (told.exit_code, "an empty passphrase" in told.stderr) == (1, True)
    assert not file.exists()


def test_messages_that_somebody_has_not_signed_are_not_remembered() -> None:
    policy = published(registry(senders=(Sender(agent="a", tenant_id="t", keys=(public("a"),)),)).canonical())
    forged = encode_signature(SenderSignature(key("a").id, "A" * 86 + "=="))
    tracemalloc.start()
    try:
        for number in range(20):
            value = number.to_bytes() * MIB
            assert senders.check(senders.Sent("t", "a"), value, ((envelope.SIGNATURE, forged),), policy, 0) is not None
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2 * MIB


def test_long_bytes_are_not_remembered_however_often_they_are_asked_about() -> None:
    raw = raw_key(key("a").public_key)
    tracemalloc.start()
    try:
        for number in range(20):
            assert not is_signed_again(raw, "A" * 86 + "==", number.to_bytes() * MIB)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2 * MIB
    assert is_signed_again(raw, key("a").sign(b"x"), b"x")
    assert not is_signed_again(raw, key("a").sign(b"x"), b"y")


def test_a_new_key_is_for_the_policy_unless_it_is_a_notarys(tmp_path: Path) -> None:
    said = CliRunner().invoke(main, ["keys", "generate", str(tmp_path / "notary.key")]).output
    public_key = SigningKey.load(tmp_path / "notary.key").public_key
    assert f'keys = [{{ public_key = "{public_key}" }}]' in said
    assert "If it is a notary's, never for the policy" in said
    assert f"ACGS_NOTARY_PUBLIC_KEYS={public_key}" in said
