"""The state machine of a workflow: (rows, event) to (changed rows, commands). Pure: no clock, no chance, no waiting."""

from collections.abc import Mapping
from typing import NamedTuple

from compensation import undoing
from compensation.definition import Kind
from compensation.events import (
    Answered,
    Ask,
    Beat,
    Call,
    Cancel,
    Command,
    Complete,
    Due,
    Event,
    Operate,
    Order,
    Pause,
    Resume,
    Signal,
    Stop,
    Verdict,
)
from compensation.plan import Plan
from compensation.rows import Awaits, Memory, NodeRow, WorkflowRow
from compensation.status import CLOSED, StepStatus, WorkflowState
from compensation.work import Holds, Work
from schemas.activity import Direction, Outcome

_FAILED = frozenset({StepStatus.UNKNOWN, StepStatus.FAILED, StepStatus.NO_EFFECT})


class Transition(NamedTuple):
    """What a step changes and asks for. `refused` says why the event changes nothing."""

    workflow: WorkflowRow
    nodes: Mapping[str, NodeRow]
    commands: tuple[Command, ...]
    refused: str | None = None


def start(plan: Plan, now_ms: int, holds: Holds, *, held: bool = False) -> Transition:
    """The first step of a run: a row for every node, and commands for those without dependencies.

    A start that is `held` commands nothing before a Verdict of the whole.
    """
    work = Work(plan, _New(plan, now_ms), now_ms, holds)
    work.changed = {id_: NodeRow(missing=len(node.dependencies)) for id_, node in plan.nodes.items()}
    if held:
        work.become(WorkflowState.PAUSED)
        work.row = work.row._replace(held=True, cause="its start waits for an approval")
        work.commands.append(Ask(None, is_release=True))
        return _done(work)
    for id_, node in plan.nodes.items():
        if not node.dependencies:
            _begin(work, id_)
    undoing.finish(work)
    return _done(work)


def advance(plan: Plan, memory: Memory, event: Event, now_ms: int, holds: Holds) -> Transition:
    """One step. An event that does not fit changes nothing and is refused with its reason; none raises.

    The workflow's version rises with each step, but for signs of life: operators would never name the right one.
    """
    work = Work(plan, memory, now_ms, holds)
    node = getattr(event, "node", None)
    if node is not None and node not in plan.nodes:
        return Transition(work.row, {}, (), f"there is no node {node!a}")
    refused = _apply(work, event)
    if refused is not None:
        return Transition(memory.workflow(), {}, (), refused)
    return Transition(work.row, work.changed, ()) if isinstance(event, Beat) else _done(work)


def _apply(work: Work, event: Event) -> str | None:
    match event:
        case Answered():
            return (undoing.answered if event.direction is Direction.UNDO else _answered)(work, event)
        case Beat():
            return _beat(work, event)
        case Due():
            return _due(work, event.node)
        case _:
            return _told(work, event)


def _told(work: Work, event: Verdict | Cancel | Pause | Resume | Signal | Operate) -> str | None:
    """What people say."""
    match event:
        case Verdict():
            return _verdict(work, event)
        case Cancel():
            return _cancel(work, event.cause)
        case Pause() | Resume():
            return _pause(work, resume=isinstance(event, Resume))
        case Signal():
            return _signal(work, event.node)
        case Operate():
            return _operate(work, event)


class _New:
    """The memory of a run that has not begun."""

    def __init__(self, plan: Plan, now_ms: int) -> None:
        due = None if plan.deadline_ms is None else now_ms + plan.deadline_ms
        self._row = WorkflowRow(open=len(plan.nodes), started_ms=now_ms, due=due)

    def workflow(self) -> WorkflowRow:
        return self._row

    def node(self, id_: str) -> NodeRow:
        raise KeyError(id_)


def _done(work: Work) -> Transition:
    changed = work.row._replace(version=work.row.version + 1)
    return Transition(changed, work.changed, tuple(work.commands))


