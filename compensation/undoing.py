"""Backwards: draining, and compensations in reverse order of what was recorded."""

from collections.abc import Iterator

from compensation.events import Answered, Call, Stop, Withdraw
from compensation.rows import Awaits, NodeRow
from compensation.status import StepStatus, WorkflowState
from compensation.work import Work
from schemas.activity import Direction, Outcome

_SLOW_FIRST_MS = 60_000
_SLOW_CAP_MS = 3_600_000


def drain(work: Work, cause: str) -> None:
    """Commands nothing more, takes back what has not begun, and waits for the rest; then everything is undone."""
    work.become(WorkflowState.DRAINING)
    if work.row.held:
        work.commands.append(Withdraw(None))
    due = work.now + work.plan.drain_timeout_ms
    work.row = work.row._replace(failing=True, held=False, cause=cause, parked=0, due=due)
    for id_ in work.plan.nodes:
        _take_back(work, id_, work.node(id_))
    if not work.row.flying:
        begin(work)


def _take_back(work: Work, id_: str, row: NodeRow) -> None:
    if row.status is StepStatus.PENDING:
        work.put(id_, status=StepStatus.SKIPPED)
    elif row.status is StepStatus.EXECUTING:
        work.commands.append(Stop(id_, Direction.DO, row.round, row.attempt))
    elif row.status in {StepStatus.WAITING, StepStatus.BLOCKED}:
        if row.awaits in {Awaits.VERDICT, Awaits.RELEASE}:
            work.commands.append(Withdraw(id_))
        if row.commanded:
            work.fail(id_, row.error)
        else:
            work.put(id_, status=StepStatus.SKIPPED, awaits=None, due=None)


def drained(work: Work) -> None:
    """The time to drain is over: of what has not answered it is not known whether it happened."""
    for id_ in work.plan.nodes:
        row = work.node(id_)
        if row.status is StepStatus.EXECUTING:
            work.put(id_, happened=True, lost=True)
            work.fail(id_, "no answer while draining")
            work.count(flying=-1)
    begin(work)


def begin(work: Work) -> None:
    """Nothing is in flight any more: undo."""
    work.become(WorkflowState.COMPENSATING)
    work.row = work.row._replace(due=None)
    go_on(work)


def go_on(work: Work) -> None:
    """Commands the next compensations, or closes the workflow when none is left."""
    if work.row.state is not WorkflowState.COMPENSATING:
        return
    if work.plan.parallel_undo:
        for id_ in list(_free(work)):
            undo(work, id_)
    elif not work.row.undoing and (next_one := _next(work)) is not None:
        undo(work, next_one)
    if work.row.undoing or work.row.unknown or _next(work) is not None:
        return
    exceptions = WorkflowState.COMPENSATED_WITH_EXCEPTIONS
    work.become(exceptions if work.row.excepted else WorkflowState.COMPENSATED)


def _next(work: Work) -> str | None:
    """What is undone next: the unknown, last commanded first; then the completed, last completed first."""
    if work.row.unknown:
        return max(_with_status(work, StepStatus.UNKNOWN), key=lambda id_: work.node(id_).commanded)
    while (top := work.row.top) is not None:
        row = work.node(top)
        if row.status is StepStatus.COMPLETED and work.plan.nodes[top].has_undo:
            return top
        work.row = work.row._replace(top=row.before)
    return None


def _with_status(work: Work, status: StepStatus) -> Iterator[str]:
    return (id_ for id_, node in work.plan.nodes.items() if node.has_undo and work.node(id_).status is status)


def _free(work: Work) -> Iterator[str]:
    """What may be undone at once: the unknown, then what nothing that is still to be undone depends on."""
    if work.row.unknown:
        return _with_status(work, StepStatus.UNKNOWN)
    left = {StepStatus.COMPLETED, StepStatus.COMPENSATING, StepStatus.COMPENSATION_FAILED}
    held: set[str] = set()
    pending = [id_ for id_, node in work.plan.nodes.items() if node.has_undo and work.node(id_).status in left]
    pending = [one for id_ in pending for one in work.plan.nodes[id_].dependencies]
    while pending:
        id_ = pending.pop()
        if id_ not in held:
            held.add(id_)
            pending.extend(work.plan.nodes[id_].dependencies)
    return (id_ for id_ in _with_status(work, StepStatus.COMPLETED) if id_ not in held)


def undo(work: Work, id_: str) -> None:
    """Commands a node's compensation, as soon as its forward call cannot begin any more."""
    row = work.node(id_)
    if row.status is StepStatus.UNKNOWN:
        may_start_until = 0 if row.ended or row.last_start is None else row.last_start + work.plan.skew_ms
        if work.now < may_start_until:
            work.put(id_, awaits=Awaits.LAST_START, due=may_start_until)
            return
        work.count(unknown=-1)
    work.count(undoing=1)
    _call(work, id_, work.put(id_, status=StepStatus.COMPENSATING))


def _call(work: Work, id_: str, row: NodeRow) -> None:
    timeouts = work.plan.nodes[id_].undo_timeouts
    if timeouts is None:
        raise RuntimeError(f"node {id_} has no compensation")
    not_after = work.now + timeouts.schedule_to_start_ms
    row = work.put(
        id_,
        undo_attempt=row.undo_attempt + 1,
        undo_since=work.now if row.undo_since is None else row.undo_since,
        awaits=Awaits.ANSWER,
        due=not_after + timeouts.start_to_close_ms + work.plan.skew_ms,
    )
    work.commands.append(Call(id_, Direction.UNDO, row.undo_round, row.undo_attempt, not_after))


