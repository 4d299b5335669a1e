"""What a publisher has still to send: changes of state in their order, then signs of life. For any thread."""

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from schemas.breaker import BreakerEventKind, BreakerState
from streams.health.listening import Gone, Heard
from streams.health.turnstile import Turnstile

_MOST_LEFT: Final = 1_000


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


class Outgoing:
    """Changes are never lost: beyond `most` that wait, one is told together with the last of its breaker that waits.

    So at most `most` changes wait, and one more for each breaker. Of signs of life at most one a breaker waits.
    change(), retire(), retire_all(), refuse() and counts() may be called from anywhere; all but the last wait for
    nothing. A change costs the same however much waits. The others are for the thread that sends, which is to sort()
    often: callers leave what they have to say, and sort it themselves only once a thousand are there.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._turnstile: Turnstile[Heard | Gone] = Turnstile(self._take, most_left=_MOST_LEFT)
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
        self._turnstile.put(Gone(breaker, time.time()))

    def refuse(self) -> bool:
        """Counts a call that was not understood; returns whether it is the first."""
        self._refused += 1
        return self._refused == 1

    def retire_all(self) -> None:
        """No breaker is any more."""
        self._turnstile.put(Gone(None, time.time()))

    def sort(self) -> None:
        """Sorts what callers have left."""
        self._turnstile.turn()

    def tell_all(self) -> None:
        """Every breaker is told anew, as by a process that has just begun."""
        with self._turnstile.alone():
            self._changes.clear()
            self._last.clear()
            for name, known in self._breakers.items():
                self._tell(name, BreakerEventKind.STATE_CHANGE, known.state, None, time.time())

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
        """What has become of events, of which so many were published. Waits for what another thread is sorting."""
        self._turnstile.settle()
        return Counts(published, self._merged, self._dropped, self._refused)

    # One at a time

    def _take(self, told: Heard | Gone) -> None:
        if isinstance(told, Gone):
            for name in list(self._breakers) if told.breaker is None else (told.breaker,):
                gone = self._breakers.pop(name, None)
                if gone is not None:
                    self._tell(name, BreakerEventKind.RETIRED, gone.state, None, told.at_s)
            return
        breaker, state, reason, at_s = told
        known = self._breakers.get(breaker)
        if known is None:
            known = self._breakers[breaker] = _Breaker(state, 0.0)
        elif known.state is state:
            return
        known.state, known.heard_s = state, time.monotonic()
        self._tell(breaker, BreakerEventKind.STATE_CHANGE, state, reason, at_s)

    def _tell(self, breaker: str, kind: BreakerEventKind, state: BreakerState, reason: str | None, at_s: float) -> None:
        self._sequence += 1
        self._beats.pop(breaker, None)
        last = self._last.get(breaker)
        if last is None or len(self._changes) < self._most:
            told = self._last[breaker] = Told(breaker, kind, state, self._sequence, at_s, reason)
            self._changes.append(told)
            return
        last.kind, last.state, last.reason = kind, state, reason
        last.sequence, last.at_s = self._sequence, at_s
        last.changes += kind is BreakerEventKind.STATE_CHANGE
        self._merged += 1