# Forward


def _begin(work: Work, id_: str) -> None:
    """Starts a node whose dependencies have settled."""
    node = work.plan.nodes[id_]
    if node.kind is Kind.SLEEP:
        work.put(id_, status=StepStatus.WAITING, awaits=Awaits.SLEEP, due=work.now + (node.wait_ms or 0))
    elif node.kind is Kind.APPROVAL:
        work.put(id_, status=StepStatus.WAITING, awaits=Awaits.VERDICT, due=work.now + (node.wait_ms or 0))
        work.commands.append(Ask(id_, is_release=False))
    elif node.kind is Kind.SIGNAL:
        due = work.now if work.node(id_).released else work.now + (node.wait_ms or 0)
        work.put(id_, status=StepStatus.WAITING, awaits=Awaits.SIGNAL, due=due)
    else:
        _call(work, id_)


def _call(work: Work, id_: str) -> None:
    """Commands a node, or asks for its release where what it would do is too dangerous."""
    node, row = work.plan.nodes[id_], work.node(id_)
    if not row.released and work.holds(id_):
        work.put(id_, status=StepStatus.WAITING, awaits=Awaits.RELEASE, due=None)
        work.commands.append(Ask(id_, is_release=True))
        return
    not_after = work.now + node.timeouts.schedule_to_start_ms
    first_at = work.now if row.first_at is None else row.first_at
    is_first, may_be_the_pivot = not row.commanded, node.pivot and not row.happened
    work.count(flying=1, commands=int(is_first), pivots=int(may_be_the_pivot))
    row = work.put(
        id_,
        status=StepStatus.EXECUTING,
        attempt=row.attempt + 1,
        commanded=work.row.commands if is_first else row.commanded,
        first_at=first_at,
        last_start=not_after,
        ended=False,
        awaits=Awaits.ANSWER,
        due=_answer_by(work, id_, first_at, not_after, not_after + (node.timeouts.heartbeat_ms or 0)),
    )
    work.commands.append(Call(id_, Direction.DO, row.round, row.attempt, not_after))


def _answer_by(work: Work, id_: str, first_at: int, last_start: int, silent_until: int) -> int:
    """When an attempt counts as failed: by its own end, by silence, or by the end of all attempts."""
    timeouts, skew = work.plan.nodes[id_].timeouts, work.plan.skew_ms
    ends = [last_start + timeouts.start_to_close_ms + skew]
    if timeouts.heartbeat_ms is not None:
        ends.append(silent_until + skew)
    if timeouts.schedule_to_close_ms is not None:
        ends.append(first_at + timeouts.schedule_to_close_ms)
    return min(ends)


def _beat(work: Work, beat: Beat) -> str | None:
    row, node = work.node(beat.node), work.plan.nodes[beat.node]
    current = beat.direction is Direction.DO and (beat.round, beat.attempt) == (row.round, row.attempt)
    if not current or row.status is not StepStatus.EXECUTING or node.timeouts.heartbeat_ms is None:
        return "nobody waits for this sign of life"
    silent_until = work.now + node.timeouts.heartbeat_ms
    started, last = row.first_at or work.now, row.last_start or work.now
    work.put(beat.node, due=_answer_by(work, beat.node, started, last, silent_until))
    return None


def _answered(work: Work, answer: Answered) -> str | None:
    id_, row = answer.node, work.node(answer.node)
    asked, current = (answer.round, answer.attempt), (row.round, row.attempt)
    if asked > current or not answer.attempt:
        return "no such attempt was commanded"
    if answer.outcome is Outcome.COMPLETED:
        if asked in row.counted:
            return f"it has been counted: node is {row.status.value}"
        refused = _succeeded(work, id_, row, is_current=asked == current)
        if refused is None:
            work.put(id_, counted=(*row.counted, asked))
        return refused
    if asked != current:
        return "another attempt has followed"
    if row.status is StepStatus.EXECUTING:
        happened = row.happened or answer.outcome in {Outcome.FAILED, Outcome.FINAL}
        work.put(id_, ended=True, happened=happened)
        _attempt_failed(work, id_, answer.outcome, answer.error or answer.outcome.value)
    elif row.status is StepStatus.UNKNOWN and not row.ended:
        work.put(id_, ended=True)
        if row.awaits is Awaits.LAST_START:
            undoing.due(work, id_)
    else:
        return f"it has been counted: node is {row.status.value}"
    return None


