"""Settings: variables, the file, and what is said of those that are wrong."""

import os
import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from streams.errors import SettingsError
from streams.settings import load


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working folder and no variable of ours."""
    for name in [name for name in os.environ if name.startswith("ACGS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_any_setting_there_is_no_broker_and_the_error_says_what_to_set() -> None:
    with pytest.raises(SettingsError, match="ACGS_KAFKA_BOOTSTRAP_SERVERS=host:port"):
        load().engine(client_id="c")


def test_a_variable_counts_more_than_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "acgs.toml").write_text('prefix = "file."\npartitions = 5\n')
    monkeypatch.setenv("ACGS_PREFIX", "variable.")
    settings = load()
    assert (settings.prefix, settings.partitions) == ("variable.", 5)


def test_the_file_may_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    named = tmp_path / "other.toml"
    named.write_text('prefix = "named."')
    monkeypatch.setenv("ACGS_CONFIG", str(named))
    assert load().prefix == "named."


def test_a_named_file_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACGS_CONFIG", str(tmp_path / "missing.toml"))
    with pytest.raises(SettingsError, match="which is no file"):
        load()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prefix = ", "not TOML"),
        ("partitions = 0", "partitions: "),
        ('prefix = "no spaces"', "prefix: "),
        ("nonsense = 1", "nonsense: "),
        ('security_protocol = "HTTP"', "security_protocol: "),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "acgs.toml").write_text(text)
    with pytest.raises(SettingsError, match=said):
        load()


def test_a_wrong_variable_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGS_MIN_TURN_MS", "often")
    with pytest.raises(SettingsError, match="min_turn_ms"):
        load()


def test_the_engine_gets_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGS_KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2")
    monkeypatch.setenv("ACGS_MIN_TURN_MS", "25")
    engine = load().engine(client_id="worker-1")
    assert (engine.bootstrap_servers, engine.prefix, engine.client_id) == ("a:1,b:2", "acgs.", "worker-1")
    assert engine.min_turn == timedelta(milliseconds=25)
    assert engine.security == {"security_protocol": "PLAINTEXT"}
    assert engine.transactional_id("triage", 3) == "acgs.triage-3"
    assert engine.group("triage") == "acgs.triage"


def test_sasl_over_tls_is_passed_through_and_its_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGS_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("ACGS_SASL_MECHANISM", "SCRAM-SHA-512")
    monkeypatch.setenv("ACGS_SASL_USERNAME", "worker")
    monkeypatch.setenv("ACGS_SASL_PASSWORD", "very secret")
    settings = load()
    options = settings.security()
    assert isinstance(options.pop("ssl_context"), ssl.SSLContext)
    assert options == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "worker",
        "sasl_plain_password": "very secret",
    }
    assert "very secret" not in repr(settings)


def test_sasl_without_a_user_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGS_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    with pytest.raises(SettingsError, match="ACGS_SASL_USERNAME and ACGS_SASL_PASSWORD"):
        load().security()


def test_a_tls_file_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACGS_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("ACGS_SSL_CAFILE", str(tmp_path / "missing.pem"))
    with pytest.raises(SettingsError, match="TLS files cannot be used"):
        load().security()
