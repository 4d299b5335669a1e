"""What commands that talk to a broker begin with: the settings, and a loop to run in."""

import asyncio
import getpass
from collections.abc import Coroutine
from typing import Any, TypeVar

from streams.cli.output import tell
from streams.engine.client import EngineSettings
from streams.settings import Settings, load

Result = TypeVar("Result")


def settings() -> Settings:
    """The settings; without a broker in them, the Kafka that runs in the background on this machine, which is said.

    Raises:
        SettingsError: they are wrong.
    """
    loaded = load()
    if loaded.kafka_bootstrap_servers is None and (servers := _background_kafka()):
        tell(f"No broker is set: using the Kafka on this machine, {servers}.", "dim")
        return loaded.model_copy(update={"kafka_bootstrap_servers": servers})
    return loaded


def _background_kafka() -> str | None:
    from streams.cli.kafka import default_data  # noqa: PLC0415  # only where nothing is set
    from streams.embedded import status  # noqa: PLC0415

    return status(default_data()).bootstrap_servers


def engine(command: str) -> EngineSettings:
    """How a command reaches the broker.

    Raises:
        SettingsError: no broker is set, or the settings are wrong.
    """
    return settings().engine(client_id=f"acgs-{command}")


def engine_if_any(command: str) -> EngineSettings | None:
    """How a command reaches the broker, or None where none is set.

    Raises:
        SettingsError: the settings are wrong.
    """
    found = settings()
    return found.engine(client_id=f"acgs-{command}") if found.kafka_bootstrap_servers else None


def wait_for(doing: Coroutine[Any, Any, Result]) -> Result:
    """Runs to the end. Ctrl-C cancels it, lets it clean up, and is raised as KeyboardInterrupt."""
    return asyncio.run(doing)


def operator() -> str:
    """Who gives the command, as the system knows it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
