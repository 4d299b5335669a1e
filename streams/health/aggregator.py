"""`HealthAggregator`: the health of one process, kept up to date by its circuit breakers as they change."""

import itertools
import logging
import threading
from collections.abc import Callable, Collection, Generator
from datetime import UTC, datetime
from typing import Final

from handlers.health import Tally, status_of
from schemas.breaker import BreakerState
from schemas.health import SystemHealthStatus
from streams.health.listening import Publishing
from streams.health.report import HealthSnapshot, SystemHealthReport

_SHOWN: Final = 10

_log = logging.getLogger(__name__)


class HealthAggregator:
    """The status and score of a process's circuit breakers.

    A change costs the same however many breakers there are, and so does a report. Every method may be called from any
    thread, with or without an event loop, and waits for nothing but for another such call to be over.

    `critical` names the breakers of which one that is open makes the whole critical. With a `publisher`, such as
    BreakerPublisher, it is told of everything too, so that others hear of it.
    """

    def __init__(
        self,
        constitutional_hash: str,
        *,
        critical: Collection[str] = (),
        publisher: Publishing | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._hash, self._critical, self._clock = constitutional_hash, frozenset(critical), clock
        self._publisher, self._lock = publisher, threading.Lock()
        self._states: dict[str, BreakerState] = {}
        self._not_closed: dict[str, None] = {}
        self._critical_open = 0
        self._closed = self._open = self._half_open = 0
        self._status = SystemHealthStatus.UNKNOWN
        self._since: datetime | None = None
        self._changes = self._refused = 0

    def on_circuit_state_change(self, circuit_name: str, new_state: str, *, reason: str | None = None) -> "Done":
        """Takes note of a breaker's state, before it returns; `await` of what it returns is over at once.

        It never raises: what is no state of a breaker is logged and counted in `refused`.
        """
        try:
            state = BreakerState.of(new_state)
        except (ValueError, AttributeError) as error:
            self._refuse(circuit_name, error)
            return DONE
        with self._lock:
            self._change(circuit_name, state)
        if self._publisher is not None:
            self._publisher.on_circuit_state_change(circuit_name, state, reason=reason)
        return DONE

    def remove(self, circuit_name: str) -> None:
        """Forgets a breaker that is no more; nothing if it is not known."""
        with self._lock:
            state = self._states.pop(circuit_name, None)
            if state is not None:
                self._count(circuit_name, state, None)
                self._settle()
        if self._publisher is not None:
            self._publisher.remove(circuit_name)

    def get_health_report(self) -> SystemHealthReport:
        """How it stands now."""
        with self._lock:
            tally, status, since = self._tally(), self._status, self._since
            changes, refused = self._changes, self._refused
            not_closed = tuple(itertools.islice(reversed(self._not_closed), _SHOWN))
        snapshot = HealthSnapshot(
            timestamp=self._clock(),
            status=status,
            health_score=tally.score,
            total_breakers=tally.total,
            closed_breakers=tally.closed,
            open_breakers=tally.open,
            constitutional_hash=self._hash,
            half_open_breakers=tally.half_open,
        )
        return SystemHealthReport(
            status=status,
            health_score=tally.score,
            snapshot=snapshot,
            since=since,
            not_closed=not_closed,
            changes=changes,
            refused=refused,
        )

    def _change(self, name: str, state: BreakerState) -> None:
        before = self._states.get(name)
        if before is state:
            return
        self._states[name] = state
        self._changes += before is not None
        self._count(name, before, state)
        self._settle()

    def _count(self, name: str, before: BreakerState | None, state: BreakerState | None) -> None:
        self._closed += (state is BreakerState.CLOSED) - (before is BreakerState.CLOSED)
        self._open += (state is BreakerState.OPEN) - (before is BreakerState.OPEN)
        self._half_open += (state is BreakerState.HALF_OPEN) - (before is BreakerState.HALF_OPEN)
        if state is None or state is BreakerState.CLOSED:
            self._not_closed.pop(name, None)
        else:
            self._not_closed.setdefault(name)
        if name in self._critical:
            self._critical_open += (state is BreakerState.OPEN) - (before is BreakerState.OPEN)

    def _tally(self) -> Tally:
        return Tally(self._closed, self._open, self._half_open)

    def _settle(self) -> None:
        status = status_of(self._tally(), has_critical_open=self._critical_open > 0)
        if status is not self._status or self._since is None:
            self._status, self._since = status, self._clock()

    def _refuse(self, name: str, error: Exception) -> None:
        with self._lock:
            self._refused += 1
            is_first = self._refused == 1
        if is_first:
            _log.warning("circuit %a: %s; further ones are counted, not logged", name, error)


class Done:
    """An awaitable that is over at once: a caller may await it or leave it."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


DONE: Final = Done()
