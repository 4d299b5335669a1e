"""What breaker events do to recoveries: which breakers are not closed, and what begins or ends by it.

Only breakers that are not closed are remembered, and those that have just closed or retired for their time to live, so
that an event that was overtaken is known by its sequence. Heartbeats of what is closed cost no row.
"""

from handlers.health import MAX_BREAKERS
from handlers.recovery import attempts, machine
from handlers.recovery.machine import Begin
from handlers.recovery.progress import Progress
from handlers.recovery.records import Caused
from handlers.recovery.rows import Breaker, breaker_key, service_key
from schemas.breaker import BreakerEvent, BreakerEventKind, BreakerState
from schemas.recovery import RecoveryCause, RecoveryRule, RecoveryState

_MS = 1_000


def heard(progress: Progress, event: BreakerEvent) -> None:
    """A breaker of a service is in this state, or is no more."""
    service, key = event.service, breaker_key(event.service, event.instance, event.breaker)
    is_followed = progress.row(service_key(service)) is not None
    if not is_followed and progress.control.policy.recovery_of(service) is None:
        return
    row = progress.row(key)
    known = row if isinstance(row, Breaker) else None
    if known is not None and event.sequence <= known.sequence:
        return
    if event.kind is BreakerEventKind.RETIRED:
        _remember(progress, event, key, known)
    elif event.state is BreakerState.CLOSED:
        _closed(progress, event, key, known)
    else:
        _not_closed(progress, event, key, known)


def forget(progress: Progress, key: str, known: Breaker) -> None:
    """A breaker has been silent for its time to live. That says nothing of its service."""
    progress.forget(key)
    _count(progress, known.service, known=-1, not_closed=-_is_open(known.state))


def _closed(progress: Progress, event: BreakerEvent, key: str, known: Breaker | None) -> None:
    service, is_change = event.service, _has_closed(event, known)
    if is_change or event.kind is BreakerEventKind.STATE_CHANGE:
        _remember(progress, event, key, known)
    row = progress.service(service)
    if row.not_closed:
        return
    after = machine.closed(row.task, progress.now_ms, by_change=is_change)
    if after is not row.task:
        attempts.change(progress, service, after, _caused_by(event))


def _not_closed(progress: Progress, event: BreakerEvent, key: str, known: Breaker | None) -> None:
    service, is_open = event.service, event.state is BreakerState.OPEN
    is_tracked = _remember(progress, event, key, known)
    row = progress.service(service)
    task = machine.reopened(row.task)
    if task is not row.task:
        progress.keep_service(service, row._replace(task=task))
    is_change = event.kind is BreakerEventKind.STATE_CHANGE if not is_tracked else _has_opened(known)
    rule = progress.control.policy.recovery_of(service)
    if rule is None or not is_open:
        return
    if machine.begins(task, attempts.terms_of(rule), progress.now_ms, by_change=is_change):
        _begin(progress, event, rule, is_change=is_change)
    elif is_change:
        _come_sooner(progress, event, rule)


def _has_closed(event: BreakerEvent, known: Breaker | None) -> bool:
    """Whether it was not closed before. Of one that is not known any more, only its change tells."""
    if known is None or known.is_retired:
        return event.kind is BreakerEventKind.STATE_CHANGE
    return known.state is not BreakerState.CLOSED


def _has_opened(known: Breaker | None) -> bool:
    return known is None or known.state is not BreakerState.OPEN


def _begin(progress: Progress, event: BreakerEvent, rule: RecoveryRule, *, is_change: bool) -> None:
    service, now = event.service, progress.now_ms
    before = progress.service(service).task
    because = f" ({event.reason})" if event.reason else ""
    is_still = before.state is RecoveryState.SUCCEEDED and not is_change
    why = f"breaker {event.breaker} {'is still open' if is_still else 'opened'} at {event.instance}{because}"
    begin = Begin(rule.strategy, rule.priority, event.constitutional_hash)
    task = machine.begun(before, attempts.terms_of(rule), begin, why, now)
    attempts.change(progress, service, task, _caused_by(event))


def _come_sooner(progress: Progress, event: BreakerEvent, rule: RecoveryRule) -> None:
    service, task = event.service, progress.service(event.service).task
    after = machine.sooner(task, attempts.terms_of(rule), rule.strategy, progress.now_ms)
    if after is not task:
        attempts.change(progress, service, after, _caused_by(event))


def _caused_by(event: BreakerEvent) -> Caused:
    return Caused(RecoveryCause.CLOSED if event.state is BreakerState.CLOSED else RecoveryCause.OPENED)


def _remember(progress: Progress, event: BreakerEvent, key: str, known: Breaker | None) -> bool:
    """Keeps what was heard last, as far as a service may have breakers; says whether it does."""
    if known is None and progress.service(event.service).known >= MAX_BREAKERS:
        return False
    until = progress.now_ms + event.ttl_s * _MS
    is_retired = event.kind is BreakerEventKind.RETIRED
    state = BreakerState.CLOSED if is_retired else event.state
    progress.keep(key, Breaker(event.service, state, event.sequence, is_retired), until)
    was, now = known is not None and _is_open(known.state), _is_open(state)
    _count(progress, event.service, known=int(known is None), not_closed=now - was)
    return True


def _is_open(state: BreakerState) -> bool:
    """Whether it counts as not closed."""
    return state is not BreakerState.CLOSED


def _count(progress: Progress, service: str, *, known: int = 0, not_closed: int = 0) -> None:
    if not known and not not_closed:
        return
    row = progress.service(service)
    after = row._replace(known=row.known + known, not_closed=row.not_closed + not_closed)
    if not after.known and not after.task.version:
        progress.forget_service(service)
        return
    progress.keep_service(service, after)
    if not_closed and row.task.version:
        attempts.tell(progress, service)