def _attempt_failed(work: Work, id_: str, outcome: Outcome, error: str) -> None:
    """An attempt in flight has failed: try again, or the node has failed."""
    node, row = work.plan.nodes[id_], work.node(id_)
    work.count(flying=-1, pivots=-int(node.pivot and not row.happened))
    first_at = row.first_at or work.now
    pause = min(node.retry.cap_ms, node.retry.first_ms * node.retry.factor ** min(row.attempt - 1, 40))
    total = node.timeouts.schedule_to_close_ms
    in_time = total is None or work.now + pause < first_at + total
    if work.row.failing:
        _failed(work, id_, error)
    elif outcome is Outcome.UNKNOWN_ACTIVITY:
        if work.now + pause < first_at + node.timeouts.schedule_to_start_ms:
            _wait_for_retry(work, id_, pause, error)
        else:
            work.put(id_, status=StepStatus.BLOCKED, awaits=None, due=None, error=error)
    elif outcome in {Outcome.FAILED, Outcome.NEVER_STARTED} and row.attempt < node.retry.attempts and in_time:
        _wait_for_retry(work, id_, pause, error)
    else:
        _failed(work, id_, error)


def _wait_for_retry(work: Work, id_: str, pause: int, error: str) -> None:
    work.put(id_, status=StepStatus.WAITING, awaits=Awaits.RETRY, due=work.now + pause, error=error)


def _failed(work: Work, id_: str, error: str) -> None:
    """A node has failed for good: alone if it is optional, past a pivot with no way back, else with all the others."""
    status = work.fail(id_, error)
    if work.row.failing:
        if not work.row.flying and work.row.state is WorkflowState.DRAINING:
            undoing.begin(work)
    elif work.plan.nodes[id_].optional:
        if status is StepStatus.UNKNOWN:
            undoing.undo(work, id_)
        _settle(work, id_, satisfied=False)
    elif work.row.pivots:
        work.count(parked=1)
        work.row = work.row._replace(cause=f"{id_}: {error}")
        if work.row.state is not WorkflowState.PAUSED:
            work.become(WorkflowState.PARKED_FORWARD)
    else:
        undoing.drain(work, f"{id_}: {error}")


def _succeeded(work: Work, id_: str, row: NodeRow, *, is_current: bool) -> str | None:
    match row.status:
        case StepStatus.EXECUTING:
            if not is_current:
                work.put(id_, lost=True)
                work.commands.append(Stop(id_, Direction.DO, row.round, row.attempt))
            _complete(work, id_)
        case StepStatus.WAITING | StepStatus.BLOCKED:
            _complete(work, id_)
        case StepStatus.COMPLETED | StepStatus.COMPENSATION_FAILED:
            return f"it has been counted: node is {row.status.value}"
        case StepStatus.COMPENSATING:
            work.put(id_, again=True)
        case _:
            return _succeeded_late(work, id_, row)
    return None


def _succeeded_late(work: Work, id_: str, row: NodeRow) -> str | None:
    """A node that had been given up, skipped or undone has had its effect after all."""
    is_parked = row.status in _FAILED and not work.plan.nodes[id_].optional and work.is_forward
    if row.status is StepStatus.UNKNOWN:
        work.count(unknown=-1)
    if is_parked:
        _unpark(work, id_)
        return None
    if not work.plan.nodes[id_].has_undo:
        return f"nothing undoes it: node is {row.status.value}"
    undoing.requeue(work, id_)
    return None


