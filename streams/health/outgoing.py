"""What a publisher has still to send: changes of state in their order, then signs of life. For any thread."""

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from schemas.breaker import BreakerEventKind, BreakerState

_LATEST: Final = -1


@dataclass(slots=True)
class Told:
    """One event of one breaker. `at_s` is when it happened, in seconds since 1970; `changes` how many it stands for."""

    breaker: str
    kind: BreakerEventKind
    state: BreakerState
    sequence: int
    at_s: float
    reason: str | None = None
    changes: int = 1


@dataclass(frozen=True, slots=True)
class Counts:
    """What has become of events so far.

    `merged` counts changes that travel with a later one of their breaker, since too many waited; `heartbeats_dropped`
    signs of life that a later one has replaced before it could be sent; `refused` calls that named no state.
    """

    published: int = 0
    merged: int = 0
    heartbeats_dropped: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Breaker:
    state: BreakerState
    heard_s: float
    last: Told | None = None
    generation: int = _LATEST


@dataclass(slots=True)
class _Tallies:
    merged: int = 0
    heartbeats_dropped: int = 0
    refused: int = 0


class Outgoing:
    """Changes are never lost: beyond `most` that wait, one is told together with the last of its breaker that waits.

    So at most `most` changes wait, and two more for each breaker. Of signs of life at most one a breaker waits. Every
    method costs the same however much waits, but for signs_of_life(), retire_all() and the signs of life in take(), and
    waits for nothing but for another such call to be over.
    """

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._breakers: dict[str, _Breaker] = {}
        self._changes: deque[Told] = deque()
        self._beats: dict[str, None] = {}
        self._sequence = self._generation = 0
        self._tallies = _Tallies()

    def change(self, breaker: str, state: BreakerState, reason: str | None) -> None:
        """A breaker is in this state from now on. One that is in it already has not changed."""
        now_s = time.time()
        with self._lock:
            known = self._breakers.get(breaker)
            if known is None:
                known = self._breakers[breaker] = _Breaker(state, now_s)
            elif known.state is state:
                return
            known.state, known.heard_s = state, now_s
            self._sequence += 1
            last = known.last if known.generation == self._generation else None
            if last is not None and len(self._changes) >= self._most and last.kind is BreakerEventKind.STATE_CHANGE:
                last.state, last.sequence, last.at_s, last.reason = state, self._sequence, now_s, reason
                last.changes += 1
                self._tallies.merged += 1
                return
            told = Told(breaker, BreakerEventKind.STATE_CHANGE, state, self._sequence, now_s, reason)
            known.last, known.generation = told, self._generation
            self._changes.append(told)
            self._beats.pop(breaker, None)

    def retire(self, breaker: str) -> None:
        """A breaker is no more; nothing if it is not known."""
        with self._lock:
            self._retire(breaker)

    def retire_all(self) -> None:
        """No breaker is any more."""
        with self._lock:
            for breaker in list(self._breakers):
                self._retire(breaker)

    def refuse(self) -> bool:
        """Counts a call that named no state; returns whether it is the first."""
        with self._lock:
            self._tallies.refused += 1
            return self._tallies.refused == 1

    def signs_of_life(self, silent_for_s: float) -> None:
        """Every breaker that nothing has been said of for so long is to be told of."""
        now_s = time.time()
        with self._lock:
            for name, known in self._breakers.items():
                if now_s - known.heard_s >= silent_for_s:
                    known.heard_s = now_s
                    self._tallies.heartbeats_dropped += name in self._beats
                    self._beats[name] = None

    def take(self) -> list[Told]:
        """Everything that waits: changes first, in their order. It waits no more."""
        with self._lock:
            changes, self._changes = self._changes, deque()
            beats, self._beats = self._beats, {}
            self._generation += 1
            said: list[Told] = []
            for name in beats:
                known = self._breakers.get(name)
                if known is not None:
                    self._sequence += 1
                    said.append(Told(name, BreakerEventKind.HEARTBEAT, known.state, self._sequence, known.heard_s))
        return [*changes, *said]

    def counts(self, published: int) -> Counts:
        """What has become of events, of which so many were published."""
        with self._lock:
            tallies = self._tallies
            return Counts(published, tallies.merged, tallies.heartbeats_dropped, tallies.refused)

    def _retire(self, breaker: str) -> None:
        known = self._breakers.pop(breaker, None)
        if known is not None:
            self._sequence += 1
            self._changes.append(Told(breaker, BreakerEventKind.RETIRED, known.state, self._sequence, time.time()))
            self._beats.pop(breaker, None)
