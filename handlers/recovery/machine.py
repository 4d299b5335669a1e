"""The state machine of one recovery: (task, what happens) to the task after it. Pure: no clock, no chance, no waiting.

It drives both the agent on lanes and the RecoveryOrchestrator of one process.
"""

from enum import StrEnum
from fractions import Fraction
from typing import Any, NamedTuple

from handlers.recovery.delays import delay_ms
from handlers.recovery.transitions import TRANSITIONS, UNDER_WAY
from schemas.recovery import RecoveryState, RecoveryStrategy

_S = RecoveryState


class Phase(StrEnum):
    """Where an attempt that is in progress stands."""

    RUNNING = "running"
    HELD = "held"
    """It waits for people to approve what it would do; it takes no place meanwhile."""
    CLOSING = "closing"
    """All has been done; the service's breakers tell whether it helped."""


class Terms(NamedTuple):
    """What the rule in force says. Lengths are in milliseconds.

    `attempt_ms` is how long an attempt may take from its start, `closing_ms` how long breakers may take to close after
    it. `has_check` says that a health check tells whether an attempt helped.
    """

    max_attempts: int
    initial_ms: int
    max_ms: int
    multiplier: Fraction
    attempt_ms: int
    closing_ms: int
    has_check: bool


class Begin(NamedTuple):
    """What a recovery begins with. `hash` is the policy generation that it is scheduled under."""

    strategy: RecoveryStrategy
    priority: int
    hash: str
    not_before_ms: int = 0
    is_ordered: bool = False
    """Whether a person asks for it, not a breaker that opened."""


