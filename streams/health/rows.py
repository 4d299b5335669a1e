"""The health table's rows: as bytes in its store, what they say, and which of them change next without an event."""

from collections.abc import Callable, Iterator, MutableMapping
from enum import StrEnum
from typing import Final

import orjson

from handlers.aging import Aging
from handlers.health import Place, aged, changes_at, dropped_at, folded
from schemas.breaker import BreakerEvent, BreakerEventKind
from schemas.health import ServiceHealth

MAX_SERVICES: Final = 20_000
"""How many services a table knows. Anybody who may publish can name another; what is beyond is not taken."""
_YIELD_AFTER: Final = 100
"""Rows read at a time, before others are let run: about 10 ms."""


class Folded(StrEnum):
    """What became of an event."""

    NEW = "folded"
    REPEATED = "repeated"
    """The row had seen it."""
    LEFT_OUT = "left_out"
    """It is of a service too many."""


def encode(row: ServiceHealth) -> bytes:
    """A row as it stands on `health`."""
    return row.model_dump_json().encode()


def decode(value: bytes) -> ServiceHealth:
    """Reads a row.

    Raises:
        ValidationError: it is none of this version.
    """
    return ServiceHealth.model_validate_json(value)


class Rows:
    """Folds events into rows of `store`, which maps a service's name to its row.

    Idempotent: an event that the row has seen changes nothing, so that events may be read again from anywhere before.
    `is_critical` says of a service what the policy in force says.
    """

    def __init__(self, store: MutableMapping[bytes, bytes], is_critical: Callable[[str], bool]) -> None:
        self._store, self._is_critical = store, is_critical
        self._read: dict[bytes, tuple[bytes, ServiceHealth]] = {}
        self._aging: dict[int, Aging[bytes]] = {}
        self._indexed: set[int] = set()

    def fold(self, event: BreakerEvent, place: Place, now_ms: int) -> Folded:
        """Takes an event that the log has at this place and time."""
        key = event.service.encode()
        if key not in self._store and len(self._store) >= MAX_SERVICES:
            return Folded.LEFT_OUT
        row = folded(self._row(key), event, place, now_ms, is_critical=self._is_critical(event.service))
        if row is None:
            return Folded.REPEATED
        if event.kind is BreakerEventKind.RETIRED and not row.breakers:
            self._drop(key)  # all have said good-bye: nothing is silent
        else:
            self._keep(key, row)
        return Folded.NEW

    def index(self, partition: int) -> Iterator[None]:
        """Learns anew which rows of a partition change next; yields between slices, so that others can run."""
        aging = Aging[bytes]()
        for number, (key, value) in enumerate(list(self._store.items())):
            if number % _YIELD_AFTER == _YIELD_AFTER - 1:
                yield
            if orjson.loads(value)["partition"] == partition and (row := self._row(key)) is not None:
                aging.arm(key, _next_look(row))
        self._aging[partition] = aging
        self._indexed.add(partition)

    def has_index(self, partition: int) -> bool:
        """Whether it is known which rows of the partition change next."""
        return partition in self._indexed

    def forget_index(self) -> None:
        """The store has been changed from outside."""
        self._aging.clear()
        self._indexed.clear()
        self._read.clear()

    def age(self, partition: int, now_ms: int) -> int:
        """Writes the rows of a partition anew that have grown old by then; returns how many."""
        aging, written = self._aging.setdefault(partition, Aging[bytes]()), 0
        for key in aging.due(now_ms):
            row = self._row(key)
            if row is None or row.partition != partition:
                continue
            if _next_look(row) > now_ms:  # it has been written since
                aging.arm(key, _next_look(row))
                continue
            if (dropped := dropped_at(row)) is not None and dropped <= now_ms:
                self._drop(key)
            else:
                self._keep(key, aged(row, now_ms, is_critical=self._is_critical(row.service)))
            written += 1
        return written

    def write_again(self, service: str) -> None:
        """Writes a row as it stands: the topic has an older one after it."""
        key = service.encode()
        value = self._store.get(key)
        if value is not None:
            self._store[key] = value

    def partition_of(self, service: str) -> int | None:
        """The partition of `breakers` that a service's events are on, None while there is no row."""
        row = self._row(service.encode())
        return None if row is None else row.partition

    def next_offset(self, partition: int) -> int | None:
        """The offset on `breakers` after the last event that rows of the partition have seen; None without rows."""
        found = (orjson.loads(value) for value in list(self._store.values()))
        seen = [row["offset"] for row in found if row["partition"] == partition]
        return max(seen) + 1 if seen else None

    def _row(self, key: bytes) -> ServiceHealth | None:
        value = self._store.get(key)
        if value is None:
            return None
        known = self._read.get(key)
        if known is None or known[0] is not value:
            known = self._read[key] = value, decode(value)
        return known[1]

    def _keep(self, key: bytes, row: ServiceHealth) -> None:
        value = encode(row)
        self._store[key] = value
        self._read[key] = value, row
        self._aging.setdefault(row.partition, Aging[bytes]()).arm(key, _next_look(row))

    def _drop(self, key: bytes) -> None:
        self._read.pop(key, None)
        if key in self._store:
            del self._store[key]


def _next_look(row: ServiceHealth) -> int:
    """When the row changes without an event."""
    times = (at for at in (changes_at(row), dropped_at(row)) if at is not None)
    return min(times, default=row.as_of)
