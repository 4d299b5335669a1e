"""Settings of the platforms that people decide on: ACGS_HITL_... variables and the table [hitl] of acgs.toml."""

import difflib
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from schemas.model import Name
from streams.errors import SettingsError
from streams.keys import SigningKey
from streams.settings import FileSettings, checked

_PREFIX: Final = "ACGS_HITL_"
_PASSPHRASE: Final = "ACGS_KEY_PASSPHRASE"  # noqa: S105  # the name of a variable
_LEAST_SECRET: Final = 32
_LOCAL: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Channel(StrEnum):
    """A platform that cards are posted to."""

    SLACK = "slack"
    WEBHOOK = "webhook"
    TEAMS = "teams"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slack:
    """A Slack app: its bot token, what it signs callbacks with, and the channel of the cards.

    `hooks_url` begins every `response_url` that is called.
    """

    token: SecretStr
    signing_secret: SecretStr
    channel: str
    api_url: str
    hooks_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A platform of one's own: where items go, and the secret that both sides sign with."""

    url: SecretStr
    secret: SecretStr


@dataclass(frozen=True, slots=True, kw_only=True)
class Teams:
    """An incoming webhook of Teams. Its URL is a secret: whoever knows it may post."""

    url: SecretStr


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Where the callback server is seen from outside, and what the links to it are made with."""

    public_url: str
    secret: SecretStr


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayKey:
    """A callback server's name in the policy, and the key it signs with."""

    id: str
    key: SigningKey


class HitlSettings(FileSettings):
    """Everything that can be set. A variable (ACGS_HITL_ and the name in capitals) counts more than the file."""

    TABLE = "hitl"

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    relay: Name | None = Field(default=None, description="this server's id among the policy's `relays`")
    key_file: Path | None = Field(default=None, description="the relay's signing key, of 'acgs keys generate'")
    slack_token: SecretStr | None = Field(default=None, description="the app's bot token, xoxb-...")
    slack_signing_secret: SecretStr | None = Field(default=None, description="what Slack signs callbacks with")
    slack_channel: Name | None = Field(default=None, description="id of the channel for cards, C...")
    slack_api_url: str = Field(default="https://slack.com/api/", description="Slack's API, or a proxy of it")
    slack_hooks_url: str = Field(default="https://hooks.slack.com/", description="begins every response_url")
    webhook_url: SecretStr | None = Field(default=None, description="where a platform of your own takes items")
    webhook_secret: SecretStr | None = Field(default=None, description="shared with it, at least 32 characters")
    teams_url: SecretStr | None = Field(default=None, description="an incoming webhook of Teams")
    host: str = Field(default="127.0.0.1", description="address of the callback server")
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(default=8480, description="its port; 0 for any")
    public_url: str | None = Field(default=None, description="its https:// address as people and platforms see it")
    link_secret: SecretStr | None = Field(default=None, description="of the links, at least 32 characters")
    proxy: SecretStr | None = Field(default=None, description="HTTP proxy for calls to platforms")

    @field_validator("*", mode="before")
    @classmethod
    def _without_space_around(cls, given: object) -> object:
        """As secrets have it that were read from a file with its line's end."""
        return given.strip() if isinstance(given, str) else given

    def slack(self) -> Slack | None:
        """The Slack app, None where nothing of it is set.

        Raises:
            SettingsError: only a part of it is set, or an address is wrong.
        """
        token, secret, channel = self.slack_token, self.slack_signing_secret, self.slack_channel
        if not any((token, secret, channel)):
            return None
        if token is None or secret is None or channel is None:
            missing = _names(slack_token=token, slack_signing_secret=secret, slack_channel=channel)
            raise SettingsError(f"Slack needs {missing} too: docs/hitl.md says where an app has them")
        return Slack(
            token=_filled(token, "slack_token"),
            signing_secret=_filled(secret, "slack_signing_secret"),
            channel=channel,
            api_url=_base(self.slack_api_url, "slack_api_url"),
            hooks_url=_base(self.slack_hooks_url, "slack_hooks_url"),
        )

    def webhook(self) -> Webhook | None:
        """The platform of one's own, None where nothing of it is set. Raises as slack()."""
        url, secret = self.webhook_url, self.webhook_secret
        if not any((url, secret)):
            return None
        if url is None or secret is None:
            missing = _names(webhook_url=url, webhook_secret=secret)
            raise SettingsError(f"a webhook needs {missing} too")
        _base(url.get_secret_value(), "webhook_url")
        return Webhook(url=url, secret=_long(secret, "webhook_secret"))

    def teams(self) -> Teams | None:
        """Teams, None where it is not set. Raises as slack()."""
        if self.teams_url is None:
            return None
        _base(self.teams_url.get_secret_value(), "teams_url")
        return Teams(url=self.teams_url)

    def links(self) -> Links:
        """Where whole items are shown.

        Raises:
            SettingsError: not all of it is set, or it is wrong.
        """
        url, secret = self.public_url, self.link_secret
        if url is None or secret is None:
            missing = _names(public_url=url, link_secret=secret)
            raise SettingsError(
                f"cards link to the whole item: set {missing}. The secret may be any 32 characters or more, such as of "
                "'openssl rand -hex 32', and is the same wherever cards are posted and links are served"
            )
        if "?" in url or "#" in url:
            raise SettingsError(f"{_variable('public_url')} is an address that paths can be added to, without ? and #")
        return Links(public_url=_base(url, "public_url").rstrip("/"), secret=_long(secret, "link_secret"))

    def relay_key(self) -> RelayKey:
        """Who signs what people say on a platform.

        Raises:
            SettingsError: not all of it is set.
            KeyFileError: the key cannot be read.
        """
        if self.relay is None or self.key_file is None:
            missing = _names(relay=self.relay, key_file=self.key_file)
            raise SettingsError(
                f"a callback server signs with a key of its own: set {missing}. 'acgs keys generate relay.key' makes a "
                "key, whose public half goes to `relays` in the policy, under the server's id"
            )
        passphrase = os.environ.get(_PASSPHRASE)
        return RelayKey(id=self.relay, key=SigningKey.load(self.key_file, passphrase.encode() if passphrase else None))


