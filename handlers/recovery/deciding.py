"""Decisions on recoveries: one function a kind of record. Pure; none raises for what a record says."""

from handlers.recovery import answers, attempts, breakers, machine, orders, records
from handlers.recovery.machine import Phase, Task
from handlers.recovery.progress import Progress
from handlers.recovery.records import Caused
from handlers.recovery.rows import Breaker, Opening, Places, Row, Service, Timer, Waiting, service_of
from schemas.breaker import BreakerEvent
from schemas.effects import Decided, Effect, Refused, Surroundings
from schemas.parsed import parsed
from schemas.recovery import RecoveryCause, RecoveryCommand, RecoveryState
from schemas.workflow import WorkflowAnswer

DECISION_VERSION = 2
"""Rises when the same rows, record and policy would be decided otherwise."""

_DEADLINE = Caused(RecoveryCause.DEADLINE)


def breaker(value: bytes, view: Surroundings[Row]) -> Decided[Row]:
    """A service says how one of its breakers is; the record has passed its gateway."""
    event = parsed(BreakerEvent, value)
    if isinstance(event, Refused):
        return event
    progress = Progress(view)
    breakers.heard(progress, event)
    return _settled(progress)


def command(value: bytes, view: Surroundings[Row], *, verified: bool) -> Decided[Row]:
    """An operator orders something; the record has passed its gateway, where a signature was `verified` or not."""
    asked = parsed(RecoveryCommand, value)
    if isinstance(asked, Refused):
        return asked
    progress = Progress(view)
    return orders.ordered(progress, asked, verified=verified) or _settled(progress)


def answer(service: str, value: bytes, view: Surroundings[Row]) -> Decided[Row]:
    """The orchestrator says how the workflow of an attempt at recovering a service stands."""
    said = parsed(WorkflowAnswer, value)
    if isinstance(said, Refused):
        return said
    progress = Progress(view)
    answers.answered(progress, service, said)
    return _settled(progress)


def timer(key: str, row: Row, view: Surroundings[Row]) -> Decided[Row]:
    """The time of a row has come."""
    progress = Progress(view)
    match row:
        case Timer():
            _service_due(progress, row.service)
        case Service():  # a release before has written it
            _service_due(progress, service_of(key))
        case Breaker():
            breakers.forget(progress, key, row)
        case Opening():
            attempts.fill(progress)
        case Places() | Waiting():
            raise TypeError(f"{key} has no timer")
    return _settled(progress)


def _service_due(progress: Progress, service: str) -> None:
    row = progress.service(service)
    match row.task.state:
        case RecoveryState.SCHEDULED:
            attempts.due(progress, service)
        case RecoveryState.IN_PROGRESS:
            _out_of_time(progress, service, row.task)
        case _ if row.known:
            progress.look_again(service, row)
        case _:
            progress.forget_service(service)
            progress.publish(records.forgotten(service))


def _out_of_time(progress: Progress, service: str, task: Task) -> None:
    why = "its breakers have not closed" if task.phase is Phase.CLOSING else "its workflow has not answered in time"
    attempts.stop(progress, service, task, why)
    after = machine.failed(task, attempts.terms_for(progress, service), why, progress.now_ms)
    attempts.change(progress, service, after, _DEADLINE)


def _settled(progress: Progress) -> list[Effect[Row]]:
    attempts.open_places(progress)
    return progress.finish()
