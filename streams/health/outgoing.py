"""What a publisher has still to send: changes of state in their order, then signs of life. For any thread."""

import time
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from schemas.breaker import BreakerEventKind, BreakerState
from streams.health.listening import Heard
from streams.health.turnstile import Turnstile


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
    signs of life that a later one has replaced before it could be sent; `refused` calls that named no breaker or state.
    """

    published: int = 0
    merged: int = 0
    heartbeats_dropped: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Breaker:
    state: BreakerState
    heard_s: float


class _Retired(NamedTuple):
    """A breaker is no more; without a name, none is."""

    breaker: str | None


class Outgoing:
    """Changes are never lost: beyond `most` that wait, one is told together with the last of its breaker that waits.

    So at most `most` changes wait, and one more for each breaker. Of signs of life at most one a breaker waits.
    change(), retire(), retire_all() and refuse() may be called from anywhere and wait for nothing; a change costs the
    same however much waits. The others are for the thread that sends.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._turnstile = Turnstile(self._take)
        self._breakers: dict[str, _Breaker] = {}
        self._changes: deque[Told] = deque()
        self._last: dict[str, Told] = {}
        self._beats: dict[str, None] = {}
        self._sequence = self._merged = self._dropped = self._refused = 0

    def change(self, heard: Heard) -> None:
        """A breaker is in this state from now on. One that is in it already has not changed."""
        self._turnstile.put(heard)

    def retire(self, breaker: str) -> None:
        """A breaker is no more; nothing if it is not known."""
        self._turnstile.put(_Retired(breaker))

    def refuse(self) -> bool:
        """Counts a call that was not understood; returns whether it is the first."""
        self._refused += 1
        return self._refused == 1

    def retire_all(self) -> None:
        """No breaker is any more."""
        self._turnstile.put(_Retired(None))

    def tell_all(self) -> None:
        """Every breaker is told anew, as by a process that has just begun."""
        with self._turnstile.alone():
            self._changes.clear()
            self._last.clear()
            for name, known in self._breakers.items():
                self._tell(name, BreakerEventKind.STATE_CHANGE, known.state, None)

    def signs_of_life(self, silent_for_s: float) -> None:
        """Every breaker that nothing has been said of for so long is to be told of."""
        now_s = time.monotonic()
        with self._turnstile.alone():
            for name, known in self._breakers.items():
                if now_s - known.heard_s >= silent_for_s:
                    known.heard_s = now_s
                    self._dropped += name in self._beats
                    self._beats[name] = None

    def take(self) -> list[Told]:
        """Everything that waits: changes first, in their order. It waits no more."""
        with self._turnstile.alone():
            changes, self._changes = self._changes, deque()
            beats, self._beats = self._beats, {}
            self._last.clear()
            said: list[Told] = []
            for name in beats:
                known = self._breakers.get(name)
                if known is not None:
                    self._sequence += 1
                    said.append(Told(name, BreakerEventKind.HEARTBEAT, known.state, self._sequence, time.time()))
        return [*changes, *said]

    def counts(self, published: int) -> Counts:
        """What has become of events, of which so many were published."""
        return Counts(published, self._merged, self._dropped, self._refused)

    # One at a time

    def _take(self, item: Heard | _Retired) -> None:
        if isinstance(item, _Retired):
            for name in list(self._breakers) if item.breaker is None else (item.breaker,):
                gone = self._breakers.pop(name, None)
                if gone is not None:
                    self._tell(name, BreakerEventKind.RETIRED, gone.state, None)
            return
        known = self._breakers.get(item.breaker)
        if known is None:
            known = self._breakers[item.breaker] = _Breaker(item.state, 0.0)
        elif known.state is item.state:
            return
        known.state, known.heard_s = item.state, time.monotonic()
        self._tell(item.breaker, BreakerEventKind.STATE_CHANGE, item.state, item.reason)

    def _tell(self, breaker: str, kind: BreakerEventKind, state: BreakerState, reason: str | None) -> None:
        self._sequence += 1
        self._beats.pop(breaker, None)
        last = self._last.get(breaker)
        if last is None or len(self._changes) < self._most:
            told = self._last[breaker] = Told(breaker, kind, state, self._sequence, time.time(), reason)
            self._changes.append(told)
            return
        last.kind, last.state, last.reason = kind, state, reason
        last.sequence, last.at_s = self._sequence, time.time()
        last.changes += kind is BreakerEventKind.STATE_CHANGE
        self._merged += 1
