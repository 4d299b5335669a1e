"""`HealthAggregator`: the health of one process, kept up to date by its circuit breakers as they change."""

import itertools
import logging
import time
from collections.abc import Callable, Collection, Generator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from handlers.health import Tally, status_of
from schemas.breaker import BreakerState
from schemas.health import SystemHealthStatus
from streams.health.listening import Gone, Heard, Publishing, name_of, understood
from streams.health.report import HealthSnapshot, SystemHealthReport
from streams.health.turnstile import Turnstile

_SHOWN: Final = 10
_MOST_LEFT: Final = 1_000

_log = logging.getLogger(__name__)


class _Standing(NamedTuple):
    """How it stands after the last change, for whoever asks."""

    tally: Tally = Tally()
    status: SystemHealthStatus = SystemHealthStatus.UNKNOWN
    since: datetime | None = None
    not_closed: tuple[str, ...] = ()
    changes: int = 0


class HealthAggregator:
    """The status and score of a process's circuit breakers.

    A change costs the same however many breakers there are, and so does a report. Every method may be called from any
    thread, with or without an event loop, from a signal handler or a finaliser, and in a forked child: none raises, and
    none waits, but a report for what another thread is counting.

    `critical` names the breakers of which one that is open makes the whole critical. With a `publisher`, such as
    BreakerPublisher, it is told of everything too, so that others hear of it; and its thread does the counting, fifty
    times a second, of what callers leave. A report counts first what is left.
    """

    def __init__(
        self,
        constitutional_hash: str,
        *,
        critical: Collection[str] = (),
        publisher: Publishing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` tells seconds since 1970."""
        self._hash, self._critical, self._clock = constitutional_hash, frozenset(critical), clock
        self._publisher = publisher
        self._states: dict[str, BreakerState] = {}
        self._not_closed: dict[str, None] = {}
        self._counts: dict[BreakerState | None, int] = dict.fromkeys((None, *BreakerState), 0)
        self._critical_open = self._refused = 0
        self._standing = _Standing()
        most_left = 0 if publisher is None else _MOST_LEFT
        self._turnstile: Turnstile[Heard | Gone] = Turnstile(self._take, most_left=most_left)
        if publisher is not None:
            publisher.often(self._turnstile.turn)

    def on_circuit_state_change(self, circuit_name: str, new_state: str, *, reason: str | None = None) -> "Done":
        """Takes note of a breaker's state; `await` of what it returns is over at once.

        It never raises: what is no name or no state of a breaker is logged once and counted in `refused`.
        """
        try:
            heard = understood(circuit_name, new_state, reason, self._clock())
        except Exception as error:  # noqa: BLE001  # it is called in the middle of somebody's call, with anything
            self._refuse(error)
            return DONE
        self._turnstile.put(heard)
        if self._publisher is not None:
            self._publisher.tell(heard)
        return DONE

    def remove(self, circuit_name: str) -> None:
        """Forgets a breaker that is no more; nothing if it is not known."""
        name = name_of(circuit_name)
        if name is None:
            return
        self._turnstile.put(Gone(name, self._clock()))
        if self._publisher is not None:
            self._publisher.remove(name)

    def get_health_report(self) -> SystemHealthReport:
        """How it stands now, with all that was said before; what another thread is counting is waited for."""
        self._turnstile.settle()
        standing = self._standing
        tally, status = standing.tally, standing.status
        snapshot = HealthSnapshot(
            timestamp=datetime.fromtimestamp(self._clock(), UTC),
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
            since=standing.since,
            not_closed=standing.not_closed,
            changes=standing.changes,
            refused=self._refused,
        )

    # One at a time

    def _take(self, told: Heard | Gone) -> None:
        name, states = told.breaker or "", self._states
        state: BreakerState | None = None
        if isinstance(told, Gone):
            before = states.pop(name, None)
        else:
            state, before = told.state, states.get(name)
            states[name] = state
        if before is state:
            return
        counts = self._counts
        counts[before] -= 1
        counts[state] += 1
        if state is None or state is BreakerState.CLOSED:
            self._not_closed.pop(name, None)
        else:
            self._not_closed.setdefault(name)
        if name in self._critical:
            self._critical_open += (state is BreakerState.OPEN) - (before is BreakerState.OPEN)
        self._settle(told.at_s, changes=int(before is not None and state is not None))

    def _settle(self, at_s: float, *, changes: int) -> None:
        counts, before = self._counts, self._standing
        tally = Tally(counts[BreakerState.CLOSED], counts[BreakerState.OPEN], counts[BreakerState.HALF_OPEN])
        status = status_of(tally, has_critical_open=self._critical_open > 0)
        is_new = status is not before.status or before.since is None
        not_closed = tuple(itertools.islice(reversed(self._not_closed), _SHOWN))
        since = datetime.fromtimestamp(at_s, UTC) if is_new else before.since
        self._standing = _Standing(tally, status, since, not_closed, before.changes + changes)

    def _refuse(self, error: Exception) -> None:
        self._refused += 1
        if self._refused == 1:
            _log.warning("a change of a circuit was not understood: %s; further ones are counted, not logged", error)


class Done:
    """An awaitable that is over at once: a caller may await it or leave it."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


DONE: Final = Done()