def _complete(work: Work, id_: str) -> None:
    row = work.node(id_)
    flies = row.status is StepStatus.EXECUTING
    is_new_pivot = work.plan.nodes[id_].pivot and not flies and not row.happened
    work.count(flying=-int(flies), pivots=int(is_new_pivot))
    place = work.stack(id_)
    work.put(id_, status=StepStatus.COMPLETED, awaits=None, due=None, ended=True, error=None, **place)
    if work.is_forward:
        _settle(work, id_, satisfied=True)
    elif not work.row.flying and work.row.state is WorkflowState.DRAINING:
        undoing.begin(work)


def _settle(work: Work, id_: str, *, satisfied: bool) -> None:
    """Tells those that depend on a node that it has come to its end, and those that depend on what is skipped by it."""
    settled = [(id_, satisfied)]
    while settled:
        at, is_satisfied = settled.pop()
        work.count(open=-1)
        for dependent in work.plan.nodes[at].dependents:
            row = work.node(dependent)
            unsatisfied = row.unsatisfied or not is_satisfied
            row = work.put(dependent, missing=row.missing - 1, unsatisfied=unsatisfied)
            if row.missing or row.status is not StepStatus.PENDING:
                continue
            if unsatisfied and not work.plan.nodes[dependent].all_settled:
                work.put(dependent, status=StepStatus.SKIPPED)
                settled.append((dependent, False))
            elif work.goes_on:
                _begin(work, dependent)
    undoing.finish(work)


# Time, people


def _due(work: Work, id_: str | None) -> str | None:
    if id_ is None:
        return _due_of_all(work)
    row = work.node(id_)
    if row.due is None or work.now < row.due:
        return "it is not due"
    if row.status in {StepStatus.COMPENSATING, StepStatus.UNKNOWN}:
        undoing.due(work, id_)
    elif row.awaits is Awaits.RETRY:
        if work.goes_on:
            _call(work, id_)
        else:
            work.put(id_, due=None)
    elif row.awaits is Awaits.SLEEP:
        work.commands.append(Complete(id_, "slept"))
        _complete(work, id_)
    elif row.awaits is Awaits.VERDICT:
        _failed(work, id_, "nobody approved in time")
    elif row.awaits is Awaits.SIGNAL:
        _signal_or_deadline(work, id_, row)
    else:
        work.put(id_, happened=True, lost=True)
        work.commands.append(Stop(id_, Direction.DO, row.round, row.attempt))
        _attempt_failed(work, id_, Outcome.FAILED, "no answer in time")
    return None


def _due_of_all(work: Work) -> str | None:
    if work.row.due is None or work.now < work.row.due:
        return "it is not due"
    if work.row.state is WorkflowState.DRAINING:
        undoing.drained(work)
        return None
    work.row = work.row._replace(due=None)
    if not work.row.pivots and work.is_forward:
        undoing.drain(work, "its deadline has passed")
    return None


def _signal(work: Work, id_: str) -> str | None:
    row = work.node(id_)
    if work.plan.nodes[id_].kind is not Kind.SIGNAL:
        return f"node {id_!a} waits for no signal"
    if row.released or row.status not in {StepStatus.PENDING, StepStatus.WAITING}:
        return f"nobody waits for it: node is {row.status.value}" + (", it has come before" if row.released else "")
    row = work.put(id_, released=True)
    if row.status is StepStatus.WAITING:
        _signal_or_deadline(work, id_, row)
    return None


def _signal_or_deadline(work: Work, id_: str, row: NodeRow) -> None:
    if row.released:
        work.commands.append(Complete(id_, "signalled"))
        _complete(work, id_)
    else:
        _failed(work, id_, "no signal in time")


def _verdict_on_start(work: Work, verdict: Verdict) -> str | None:
    if not work.row.held:
        return "nobody waits for it: the start is not held"
    work.row = work.row._replace(held=False, cause=None)
    if not verdict.approved:
        undoing.drain(work, verdict.why or "its start was not approved")
        return None
    return _pause(work, resume=True)