def answered(work: Work, answer: Answered) -> str | None:
    """Takes the answer of a compensation; returns why it changes nothing, if so."""
    row = work.node(answer.node)
    if (answer.round, answer.attempt) > (row.undo_round, row.undo_attempt):
        return "no such compensation was commanded"
    if answer.round != row.undo_round or row.status not in {StepStatus.COMPENSATING, StepStatus.COMPENSATION_FAILED}:
        return f"it has been undone, or is undone anew: node is {row.status.value}"
    if answer.outcome in {Outcome.COMPLETED, Outcome.NO_EFFECT}:
        _undone(work, answer.node, row)
        return None
    if answer.attempt != row.undo_attempt or row.awaits is not Awaits.ANSWER:
        return "another attempt has followed"
    tried_again(work, answer.node, answer.error or answer.outcome.value)
    return None


def _undone(work: Work, id_: str, row: NodeRow) -> None:
    parked = row.status is StepStatus.COMPENSATION_FAILED
    work.count(**{"failed_undo" if parked else "undoing": -1})
    work.put(id_, status=StepStatus.COMPENSATED, awaits=None, due=None, undo_error=None, undo_since=None)
    if row.again:
        requeue(work, id_)
    settle(work)


def settle(work: Work) -> None:
    """A compensation has come to its end: go on with the next, or with the workflow."""
    if work.row.failing:
        if work.row.state is WorkflowState.COMPENSATION_FAILED and not work.row.failed_undo:
            work.become(WorkflowState.COMPENSATING)
        go_on(work)
    else:
        finish(work)


def finish(work: Work) -> None:
    """Closes a workflow that goes forward once every node has settled and what was undone alone is undone."""
    row = work.row
    if row.failing or row.open or row.undoing or row.unknown:
        return
    work.become(WorkflowState.COMPENSATION_FAILED if row.failed_undo else WorkflowState.COMPLETED)
    work.row = work.row._replace(due=None)


def requeue(work: Work, id_: str) -> None:
    """The node has had its effect after all: note its completion, and undo it, in another round if it was undone."""
    row = work.node(id_)
    place = {} if _is_stacked(work, row) else work.stack(id_)
    work.put(
        id_,
        status=StepStatus.COMPLETED,
        awaits=None,
        due=None,
        again=False,
        undo_round=row.undo_round + (1 if row.undo_attempt else 0),
        undo_attempt=0,
        undo_since=None,
        **place,
    )
    if work.row.failing:
        if work.row.state is not WorkflowState.COMPENSATION_FAILED and work.row.state is not WorkflowState.DRAINING:
            work.become(WorkflowState.COMPENSATING)
            go_on(work)
    else:
        if work.row.state is WorkflowState.COMPLETED:
            work.become(WorkflowState.RUNNING)
        undo(work, id_)


def _is_stacked(work: Work, row: NodeRow) -> bool:
    """Whether the node will be met again on the way down the completions."""
    return work.row.top is not None and 0 < row.completed <= work.node(work.row.top).completed


def tried_again(work: Work, id_: str, error: str) -> None:
    """A compensation failed: quick retries, then slow ones for a day, then it is parked."""
    row = work.node(id_)
    retries = work.plan.nodes[id_].undo_retries or 0
    since = row.undo_since or work.now
    if row.undo_attempt <= retries:
        pause = work.plan.undo_pause_ms << (row.undo_attempt - 1)
    elif work.now - since < work.plan.slow_undo_ms:
        pause = min(_SLOW_CAP_MS, _SLOW_FIRST_MS << min(row.undo_attempt - retries - 1, 16))
    else:
        work.put(id_, status=StepStatus.COMPENSATION_FAILED, awaits=None, due=None, undo_error=error)
        work.count(undoing=-1, failed_undo=1)
        if work.row.state is WorkflowState.COMPENSATING:
            work.become(WorkflowState.COMPENSATION_FAILED)
        finish(work)
        return
    work.put(id_, awaits=Awaits.RETRY, due=work.now + pause, undo_error=error)


def due(work: Work, id_: str) -> None:
    """The timer of a node that is undone."""
    row = work.node(id_)
    if row.status is StepStatus.UNKNOWN:
        work.put(id_, awaits=None, due=None, ended=True)
        if work.row.failing:
            go_on(work)
        else:
            undo(work, id_)
    elif row.awaits is Awaits.RETRY:
        _call(work, id_, row)
    else:
        tried_again(work, id_, "no answer in time")


def retry(work: Work, id_: str) -> None:
    """An operator orders a parked compensation to be tried anew, under another key."""
    row = work.node(id_)
    work.count(failed_undo=-1, undoing=1)
    if work.row.failing:
        if not work.row.failed_undo:
            work.become(WorkflowState.COMPENSATING)
    elif work.row.state is WorkflowState.COMPENSATION_FAILED:
        work.become(WorkflowState.RUNNING)
    changes = {"undo_round": row.undo_round + 1, "undo_attempt": 0, "undo_since": None}
    _call(work, id_, work.put(id_, status=StepStatus.COMPENSATING, **changes))


def except_(work: Work, id_: str) -> None:
    """An operator says that a parked compensation is not needed, or done by hand."""
    work.row = work.row._replace(excepted=True)
    work.count(failed_undo=-1)
    work.put(id_, status=StepStatus.COMPENSATED, awaits=None, due=None)
    settle(work)
