"""Where health is served over HTTP, and to whom."""

from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from streams.settings import FileSettings, checked


class HealthSettings(FileSettings):
    """Everything that can be set. A variable (ACGS_HEALTH_ and the name in capitals) counts more than the file."""

    TABLE = "health"

    model_config = SettingsConfigDict(env_prefix="ACGS_HEALTH_", extra="forbid", frozen=True, hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", description="address of /health")
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(default=8094, description="its port; 0 for any")
    token: SecretStr | None = Field(
        default=None, min_length=16, description="who asks must send it: Authorization: Bearer TOKEN"
    )


def load() -> HealthSettings:
    """Reads the settings.

    Raises:
        SettingsError: a variable or the file is wrong; the message says which and how.
    """
    return checked(HealthSettings)
