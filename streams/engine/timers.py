"""Timers: a heap over the rows that carry a due time. A timer costs no record until it fires."""

import heapq
from collections.abc import Mapping
from typing import Generic

from streams.engine.records import Row
from streams.engine.state import StoredRow

_PER_TURN = 500
_CROWDED = 10_000


class Timers(Generic[Row]):
    """The armed timers of one lane. Entries of rows that have changed since are dropped when they come up."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, int]] = []
        self._crowded_at = _CROWDED

    def rebuild(self, rows: Mapping[str, StoredRow[Row]]) -> None:
        """Arms exactly the timers that the rows carry."""
        self._heap = [(stored.due_ms, key, stored.version) for key, stored in rows.items() if stored.due_ms is not None]
        heapq.heapify(self._heap)

    def drop_stale(self, rows: Mapping[str, StoredRow[Row]]) -> None:
        """Drops the entries of rows that have changed, once there are more of them than of others.

        A row that is written often, each time with a timer of its own, would fill the heap long before they come up.
        """
        if len(self._heap) > self._crowded_at:
            self._heap = [entry for entry in self._heap if _stands(rows.get(entry[1]), entry[2])]
            heapq.heapify(self._heap)
            self._crowded_at = max(_CROWDED, 2 * len(self._heap))

    def arm(self, key: str, at_ms: int, version: int) -> None:
        """Lets the timer of that version of the row fire at a time."""
        heapq.heappush(self._heap, (at_ms, key, version))

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_ms(self) -> int | None:
        """When the earliest entry comes up, in milliseconds since 1970."""
        return self._heap[0][0] if self._heap else None

    def take_due(self, now_ms: int, rows: Mapping[str, StoredRow[Row]]) -> list[str]:
        """Removes what is due and returns the keys of rows that still stand as they did, at most 500 at a time."""
        due: list[str] = []
        while self._heap and self._heap[0][0] <= now_ms and len(due) < _PER_TURN:
            _, key, version = heapq.heappop(self._heap)
            if _stands(rows.get(key), version):
                due.append(key)
        return due


def _stands(stored: StoredRow[Row] | None, version: int) -> bool:
    return stored is not None and stored.version == version
