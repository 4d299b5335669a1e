"""Changes of recoveries and what follows from them: events, statuses, places, and workflows that make attempts."""

from fractions import Fraction

from handlers.generation import withdrawn
from handlers.recovery import line, machine, records
from handlers.recovery.machine import Phase, Task, Terms
from handlers.recovery.progress import Progress
from handlers.recovery.records import Caused
from handlers.recovery.rows import OPENING, PLACES, Ending, Opening
from schemas.model import length_ms
from schemas.recovery import RecoveryCause, RecoveryRule, RecoveryState

_STARTED_AT_ONCE = 100
"""How many that wait are looked at for one record."""
_SKEW_MS = 1_000
"""What the orchestrator allows for the clocks of workers, at each activity."""
_SLACK_MS = 30_000
"""How much longer than its activities may take an attempt is waited for: the orchestrator may start anew meanwhile."""

_ENDS_WITHIN_MS = 30_000
"""How long after its deadline a cancelled attempt's workflow is waited for: its last activity is over by then."""

_DUE = Caused(RecoveryCause.DUE)


def terms_of(rule: RecoveryRule) -> Terms:
    """What a rule says, for the state machine."""
    activities = 1 if rule.health_check is None else 2
    activity_ms = length_ms(rule.start_within) + length_ms(rule.timeout) + _SKEW_MS
    return Terms(
        max_attempts=rule.max_retry_attempts,
        initial_ms=length_ms(rule.initial_delay),
        max_ms=length_ms(rule.max_delay),
        multiplier=Fraction(rule.backoff_multiplier),
        attempt_ms=activities * activity_ms + _SLACK_MS,
        closing_ms=length_ms(rule.timeout),
        has_check=rule.health_check is not None,
    )


def terms_for(progress: Progress, service: str) -> Terms | None:
    """What the policy in force says of a service; None where it has no rule."""
    rule = progress.control.policy.recovery_of(service)
    return None if rule is None else terms_of(rule)


def change(progress: Progress, service: str, task: Task, caused: Caused) -> None:
    """The recovery of a service is so from now on. Places and the line follow, and the change is told."""
    row = progress.service(service)
    before = row.task
    if task.state is not RecoveryState.SCHEDULED:
        line.leave(progress, service)
    _count(progress, before, task)
    after = row._replace(task=task)
    progress.keep_service(service, after)
    if task.version != before.version:
        progress.publish(records.event(service, before, task, caused, progress.now_ms))
    if (task.version, task.phase, task.due) != (before.version, before.phase, before.due):
        tell(progress, service)


def tell(progress: Progress, service: str) -> None:
    """Says how the recovery of a service stands."""
    rule, waits = progress.control.policy.recovery_of(service), progress.waiting(service) is not None
    progress.publish(records.status(service, progress.service(service), rule, waits=waits))


def due(progress: Progress, service: str) -> None:
    """The time of an attempt has come: it is made, or stands in the line of those that get the free places.

    It is made at once only if there is a place for everybody who may become due, so that nobody can come before it.
    """
    places, row = progress.places(), progress.service(service)
    if row.ending is not None and progress.now_ms < row.ending.until:
        _await_end(progress, service, row.ending)
        return
    if progress.control.policy.max_recoveries_at_once - places.running >= places.scheduled:
        _start(progress, service)
        return
    line.join(progress, service, row.task.priority)
    progress.keep_service(service, row)
    if not has_place(progress):
        tell(progress, service)


def has_place(progress: Progress) -> bool:
    """Whether the policy in force lets the lane run one more."""
    return progress.places().running < progress.control.policy.max_recoveries_at_once


def open_places(progress: Progress) -> None:
    """Has free places given to those that wait, if there are both. Call it at the end of every decision.

    They are given by a timer, which comes after those of everything else that is due by now: so the lowest priority
    number goes first also where many become due at one instant.
    """
    if line.first(progress) is not None and has_place(progress) and progress.row(OPENING) is None:
        progress.keep(OPENING, Opening(progress.now_ms), progress.now_ms)


def fill(progress: Progress) -> None:
    """Gives free places to those that wait; if that are many, the lane goes on with its next record."""
    progress.forget(OPENING)
    for _ in range(_STARTED_AT_ONCE):
        service = line.first(progress)
        if service is None or not has_place(progress):
            return
        _start(progress, service)


def stop(progress: Progress, service: str, task: Task, why: str) -> None:
    """Cancels the workflow of an attempt that is given up. What it is doing goes on until it has answered."""
    if task.phase in {Phase.RUNNING, Phase.HELD}:
        progress.publish(records.cancel(service, task, why, progress.control, progress.now_ms))
        until = max(progress.now_ms, task.due or 0) + _ENDS_WITHIN_MS
        ending = Ending(records.workflow_id(service, task), until)
        progress.keep_service(service, progress.service(service)._replace(ending=ending))


def ended(progress: Progress, service: str) -> None:
    """The workflow of the attempt that was cancelled has ended, so that the next one may be made."""
    row = progress.service(service)
    progress.keep_service(service, row._replace(ending=None))
    is_awaited = row.ending is not None and row.ending.is_awaited and row.task.due == row.ending.until
    if is_awaited and row.task.state is RecoveryState.SCHEDULED:
        change(progress, service, row.task._replace(due=progress.now_ms), _DUE)
        due(progress, service)


def _await_end(progress: Progress, service: str, ending: Ending) -> None:
    """Puts off an attempt that is due until the workflow of the one before has answered, or its time is over."""
    row = progress.service(service)
    waits = f"; until its due time it waits for the end of {ending.workflow_id}, which was cancelled"
    why = row.task.why.removesuffix(waits) + waits
    progress.keep_service(service, row._replace(ending=ending._replace(is_awaited=True)))
    change(progress, service, row.task._replace(due=ending.until, why=why), _DUE)


def _start(progress: Progress, service: str) -> None:
    """Makes the next attempt, if the policy in force still has a rule for it and accepts the hash it began under."""
    task, control, now = progress.service(service).task, progress.control, progress.now_ms
    rule = control.policy.recovery_of(service)
    if rule is None:
        why = f"epoch {control.policy.epoch} has no rule for it any more"
        change(progress, service, machine.given_up(task, why, now), _DUE)
        return
    gone = withdrawn(task.hash, control, now)
    if gone is not None:
        change(progress, service, machine.awaits_person(task, gone, now), _DUE)
        return
    after = machine.started(task, terms_of(rule), now)
    row = progress.service(service)
    if row.ending is not None:
        progress.keep_service(service, row._replace(ending=None))
    change(progress, service, after, _DUE)
    progress.publish(records.start(service, after, rule, control, now))


def _count(progress: Progress, before: Task, after: Task) -> None:
    running = _takes_place(after) - _takes_place(before)
    scheduled = _is_scheduled(after) - _is_scheduled(before)
    if running or scheduled:
        places = progress.places()
        changed = places._replace(running=places.running + running, scheduled=places.scheduled + scheduled)
        progress.keep(PLACES, changed)


def _is_scheduled(task: Task) -> int:
    return int(task.state is RecoveryState.SCHEDULED)


def _takes_place(task: Task) -> int:
    return int(task.state is RecoveryState.IN_PROGRESS and task.phase is not Phase.HELD)
