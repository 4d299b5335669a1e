"""Work that any thread may hand in and that one at a time does, without anybody waiting."""

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from math import inf
from typing import Final, Generic, TypeVar

_HELPED: Final = 2
_PATIENCE_S: Final = 0.1
"""A thousand items take some milliseconds; a handler that interrupts the taking of the lock waits no longer."""

Item = TypeVar("Item")


class Turnstile(Generic[Item]):
    """Does `work` on each item, in the order in which they are handed in, in the thread of one who comes by.

    put() does what it hands in, too; with `most_left`, only where more than that many wait, and then only two of them:
    the others are for turn(), by a thread that looks often. Neither ever waits: while somebody is at work, put() leaves
    its item. So both may be called from a signal handler or a finaliser that interrupts the work itself, and in a child
    that was forked meanwhile; settle() too, which waits for other threads. `work` must not raise.
    """

    def __init__(self, work: Callable[[Item], None], *, most_left: int = 0) -> None:
        self._work, self._most_left = work, most_left
        self._items, self._lock = deque[Item](), threading.Lock()
        self._worker: int | None = None
        own: weakref.ref[Turnstile[Item]] = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _renew(own))

    def put(self, item: Item) -> None:
        """Hands an item in."""
        self._items.append(item)
        if not self._most_left:
            self.turn()
        elif len(self._items) > self._most_left:
            self._help()

    def turn(self) -> None:
        """Does what waits, unless somebody is at it."""
        # whoever finds the lock taken leaves; its holder looks again after it has let go
        while self._items and self._lock.acquire(blocking=False):
            self._do()

    def settle(self) -> None:
        """Does what waits, and waits for another thread that is at it; not for the work that the call interrupts."""
        if self._worker != threading.get_ident() and self._lock.acquire(timeout=_PATIENCE_S):
            self._do()
            self.turn()

    def _help(self) -> None:
        if self._lock.acquire(blocking=False):
            self._do(most=_HELPED)

    def _do(self, *, most: float = inf) -> None:
        """Does items, and lets go of the lock."""
        self._worker = threading.get_ident()
        try:
            while self._items and most > 0:
                self._work(self._items.popleft())
                most -= 1
        finally:
            self._worker = None
            self._lock.release()

    def renew(self) -> None:
        """In a child that was forked: whoever was at work is not there."""
        self._lock, self._worker = threading.Lock(), None

    @contextmanager
    def alone(self) -> Generator[None, None, None]:
        """Does what waits, and lets nobody begin meanwhile. It may wait: for a thread that no handler interrupts."""
        with self._lock:
            while self._items:
                self._work(self._items.popleft())
            yield
        self.turn()


def _renew(own: "weakref.ref[Turnstile[Item]]") -> None:
    found = own()
    if found is not None:
        found.renew()
