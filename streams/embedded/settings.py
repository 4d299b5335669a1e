"""What the user chooses about an embedded Kafka."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from streams.embedded.errors import InvalidSettingsError

BROKER_COUNTS: Final = (1, 3)
MIN_HEAP_MB: Final = 256
FIRST_USER_PORT: Final = 1024
LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """Settings of one embedded cluster; fixed for its life.

    Attributes:
        data: Folder of everything the cluster keeps; created when missing.
        brokers: 1, or 3 for replication (each is broker and controller).
        heap_mb: Largest Java heap of each broker, in MiB; a broker's resident
            memory is about 200 MiB plus what it uses of this.
        port: Client port of broker 0 on 127.0.0.1; brokers 1 and 2 take the next
            two. None: free ports are chosen, and kept in the data folder.
        cache: Folder of Kafka's jars. None: `ACGS_CACHE_DIR`, else the platform's.
        start_timeout: A broker that has not answered by then is stopped.
        stop_grace: Time for an orderly stop; then SIGKILL.

    Raises:
        InvalidSettingsError: A value is outside its range.
    """

    data: Path
    brokers: int = 1
    heap_mb: int = 512
    port: int | None = None
    cache: Path | None = None
    start_timeout: timedelta = timedelta(seconds=120)
    stop_grace: timedelta = timedelta(seconds=15)

    def __post_init__(self) -> None:
        """Refuse what could only fail later."""
        if self.brokers not in BROKER_COUNTS:
            raise InvalidSettingsError(f"{self.brokers} brokers were asked for.", "Choose 1 or 3 brokers.")
        if self.heap_mb < MIN_HEAP_MB:
            raise InvalidSettingsError(
                f"A heap of {self.heap_mb} MiB is too small for Kafka.",
                f"Choose at least {MIN_HEAP_MB} MiB.",
            )
        last_first_port = LAST_PORT - self.brokers + 1
        if self.port is not None and not (FIRST_USER_PORT <= self.port <= last_first_port):
            raise InvalidSettingsError(
                f"Port {self.port} cannot be used.",
                f"Choose a port from {FIRST_USER_PORT} to {last_first_port}.",
            )
