"""Events in words: what happened, to which node, and what followed from it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from schemas.activity import Direction, Outcome
from schemas.score import display
from schemas.workflow import Asked, CommandKind, EventKind, Step, StepStatus, WorkflowEvent, WorkflowState

MAX_NAMED = 8
"""How many nodes one line names; the others are counted."""


class Tone(StrEnum):
    """How a moment is to be taken."""

    GOOD = "good"
    HELD = "held"
    BAD = "bad"
    PLAIN = "plain"
    DIM = "dim"


@dataclass(frozen=True, slots=True)
class Moment:
    """One event for a person. `at_ms` is the broker's time; `follows` are its consequences, a line each."""

    at_ms: int
    node: str | None
    words: str
    tone: Tone
    follows: tuple[str, ...] = ()


def moments(events: Iterable[WorkflowEvent]) -> Iterator[Moment]:
    """Every event in words, in order."""
    state: WorkflowState | None = None
    for event in events:
        yield moment(event, state)
        state = event.state


def moment(event: WorkflowEvent, before: WorkflowState | None) -> Moment:
    """One event in words, after the state `before`; None for the first."""
    follows = [*_statuses(event), *_asked(event.asked)]
    if before is not None and event.state is not before:
        follows.append(f"the workflow is {event.state.value}" + (f": {event.cause}" if event.cause else ""))
    return Moment(event.at, event.node, _words(event), _tone(event), tuple(follows))


def _words(event: WorkflowEvent) -> str:
    say = _SAYINGS.get(event.event)
    return f"{_told(event)} by {_by(event)}: {event.why}" if say is None else say(event)


TIMERS: Mapping[str, str] = {
    "": "its deadline has passed",
    "answer": "no answer in time",
    "retry": "its pause is over",
    "sleep": "it has slept",
    "verdict": "nobody approved in time",
    "signal": "the time for its signal is over",
    "last_start": "no worker may begin it any more",
}
"""What the end of each wait means."""

_ORDERS: Mapping[CommandKind | None, str] = {
    CommandKind.RETRY: "ordered to be tried again",
    CommandKind.SKIP: "given up",
    CommandKind.MARK_DONE: "marked as done",
}


def _timer(event: WorkflowEvent) -> str:
    if event.why == "signal" and event.statuses.get(event.node or "") is StepStatus.COMPLETED:
        return "its signal has come before"
    return TIMERS.get(event.why or "", f"time has passed ({event.why})")


def _told(event: WorkflowEvent) -> str:
    return _ORDERS.get(event.order, "ordered") if event.event is EventKind.ORDERED else event.event.value


def _by(event: WorkflowEvent) -> str:
    return f"{event.by or 'somebody'}{' (signed)' if event.verified else ''}"


_OUTCOMES: Mapping[Outcome, str] = {
    Outcome.COMPLETED: "completed",
    Outcome.NO_EFFECT: "failed without an effect",
    Outcome.NEVER_STARTED: "not begun",
    Outcome.UNKNOWN_ACTIVITY: "no worker knows its activity",
    Outcome.FAILED: "failed",
    Outcome.FINAL: "failed for good",
}
_DONE = frozenset({Outcome.COMPLETED, Outcome.NO_EFFECT})


def _answer(event: WorkflowEvent) -> str:
    outcome = event.outcome or Outcome.COMPLETED
    is_undo = event.direction is Direction.UNDO
    done = "undone" if is_undo and outcome in _DONE else f"{'its undo: ' if is_undo else ''}{_OUTCOMES[outcome]}"
    attempt = f" (attempt {event.attempt})" if event.attempt and event.attempt > 1 else ""
    why = f": {event.why}" if event.why and outcome is not Outcome.COMPLETED else ""
    return f"{done}{attempt}{why}"


def _tone(event: WorkflowEvent) -> Tone:
    if event.event is EventKind.IGNORED:
        return Tone.DIM
    if event.event is EventKind.ANSWERED:
        is_done = event.outcome is Outcome.COMPLETED
        if event.direction is Direction.UNDO:
            return Tone.HELD if event.outcome in _DONE else Tone.BAD
        return Tone.GOOD if is_done else Tone.BAD
    is_told = event.event in {EventKind.CANCELLED, EventKind.PAUSED, EventKind.RESUMED, EventKind.ORDERED}
    return Tone.HELD if is_told or event.event is EventKind.VERDICT else Tone.PLAIN


_SAYINGS: Mapping[EventKind, Callable[[WorkflowEvent], str]] = {
    EventKind.STARTED: lambda event: f"started by {_by(event)}",
    EventKind.ANSWERED: _answer,
    EventKind.TIMER: _timer,
    EventKind.SIGNALLED: lambda event: f"signalled by {_by(event)}",
    EventKind.VERDICT: lambda event: event.why or "a verdict",
    EventKind.IGNORED: lambda event: f"ignored: {event.why}",
}
"""What is said of each kind; of the others, who asked for them and why."""


_NOTABLE: Mapping[StepStatus, str] = {
    StepStatus.SKIPPED: "skips",
    StepStatus.BLOCKED: "waits for an operator (no worker knows its activity):",
    StepStatus.UNKNOWN: "may have had its effect:",
    StepStatus.FAILED: "has failed and may have had its effect:",
    StepStatus.NO_EFFECT: "has failed without an effect:",
    StepStatus.COMPENSATION_FAILED: "could not be undone, and waits for an operator:",
}


def _statuses(event: WorkflowEvent) -> Iterator[str]:
    for status, words in _NOTABLE.items():
        is_told = status is StepStatus.NO_EFFECT
        named = [id_ for id_, now in event.statuses.items() if now is status and not (is_told and id_ == event.node)]
        if named:
            yield f"{words} {_some(named)}"


_ASKED: Mapping[Step, str] = {Step.STOP: "tells to stop:", Step.WITHDRAW: "asks no more about"}


def _asked(asked: Iterable[Asked]) -> Iterator[str]:
    named: dict[str, list[str]] = {}
    for one in asked:
        if one.step is Step.ASK:
            score = "" if one.score is None else f", as it weighs {display(one.score)}"
            yield f"asks for an approval of {one.node or 'the start'}{score}{f': {one.why}' if one.why else ''}"
        elif one.step is Step.CALL:
            again = f" (attempt {one.attempt})" if one.attempt and one.attempt > 1 else ""
            words = "undoes" if one.direction is Direction.UNDO else "calls"
            named.setdefault(words, []).append(f"{one.node}{again}")
        else:
            named.setdefault(_ASKED[one.step], []).append(one.node or "the start")
    yield from (f"{words} {_some(nodes)}" for words, nodes in named.items())


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
