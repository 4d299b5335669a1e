"""Health as anybody reads it: the rows of `health` and the system's, each as it is to be read now."""

import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from pydantic import ValidationError

from handlers.health import aged
from schemas import topics
from schemas.health import ServiceHealth, SystemHealth, SystemHealthStatus
from streams.agents.naming import Naming
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.errors import StreamsError
from streams.following import Follower
from streams.health.rows import decode

_log = logging.getLogger(__name__)

_DROPPED_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Read:
    """A service's row, where it stands on `health`, and as of when it was written."""

    row: ServiceHealth
    partition: int
    offset: int
    written_ms: int

    def at(self, now_ms: int) -> "Read":
        """The row as of now."""
        return replace(self, row=aged(self.row, now_ms))


OnRow = Callable[[str, ServiceHealth | None, int, int], None]
"""Is told of a service's new row, None where it is dropped, and its place on `health`."""
OnStale = Callable[[str], None]
"""Is told of a service whose last record on `health` is older than one before it, or drops it: that may be wrong."""


class HealthBoard:
    """Takes the records of `health` and `system-health`, and says how everything stands at a time.

    A row never goes back: a record whose row has seen less than the one before it, as a writer may leave that was cut
    off for a while, is passed over. What is read is aged to the time it is read for, or to the log's where that is
    later: nothing silent is ever called healthy, whether the health table runs or not.
    """

    def __init__(self, naming: Naming, *, on_row: OnRow | None = None, on_stale: OnStale | None = None) -> None:
        self._health = naming.topic(topics.HEALTH)
        self._on_row, self._on_stale = on_row, on_stale
        self._rows: dict[str, Read] = {}
        self._dropped = OrderedDict[str, int]()
        self.system: SystemHealth | None = None
        """The last system row, as it was written."""
        self.latest_ms = 0
        """The latest time at which any row was weighed."""

    def take(self, record: Record) -> None:
        """Takes a record of either topic. One that cannot be read changes nothing, and is logged."""
        try:
            if record.topic != self._health:
                self._take_system(record.value)
            elif record.key is not None:
                self._take_row(record.key.decode(), record)
        except (ValidationError, UnicodeDecodeError) as error:
            _log.error("%s/%d/%d cannot be read: %s", record.topic, record.partition, record.offset, error)

    def service(self, name: str, now_ms: int) -> Read | None:
        """A service's row as of now; None where nothing has been heard of it, which is no good sign."""
        found = self._rows.get(name)
        return None if found is None else found.at(max(now_ms, self.latest_ms))

    def services(self, now_ms: int) -> list[Read]:
        """Every service's row as of now, by name."""
        now_ms = max(now_ms, self.latest_ms)
        return [one.at(now_ms) for _, one in sorted(self._rows.items())]

    def system_at(self, now_ms: int) -> SystemHealth | None:
        """The system's row as of now: unknown once it is not fresh any more, None while there is none."""
        system, now_ms = self.system, max(now_ms, self.latest_ms)
        if system is None or now_ms < system.fresh_until:
            return system
        stale = {"status": SystemHealthStatus.UNKNOWN, "since": system.fresh_until}
        return system if system.status is SystemHealthStatus.UNKNOWN else system.model_copy(update=stale)

    def _take_system(self, value: bytes | None) -> None:
        system = None if value is None else SystemHealth.model_validate_json(value)
        if system is None or self.system is None or system.as_of >= self.system.as_of:
            self.system = system

    def _take_row(self, service: str, record: Record) -> None:
        if record.value is None:
            dropped = self._rows.pop(service, None)
            if dropped is not None:
                self._drop(service, dropped.row.offset)
            self._tell(service, None, record)
            self._tell_stale(service)  # its owner writes it again, if it has it still
            return
        row, known = decode(record.value), self._rows.get(service)
        self.latest_ms = max(self.latest_ms, row.as_of)
        is_older = known is not None and (row.offset, row.as_of) < (known.row.offset, known.row.as_of)
        if is_older or row.offset < self._dropped.get(service, 0):
            self._tell_stale(service)
            return
        self._rows[service] = Read(row, record.partition, record.offset, row.as_of)
        self._tell(service, row, record)

    def _drop(self, service: str, offset: int) -> None:
        """Remembers how far a dropped service had come, of the last ones."""
        self._dropped[service] = offset
        if len(self._dropped) > _DROPPED_KEPT:
            self._dropped.popitem(last=False)

    def _tell_stale(self, service: str) -> None:
        if self._on_stale is not None:
            self._on_stale(service)

    def _tell(self, service: str, row: ServiceHealth | None, record: Record) -> None:
        if self._on_row is not None:
            self._on_row(service, row, record.partition, record.offset)


@asynccontextmanager
async def following(
    settings: EngineSettings, board: HealthBoard, failed: Callable[[StreamsError], None]
) -> AsyncGenerator[Follower, None]:
    """Keeps a board up to date from the topics' start on; `caught_up` is set once all that was there has been read.

    Raises:
        InstallationError: a topic is missing.
        BrokerError: the broker cannot be reached or refuses.
    """
    naming = Naming(settings.prefix)
    read = [naming.topic(topics.HEALTH), naming.topic(topics.SYSTEM_HEALTH)]
    follower = Follower(settings, read, board.take, failed, whole=frozenset(read))
    try:
        await follower.start()
        yield follower
    finally:
        await follower.stop()


def now_ms() -> int:
    """The time by this machine's clock, in milliseconds since 1970."""
    return int(time.time() * 1_000)