def _verdict(work: Work, verdict: Verdict) -> str | None:
    if verdict.node is None:
        return _verdict_on_start(work, verdict)
    id_, row = verdict.node, work.node(verdict.node)
    if row.status is not StepStatus.WAITING or row.awaits not in {Awaits.VERDICT, Awaits.RELEASE}:
        return f"nobody waits for it: node is {row.status.value}"
    if not verdict.approved:
        _failed(work, id_, verdict.why or "not approved")
    elif row.awaits is Awaits.VERDICT:
        work.commands.append(Complete(id_, verdict.why))
        _complete(work, id_)
    else:
        work.put(id_, released=True, awaits=Awaits.RETRY, due=None)
        if work.goes_on:
            _call(work, id_)
    return None


def _cancel(work: Work, cause: str) -> str | None:
    if work.row.state in CLOSED:
        return f"it is {work.row.state}"
    if work.row.failing:
        return f"it is {work.row.state}: everything is undone already"
    if work.row.pivots:
        return "it is past its pivot: there is no way back"
    undoing.drain(work, cause)
    return None


def _pause(work: Work, *, resume: bool) -> str | None:
    needed = WorkflowState.PAUSED if resume else WorkflowState.RUNNING
    if work.row.state is not needed:
        return f"it is {work.row.state}"
    if work.row.held:
        return "its start waits for an approval"
    work.become(WorkflowState.RUNNING if resume else WorkflowState.PAUSED)
    if resume:
        for id_ in work.plan.nodes:
            row = work.node(id_)
            if row.status is StepStatus.PENDING and not row.missing:
                _begin(work, id_)
            elif row.awaits is Awaits.RETRY and row.due is None:
                _call(work, id_)
        if work.row.parked:
            work.become(WorkflowState.PARKED_FORWARD)
    return None


def _operate(work: Work, order: Operate) -> str | None:
    id_, row = order.node, work.node(order.node)
    if order.version != work.row.version:
        return f"the workflow is at version {work.row.version}, not {order.version}: look again"
    if row.status is StepStatus.COMPENSATION_FAILED:
        (undoing.retry if order.order is Order.RETRY else undoing.except_)(work, id_)
    elif row.status is StepStatus.BLOCKED:
        _order_blocked(work, id_, order.order)
    elif row.status in _FAILED and work.is_forward and not work.plan.nodes[id_].optional:
        _order_parked(work, id_, order.order)
    else:
        return f"there is nothing to order: node is {row.status.value}"
    return None


def _order_blocked(work: Work, id_: str, order: Order) -> None:
    if order is Order.RETRY:
        _again(work, id_)
    elif order is Order.MARK_DONE:
        _complete(work, id_)
    else:
        _failed(work, id_, "skipped by an operator")


def _order_parked(work: Work, id_: str, order: Order) -> None:
    if work.node(id_).status is StepStatus.UNKNOWN:
        work.count(unknown=-1)
    if order is Order.MARK_DONE:
        _unpark(work, id_)
        return
    _unparked(work)
    if order is Order.RETRY:
        _again(work, id_)
    else:
        work.put(id_, status=StepStatus.SKIPPED, awaits=None, due=None)
        _settle(work, id_, satisfied=False)


def _unpark(work: Work, id_: str) -> None:
    _unparked(work)
    _complete(work, id_)


def _unparked(work: Work) -> None:
    work.count(parked=-1)
    if not work.row.parked and work.row.state is WorkflowState.PARKED_FORWARD:
        work.become(WorkflowState.RUNNING)
        work.row = work.row._replace(cause=None)


def _again(work: Work, id_: str) -> None:
    row = work.node(id_)
    work.put(id_, round=row.round + 1, attempt=0, first_at=None)
    _call(work, id_)