def load() -> HitlSettings:
    """Reads the settings.

    Raises:
        SettingsError: a variable or the file is wrong; the message says which and how.
    """
    return checked(HitlSettings)


def unknown_variables() -> list[str]:
    """What is said of each ACGS_HITL_... variable that is no setting: a mistyped one would be left out in silence."""
    known = {f"{_PREFIX}{name}" for name in _in_capitals()}
    said: list[str] = []
    for name in sorted(os.environ):
        if name.upper().startswith(_PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper().removeprefix(_PREFIX), _in_capitals(), n=1)
            said.append(
                f"{name} is no setting and does nothing" + (f"; is {_PREFIX}{close[0]} meant?" if close else "")
            )
    return said


def _in_capitals() -> list[str]:
    return [name.upper() for name in HitlSettings.model_fields]


def _names(**given: object) -> str:
    """The variables of what is not there."""
    return " and ".join(_variable(name) for name, value in given.items() if value is None)


def _variable(name: str) -> str:
    return f"{_PREFIX}{name.upper()}"


def _filled(secret: SecretStr, name: str) -> SecretStr:
    if not secret.get_secret_value().strip():
        raise SettingsError(f"{_variable(name)} is empty")
    return secret


def _long(secret: SecretStr, name: str) -> SecretStr:
    if len(secret.get_secret_value()) < _LEAST_SECRET:
        raise SettingsError(
            f"{_variable(name)} is too short to be a secret: at least {_LEAST_SECRET} characters, such as of 'openssl "
            "rand -hex 32'"
        )
    return secret


def _base(url: str, name: str) -> str:
    """An address that may be called: https, or http on this machine."""
    try:
        place = urlsplit(url)
        is_safe = place.scheme == "https" or (place.scheme == "http" and place.hostname in _LOCAL)
        is_plain = bool(place.hostname) and place.username is None and place.port != 0
    except ValueError:
        is_safe = is_plain = False
    if not is_safe or not is_plain:
        raise SettingsError(f"{_variable(name)} is an https:// address (http:// on this machine only), without a user")
    return url
