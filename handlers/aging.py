"""When to look at what again: for each name no later than asked, and about once for all that is asked meanwhile."""

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)


class Aging(Generic[Name]):
    """Holds about one entry a name, however often it is armed."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Name]] = []
        self._armed: dict[Name, int] = {}
        self._number = 0

    def arm(self, name: Name, at_ms: int) -> None:
        """Look at it at that time, or earlier."""
        armed = self._armed.get(name)
        if armed is None or at_ms < armed:
            self._armed[name] = at_ms
            self._number += 1
            heapq.heappush(self._heap, (at_ms, self._number, name))

    def due(self, now_ms: int) -> Iterator[Name]:
        """Every name whose time has come, once each; arm it anew where it is to be looked at again."""
        while self._heap and self._heap[0][0] <= now_ms:
            at_ms, _, name = heapq.heappop(self._heap)
            if self._armed.get(name) == at_ms:
                del self._armed[name]
                yield name
