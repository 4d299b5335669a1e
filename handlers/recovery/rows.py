"""What a lane remembers of recoveries, and how it is written down.

One row a service, and one for its timer; one a breaker that is not closed, or was not a moment ago; one for each
recovery that is due and waits for a place, linked to its neighbours of the same priority; one for all the lane's
places; and one while free places are about to be given. None of them grows with the number of services or of those that
wait.
"""

from typing import NamedTuple

import orjson

from handlers.recovery.machine import Phase, Task
from schemas.breaker import BreakerState
from schemas.recovery import RecoveryState, RecoveryStrategy

PLACES = "places"
"""The key of the row that says how many attempts run, and who waits."""

OPENING = "opening"
"""The key of the row whose timer gives free places to those that wait."""

_VERSION, _BEFORE = 2, 1
"""What is written, and what is read besides: in version 1 a service's own row has its timer."""
_SERVICE, _TIMER, _BREAKER, _WAITING = "service/", "timer/", "breaker/", "waiting/"


class Ending(NamedTuple):
    """A cancelled attempt whose workflow may still run, until its answer says otherwise or that time has come.

    `is_awaited`: the next attempt is due, and is not made before.
    """

    workflow_id: str
    until: int
    is_awaited: bool = False


class Service(NamedTuple):
    """One service: its recovery, and how many of its breakers are known, and known not to be closed."""

    task: Task = Task()
    known: int = 0
    not_closed: int = 0
    ending: Ending | None = None


class Timer(NamedTuple):
    """When something is due for a service whose recovery is at that version.

    A row of its own: a service's row changes with each of its breakers, and a timer that is on its way is stale once
    its row has changed.
    """

    service: str
    version: int
    due: int


class Breaker(NamedTuple):
    """The last that was heard of one breaker of one process; one that has retired counts as closed."""

    service: str
    state: BreakerState
    sequence: int
    is_retired: bool = False


class Waiting(NamedTuple):
    """A place in the line of those that are due: who comes before and after, of the same priority."""

    priority: int
    before: str | None = None
    after: str | None = None


class Line(NamedTuple):
    """Those of one priority that wait for a place."""

    priority: int
    first: str
    last: str


class Places(NamedTuple):
    """How many attempts run, how many recoveries are scheduled, and the lines of those of them that are due.

    The line of the lowest priority number comes first.
    """

    running: int = 0
    scheduled: int = 0
    lines: tuple[Line, ...] = ()


class Opening(NamedTuple):
    """Free places are about to be given. It never changes, so that its timer comes whatever else happens meanwhile."""

    at: int


Row = Service | Timer | Breaker | Waiting | Places | Opening


def service_key(service: str) -> str:
    """The key of a service's row."""
    return _SERVICE + service


def timer_key(service: str) -> str:
    """The key of the row that has a service's timer."""
    return _TIMER + service


def breaker_key(service: str, instance: str, breaker: str) -> str:
    """The key of a breaker's row."""
    return _BREAKER + orjson.dumps([service, instance, breaker]).decode()


def waiting_key(service: str) -> str:
    """The key of a service's place in the line."""
    return _WAITING + service


def service_of(key: str) -> str:
    """The service whose row has that key."""
    return key.removeprefix(_SERVICE)


def encode(row: Row) -> bytes:
    """The row as JSON, its version first."""
    match row:
        case Service():
            ending = None if row.ending is None else list(row.ending)
            written: list[object] = [_SERVICE, list(row.task), row.known, row.not_closed, ending]
        case Timer():
            written = [_TIMER, *row]
        case Breaker():
            written = [_BREAKER, *row]
        case Waiting():
            written = [_WAITING, *row]
        case Places():
            written = [PLACES, row.running, row.scheduled, [list(line) for line in row.lines]]
        case Opening():
            written = [OPENING, *row]
    return orjson.dumps([_VERSION, *written])


def decode(value: bytes) -> Row:
    """Reads a row.

    Raises:
        ValueError: a later version of this program wrote it.
    """
    version, kind, *written = orjson.loads(value)
    if version not in {_VERSION, _BEFORE}:
        raise ValueError(f"a row of version {version} of a recovery: run a release that knows it")
    if kind == _SERVICE:
        task, known, not_closed, *ending = written
        return Service(_task(Task(*task)), known, not_closed, Ending(*ending[0]) if any(ending) else None)
    if kind == _TIMER:
        return Timer(*written)
    if kind == _BREAKER:
        service, state, *rest = written
        return Breaker(service, BreakerState(state), *rest)
    if kind == _WAITING:
        return Waiting(*written)
    if kind == OPENING:
        return Opening(*written)
    running, scheduled, lines = written
    return Places(running, scheduled, tuple(Line(*line) for line in lines))


def _task(task: Task) -> Task:
    return task._replace(
        state=RecoveryState(task.state),
        strategy=RecoveryStrategy(task.strategy),
        phase=None if task.phase is None else Phase(task.phase),
    )
