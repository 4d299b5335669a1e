"""Settings of the notary: ACGS_NOTARY_... variables and the table [notary] of acgs.toml."""

import os
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from schemas.registry import PublicKeyText
from streams.errors import SettingsError
from streams.keys import SigningKey
from streams.settings import FileSettings, checked

_PASSPHRASE: Final = "ACGS_KEY_PASSPHRASE"  # noqa: S105  # the name of a variable
_LOCAL: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class NotarySettings(FileSettings):
    """Everything that can be set. A variable (ACGS_NOTARY_ and the name in capitals) counts more than the file."""

    TABLE = "notary"

    model_config = SettingsConfigDict(env_prefix="ACGS_NOTARY_", extra="forbid", frozen=True, hide_input_in_errors=True)

    key_file: Path | None = Field(default=None, description="the notary's signing key, of 'acgs keys generate'")
    file: Path | None = Field(default=None, description="where checkpoints are appended, one a line")
    every_s: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=10, description="seconds between checkpoints, if there is something new"
    )
    public_keys: Annotated[tuple[PublicKeyText, ...], NoDecode] = Field(
        default=(), description="public halves of its keys, by commas: for audits, and where it has changed its key"
    )
    webhook_url: SecretStr | None = Field(default=None, description="where each checkpoint is posted too")
    webhook_token: SecretStr | None = Field(default=None, description="sent along: Authorization: Bearer TOKEN")
    linger_s: Annotated[int, Field(ge=0, le=3_600)] = Field(
        default=60, description="seconds for which a notary that refuses the trail can still be asked for its metrics"
    )

    @field_validator("public_keys", mode="before")
    @classmethod
    def _by_commas(cls, given: object) -> object:
        return [key.strip() for key in given.split(",")] if isinstance(given, str) else given

    @field_validator("webhook_url")
    @classmethod
    def _is_safe(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None:
            place = urlsplit(given.get_secret_value())
            if place.scheme != "https" and not (place.scheme == "http" and place.hostname in _LOCAL):
                raise ValueError("it is an https:// address (http:// on this machine only)")
        return given

    def key(self) -> SigningKey:
        """What it signs with.

        Raises:
            SettingsError: no key is set.
            KeyFileError: it cannot be read.
        """
        if self.key_file is None:
            raise SettingsError(
                "the notary signs with a key of its own, which no worker has: set ACGS_NOTARY_KEY_FILE. 'acgs keys "
                "generate notary.key' makes one; its public half goes to whoever audits, not into the policy"
            )
        given = os.environ.get(_PASSPHRASE)
        return SigningKey.load(self.key_file, given.encode() if given else None)

    def checkpoints(self) -> Path:
        """Where checkpoints go.

        Raises:
            SettingsError: nothing is set, or no name of a file.
        """
        if self.file is None:
            raise SettingsError(
                "the notary keeps its checkpoints in a file: set ACGS_NOTARY_FILE, on a disk that whoever runs the "
                "broker cannot write to"
            )
        if not self.file.name:
            raise SettingsError(f"ACGS_NOTARY_FILE is a folder, {self.file}: set it to a file in it")
        return self.file


def load() -> NotarySettings:
    """Reads the settings.

    Raises:
        SettingsError: a variable or the file is wrong; the message says which and how.
    """
    return checked(NotarySettings)