class Task(NamedTuple):
    """The recovery of one service.

    `run` rises with each recovery, `attempt` counts within one, `version` rises with each change of state. `due` is
    when the next attempt comes while it is scheduled, and the deadline of the one in progress. `phase` and `has_check`
    are those of the attempt in progress; `closed` says that the breakers have been closed since it started. `ordered`
    is when the attempt was to come that a person has ordered, 0 where it awaits one; None once it has been made.
    """

    state: RecoveryState = RecoveryState.IDLE
    run: int = 0
    attempt: int = 0
    version: int = 0
    strategy: RecoveryStrategy = RecoveryStrategy.EXPONENTIAL_BACKOFF
    priority: int = 1
    hash: str = ""
    since: int = 0
    why: str = ""
    due: int | None = None
    phase: Phase | None = None
    has_check: bool = False
    closed: bool = False
    ordered: int | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether no other recovery of the service may begin."""
        return self.state in UNDER_WAY


class TransitionError(Exception):
    """A transition that the table does not have: a defect of this package."""


def become(task: Task, state: RecoveryState, why: str, now_ms: int, **changes: Any) -> Task:  # noqa: ANN401
    """The task in another state.

    Raises:
        TransitionError: the table has no such transition.
    """
    if state not in TRANSITIONS[task.state]:
        raise TransitionError(f"a recovery that is {task.state} does not become {state}")
    ended = task._replace(due=None, phase=None, has_check=False, closed=False, ordered=None)
    return ended._replace(**{"state": state, "why": why, "since": now_ms, "version": task.version + 1, **changes})


def begun(task: Task, terms: Terms, begin: Begin, why: str, now_ms: int) -> Task:
    """A new recovery: its first attempt is scheduled, or awaits a person."""
    run = max(task.run + 1, now_ms)  # never one that a forgotten recovery of the service has had
    fresh = task._replace(
        run=run, attempt=0, strategy=begin.strategy, priority=begin.priority, hash=begin.hash, due=None
    )
    delay = _delay(fresh, terms)
    if delay is None:
        ordered = 0 if begin.is_ordered else None
        return become(fresh, _S.AWAITING_MANUAL, f"{why}; its strategy is manual", now_ms, ordered=ordered)
    due = max(now_ms + delay, begin.not_before_ms)
    return become(fresh, _S.SCHEDULED, why, now_ms, due=due, ordered=due if begin.is_ordered else None)


def started(task: Task, terms: Terms, now_ms: int) -> Task:
    """The next attempt is made."""
    attempt = task.attempt + 1
    return become(
        task,
        _S.IN_PROGRESS,
        f"attempt {attempt} of {terms.max_attempts}",
        now_ms,
        attempt=attempt,
        due=now_ms + terms.attempt_ms,
        phase=Phase.RUNNING,
        has_check=terms.has_check,
    )


def failed(task: Task, terms: Terms | None, why: str, now_ms: int) -> Task:
    """The attempt has failed: the next one is scheduled or awaits a person, or there is none left, nor a need."""
    said = f"attempt {task.attempt} failed: {why}"
    if task.closed:
        return _healed(task, said, now_ms)
    if terms is None:
        return become(task, _S.FAILED, f"{said}; the policy has no rule for it any more", now_ms)
    if task.attempt >= terms.max_attempts:
        return become(task, _S.FAILED, f"{said}; it was the last of {terms.max_attempts}", now_ms)
    delay = _delay(task, terms)
    if delay is None:
        return become(task, _S.AWAITING_MANUAL, said, now_ms)
    return become(task, _S.SCHEDULED, said, now_ms, due=now_ms + delay)


def succeeded(task: Task, why: str, now_ms: int) -> Task:
    """The attempt has helped."""
    return become(task, _S.SUCCEEDED, why, now_ms)


def completed(task: Task, terms: Terms | None, checked: object, now_ms: int) -> Task:
    """All that the attempt does is done; `checked` is what the health check says.

    Only True means that it has helped. Without a health check the breakers tell: those that have closed already, or
    will in time.
    """
    if task.has_check:
        if checked is True:
            return succeeded(task, "the health check says that it is healthy", now_ms)
        return failed(task, terms, "the health check does not say that it is healthy", now_ms)
    if task.closed:
        return succeeded(task, "its breakers have closed", now_ms)
    if terms is None:
        return failed(task, None, "its breakers have not closed", now_ms)
    return task._replace(phase=Phase.CLOSING, due=now_ms + terms.closing_ms)


def closed(task: Task, now_ms: int, *, by_change: bool) -> Task:
    """A breaker is closed, and no other of the service is known not to be; the same task where nothing follows.

    `by_change`: it was not closed before. What is scheduled ends by such a change only, and not what a person has
    ordered: that comes when it was ordered for.
    """
    if task.state in {_S.FAILED, _S.CANCELLED}:
        return become(task, _S.IDLE, "its breakers are closed", now_ms)
    if task.state in {_S.SCHEDULED, _S.AWAITING_MANUAL} and by_change:
        if task.ordered is not None:
            return _as_ordered(task, task.ordered, now_ms)
        return become(task, _S.IDLE, "its breakers have closed by themselves", now_ms)
    if task.state is _S.IN_PROGRESS:
        if task.phase is Phase.CLOSING:
            return succeeded(task, "its breakers have closed", now_ms)
        return task if task.closed else task._replace(closed=True)
    return task


def reopened(task: Task) -> Task:
    """A breaker is not closed, so that a closing during the attempt counts for nothing; else the same task."""
    return task._replace(closed=False) if task.closed else task


def begins(task: Task, terms: Terms, now_ms: int, *, by_change: bool) -> bool:
    """Whether an open breaker begins a recovery; `by_change`: it was not open before.

    After a success one that has stayed open begins another once the longest delay has passed: the health check was
    wrong. What was cancelled, or has used up its attempts, begins anew only after the breakers have been closed.
    """
    if task.state is _S.SUCCEEDED:
        return by_change or now_ms >= task.since + terms.max_ms
    return task.state is _S.IDLE


def sooner(task: Task, terms: Terms, strategy: RecoveryStrategy, now_ms: int) -> Task:
    """A breaker opens while an order is to come later: it comes when the rule's first attempt would, by its strategy.

    The same task where it does not come sooner.
    """
    if task.state is not _S.SCHEDULED or task.ordered is None or task.due is None:
        return task
    delay = _delay(task._replace(strategy=strategy, attempt=0), terms)
    return task if delay is None or now_ms + delay >= task.due else task._replace(due=now_ms + delay)


def approved(task: Task, terms: Terms, hash_: str, why: str, now_ms: int) -> Task | None:
    """A person starts the next attempt now, of a new run if all of this one are used up; None where there is none."""
    if task.state not in {_S.AWAITING_MANUAL, _S.FAILED}:
        return None
    if task.state is _S.FAILED or task.attempt >= terms.max_attempts:
        task = task._replace(run=max(task.run + 1, now_ms), attempt=0)
    ordered = None if task.ordered is None else now_ms
    return become(task._replace(hash=hash_), _S.SCHEDULED, why, now_ms, due=now_ms, ordered=ordered)


def cancelled(task: Task, why: str, now_ms: int) -> Task | None:
    """It ends here; None where nothing is under way."""
    return become(task, _S.CANCELLED, why, now_ms) if task.is_under_way else None


def awaits_person(task: Task, why: str, now_ms: int) -> Task:
    """It does not go on by itself, if there is still a need."""
    if task.closed:
        return _healed(task, why, now_ms)
    return become(task, _S.AWAITING_MANUAL, why, now_ms)


def given_up(task: Task, why: str, now_ms: int) -> Task:
    """What is scheduled is not attempted, and nobody is asked."""
    return become(task, _S.IDLE, why, now_ms)


def held(task: Task) -> Task:
    """The attempt waits for people, however long it takes them."""
    return task._replace(phase=Phase.HELD, due=None)


def goes_on(task: Task, terms: Terms, now_ms: int) -> Task:
    """People have approved what the attempt does."""
    return task._replace(phase=Phase.RUNNING, due=now_ms + terms.attempt_ms)


def _healed(task: Task, why: str, now_ms: int) -> Task:
    return become(task, _S.IDLE, f"{why}; but its breakers have closed meanwhile", now_ms)


def _as_ordered(task: Task, ordered: int, now_ms: int) -> Task:
    is_sooner = task.due is not None and now_ms < task.due < ordered
    return task._replace(due=ordered) if is_sooner else task


def _delay(task: Task, terms: Terms) -> int | None:
    return delay_ms(
        task.strategy,
        task.attempt + 1,
        initial_ms=terms.initial_ms,
        multiplier=terms.multiplier,
        max_ms=terms.max_ms,
    )
