"""Settings of the platforms: where they come from, what is said of those that are missing, and what is never said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from schemas import topics
from streams.acls import Kind, acls
from streams.cli.main import main
from streams.engine.client import EngineSettings
from streams.errors import SettingsError
from streams.hitl import HITLManager
from streams.hitl.running import GROUP
from streams.hitl.settings import Channel, HitlSettings, load, unknown_variables
from streams.settings import load as load_all
from tests.support.platform import LINK_SECRET, SECRETS, SIGNING_SECRET, TOKEN, WEBHOOK_SECRET

ENGINE = EngineSettings(bootstrap_servers="127.0.0.1:1", prefix="t.", client_id="c")
LINKS = {"public_url": "https://approvals.example.com", "link_secret": LINK_SECRET}


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("ACGS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_a_variable_counts_more_than_the_table_of_the_file_and_the_other_settings_leave_the_table_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "acgs.toml").write_text('prefix = "file."\n[hitl]\nrelay = "office"\nport = 1\nslack_channel = "C1"\n')
    monkeypatch.setenv("ACGS_HITL_PORT", "2")
    monkeypatch.setenv("ACGS_HITL_SLACK_TOKEN", f" {TOKEN}\n")
    own = load()
    assert (own.relay, own.port, own.slack_channel) == ("office", 2, "C1")
    assert own.slack_token == SecretStr(TOKEN)
    assert load_all().prefix == "file."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[hitl]\nport = 70000", "hitl.port: "),
        ('[hitl]\nnonsense = "1"', "hitl.nonsense: "),
        ('hitl = "1"', "hitl is a table"),
        ("[other]\nport = 1", "other: "),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "acgs.toml").write_text(text)
    with pytest.raises(SettingsError, match=said):
        (load_all if "other" in text else load)()


def test_what_is_set_in_part_is_told_by_the_variables_that_are_missing() -> None:
    with pytest.raises(SettingsError, match="ACGS_HITL_SLACK_SIGNING_SECRET and ACGS_HITL_SLACK_CHANNEL"):
        HitlSettings(slack_token=TOKEN).slack()
    with pytest.raises(SettingsError, match="ACGS_HITL_WEBHOOK_SECRET"):
        HitlSettings(webhook_url="https://example.com/").webhook()
    with pytest.raises(SettingsError, match="ACGS_HITL_PUBLIC_URL and ACGS_HITL_LINK_SECRET"):
        HitlSettings().links()
    with pytest.raises(SettingsError, match="ACGS_HITL_RELAY and ACGS_HITL_KEY_FILE"):
        HitlSettings().relay_key()
    with pytest.raises(SettingsError, match="no platform is set"):
        HITLManager(ENGINE, HitlSettings(**LINKS))
    assert (HitlSettings().slack(), HitlSettings().webhook(), HitlSettings().teams()) == (None, None, None)


@pytest.mark.parametrize(
    "url", ["http://example.com/", "ftp://example.com", "https://u:p@example.com/", "https:///x", "x"]
)
def test_secrets_go_over_tls_or_not_off_this_machine(url: str) -> None:
    with pytest.raises(SettingsError, match=r"ACGS_HITL_TEAMS_URL is an https:// address"):
        HitlSettings(teams_url=url).teams()
    with pytest.raises(SettingsError, match=r"ACGS_HITL_SLACK_API_URL is an https:// address"):
        HitlSettings(slack_token=TOKEN, slack_signing_secret="s", slack_channel="C", slack_api_url=url).slack()  # noqa: S106


def test_short_and_empty_secrets_are_none() -> None:
    with pytest.raises(SettingsError, match="ACGS_HITL_LINK_SECRET is too short"):
        HitlSettings(public_url="https://example.com", link_secret="short").links()  # noqa: S106
    with pytest.raises(SettingsError, match="ACGS_HITL_SLACK_SIGNING_SECRET is empty"):
        HitlSettings(slack_token=TOKEN, slack_signing_secret=" ", slack_channel="C").slack()  # noqa: S106
    with pytest.raises(SettingsError, match="without \\? and #"):
        HitlSettings(public_url="https://example.com/?a=1", link_secret=LINK_SECRET).links()


def test_no_secret_is_in_a_representation_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    own = HitlSettings(
        slack_token=TOKEN,
        slack_signing_secret=SIGNING_SECRET,
        slack_channel="C1",
        webhook_url="https://example.com/in/a-secret-path",
        webhook_secret=WEBHOOK_SECRET,
        teams_url="https://example.com/webhookb2/a-secret-path",
        **LINKS,
    )
    manager = HITLManager(ENGINE, own)
    said = (
        f"{own!r} {own} {own.slack()!r} {own.webhook()!r} {own.teams()!r} {own.links()!r} {manager!r} {vars(manager)!r}"
    )
    for secret in (*SECRETS, "a-secret-path"):
        assert secret not in said
    monkeypatch.setenv("ACGS_HITL_SLACK_TOKEN", TOKEN)
    monkeypatch.setenv("ACGS_HITL_PORT", "none")
    with pytest.raises(SettingsError) as wrong:
        load()
    assert TOKEN not in f"{wrong.value} {wrong.value.__cause__}"


def test_the_groups_and_topics_are_those_that_the_role_of_approvers_may_read() -> None:
    own = [acl for acl in acls("t.") if acl.principal == "User:approvers"]
    groups = [acl.name for acl in own if acl.kind is Kind.GROUP and acl.prefixed and "Read" in acl.operations]
    for channel in Channel:
        assert any(ENGINE.group(f"{GROUP}.{channel}").startswith(group) for group in groups)
    read = {acl.name for acl in own if acl.kind is Kind.TOPIC and "Read" in acl.operations}
    followed = (topics.DELIBERATION, topics.DELIBERATION_STATUS, topics.CONTROL, topics.REJECTED)
    assert {f"t.{name}" for name in followed} <= read


_WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


@pytest.mark.parametrize("name", ["aiohttp", "slack_sdk"])
def test_without_the_extra_the_error_says_what_to_install(name: str) -> None:
    root = Path(__file__).parents[2]
    code = _WITHOUT.format(name=name)
    imported = f"{code}\ntry:\n    import streams.hitl\nexcept ImportError as error:\n    print(error)"
    told = subprocess.run([sys.executable, "-c", imported], cwd=root, capture_output=True, text=True, check=True)
    assert told.stdout == f"cards and callbacks need {name}: pip install 'acgs-streams[hitl]'\n"
    command = f"{code}\nfrom streams.cli.main import run\nrun(['hitl', 'run'])"
    ended = subprocess.run([sys.executable, "-c", command], cwd=root, capture_output=True, text=True, check=False)
    assert (ended.returncode, "pip install 'acgs-streams[hitl]'" in ended.stderr) == (2, True)
    helped = f"{code}\nfrom streams.cli.main import run\nrun(['hitl', 'run', '--help'])"
    assert subprocess.run([sys.executable, "-c", helped], cwd=root, capture_output=True, check=True).returncode == 0


def test_a_platform_that_is_not_set_is_told_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**LINKS, "teams_url": "https://teams.example.com/hook"}.items():
        monkeypatch.setenv(f"ACGS_HITL_{name.upper()}", value)
    monkeypatch.setenv("ACGS_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    told = CliRunner().invoke(main, ["hitl", "post", "0b9e5b4e-0f0c-4f43-9c3e-0c7a4a5f2f10", "--channel", "slack"])
    assert (told.exit_code, "the platform 'slack' is not set; set are: teams" in told.stderr) == (2, True)
    told = CliRunner().invoke(main, ["hitl", "post", "item", "--channel", "teams"])
    assert (told.exit_code, "'item' is no item's id" in told.stderr) == (1, True)


def test_a_variable_that_is_no_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGS_HITL_SLACK_CHANEL", "C1")
    monkeypatch.setenv("ACGS_HITL_PORT", "2")
    monkeypatch.setenv("ACGS_HITL_ZZZ", "x")
    assert unknown_variables() == [
        "ACGS_HITL_SLACK_CHANEL is no setting and does nothing; is ACGS_HITL_SLACK_CHANNEL meant?",
        "ACGS_HITL_ZZZ is no setting and does nothing",
    ]
    assert "ACGS_HITL_SLACK_CHANEL" in CliRunner().invoke(main, ["hitl", "run"]).stderr
