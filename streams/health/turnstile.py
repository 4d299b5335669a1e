"""Work that any thread may hand in and that one at a time does, without anybody waiting."""

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Turnstile(Generic[Item]):
    """Does `work` on each item, in the order in which they are handed in, in the thread of one who hands in.

    put() never waits: while somebody is at work, they do this item too before they leave. So it may be called from a
    signal handler or a finaliser that interrupts the work itself, and in a child that was forked meanwhile. `work` must
    not raise.
    """

    def __init__(self, work: Callable[[Item], None]) -> None:
        self._work, self._items, self._lock = work, deque[Item](), threading.Lock()
        own: weakref.ref[Turnstile[Item]] = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _renew(own))

    def put(self, item: Item) -> None:
        """Hands an item in."""
        self._items.append(item)
        self._turn()

    def renew(self) -> None:
        """In a child that was forked: whoever was at work is not there."""
        self._lock = threading.Lock()

    @contextmanager
    def alone(self) -> Generator[None, None, None]:
        """Waits until nobody is at work, and lets nobody begin: for a thread that no handler interrupts."""
        with self._lock:
            self._do_all()
            yield
        self._turn()

    def _turn(self) -> None:
        # whoever finds the lock taken leaves; its holder looks again after it has let go
        while self._items and self._lock.acquire(blocking=False):
            try:
                self._do_all()
            finally:
                self._lock.release()

    def _do_all(self) -> None:
        while self._items:
            self._work(self._items.popleft())


def _renew(own: "weakref.ref[Turnstile[Item]]") -> None:
    found = own()
    if found is not None:
        found.renew()
