"""Settings: read once, from ACGS_... variables and a TOML file, and passed on from there."""

import os
import ssl
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, cast

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from streams.engine.client import EngineSettings
from streams.errors import SettingsError

CONFIG_VARIABLE = "ACGS_CONFIG"
"""Names the TOML file; without it `acgs.toml` in the working folder is read, if there is one."""

TABLES: Final = frozenset({"hitl", "health", "notary"})
"""Tables of the file that have settings of their own."""

Kind = TypeVar("Kind", bound="FileSettings")


class FileSettings(BaseSettings):
    """Settings that a file may hold too: arguments count first, then variables, then the file.

    `TABLE` names the table of the file that they stand in; without one they stand before all tables.
    """

    TABLE: ClassVar[str | None] = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Reads the file.

        Raises:
            SettingsError: what should be a table in it is none.
        """
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, InitSettingsSource(settings_cls, cls._in_file())

    @classmethod
    def _in_file(cls) -> dict[str, Any]:
        content = _file_content()
        if cls.TABLE is None:
            return {name: value for name, value in content.items() if name not in TABLES}
        table = content.get(cls.TABLE, {})
        if not isinstance(table, dict):
            raise SettingsError(f"in the settings file, {cls.TABLE} is a table: [{cls.TABLE}]")
        return cast("dict[str, Any]", table)


class Settings(FileSettings):
    """Everything that can be set. A variable (ACGS_ and the name in capitals) counts more than the file."""

    model_config = SettingsConfigDict(env_prefix="ACGS_", extra="forbid", frozen=True)

    kafka_bootstrap_servers: str | None = Field(default=None, description="host:port of brokers, separated by commas")
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$", max_length=64)] = Field(
        default="acgs.", description="begins every topic, group and transactional id"
    )
    worker_id: str | None = Field(default=None, description="stable name of this worker; default host and number")
    partitions: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=2, description="partitions of every lane input at 'topics create'; never changes afterwards"
    )
    replication: Annotated[int, Field(ge=1, le=9)] = Field(default=1, description="replicas of every topic")
    metrics_host: str = Field(default="127.0.0.1", description="address of /metrics, /livez and /readyz")
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = Field(default=9464, description="their port; 0 for any")
    min_turn_ms: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=10, description="a lane's budget: 1 s / this turns a second"
    )
    stall_after_s: Annotated[int, Field(ge=5)] = Field(default=60, description="lag without a commit that fails /livez")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ssl_cafile: Path | None = Field(default=None, description="certificates of authorities that brokers are signed by")
    ssl_certfile: Path | None = Field(default=None, description="this client's certificate")
    ssl_keyfile: Path | None = Field(default=None, description="the key of that certificate")
    ssl_password: SecretStr | None = Field(default=None, description="the password of that key")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None

    def engine(self, *, client_id: str) -> EngineSettings:
        """What the engine needs of it.

        Raises:
            SettingsError: no broker is set, or the TLS files cannot be read.
        """
        if not self.kafka_bootstrap_servers:
            raise SettingsError(
                "no broker is set: set ACGS_KAFKA_BOOTSTRAP_SERVERS=host:port, or kafka_bootstrap_servers in "
                "acgs.toml, or start one on this machine with 'acgs kafka start', which shows its address"
            )
        return EngineSettings(
            bootstrap_servers=self.kafka_bootstrap_servers,
            prefix=self.prefix,
            client_id=client_id,
            security=self.security(),
            min_turn=timedelta(milliseconds=self.min_turn_ms),
            stall_after=timedelta(seconds=self.stall_after_s),
        )

    def security(self) -> dict[str, object]:
        """TLS and SASL as every Kafka client takes them.

        Raises:
            SettingsError: a TLS file cannot be read or does not fit.
        """
        options: dict[str, object] = {"security_protocol": self.security_protocol}
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        if self.security_protocol.startswith("SASL"):
            if self.sasl_username is None or self.sasl_password is None:
                raise SettingsError("SASL needs ACGS_SASL_USERNAME and ACGS_SASL_PASSWORD")
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password.get_secret_value()
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile is not None:
                password = self.ssl_password.get_secret_value() if self.ssl_password else None
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, password)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"TLS files cannot be used: {error}") from error
        return context


def _file_content() -> dict[str, Any]:
    """What the settings file says; nothing where there is none.

    Raises:
        ValueError: it is not TOML.
    """
    file = Path(os.environ.get(CONFIG_VARIABLE, "acgs.toml"))
    return tomllib.loads(file.read_text()) if file.is_file() else {}


def load() -> Settings:
    """Reads the settings.

    Raises:
        SettingsError: a variable or the file is wrong; the message says which and how.
    """
    return checked(Settings)


def checked(kind: type[Kind]) -> Kind:
    """Settings of a kind.

    Raises:
        SettingsError: a variable or the file is wrong; the message says which and how, and no value.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    if named and not Path(named).is_file():
        raise SettingsError(f"{CONFIG_VARIABLE} names {named}, which is no file")
    try:
        return kind()
    except ValidationError as error:
        within = (kind.TABLE,) if kind.TABLE else ()
        places = "; ".join(f"{'.'.join(map(str, (*within, *at['loc'])))}: {at['msg']}" for at in error.errors())
        raise SettingsError(f"settings are wrong: {places}") from error
    except ValueError as error:
        raise SettingsError(f"the settings file is not TOML: {error}") from error
