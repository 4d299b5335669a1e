"""What the workflows of attempts answer."""

from handlers.recovery import attempts, machine
from handlers.recovery.machine import Phase, Task
from handlers.recovery.progress import Progress
from handlers.recovery.records import CHECK, Caused, workflow_id
from schemas.recovery import RecoveryCause, RecoveryState
from schemas.workflow import StepStatus, WorkflowAnswer, WorkflowState

_ANSWERED = Caused(RecoveryCause.ANSWERED)
_FAILED = frozenset({WorkflowState.COMPENSATED, WorkflowState.COMPENSATED_WITH_EXCEPTIONS})
_PARKED = frozenset({WorkflowState.PARKED_FORWARD, WorkflowState.COMPENSATION_FAILED})


def answered(progress: Progress, service: str, answer: WorkflowAnswer) -> None:
    """How the workflow of an attempt stands. One that is not the attempt in progress changes nothing."""
    row = progress.service(service)
    if row.ending is not None and row.ending.workflow_id == answer.workflow_id and _has_ended(answer):
        attempts.ended(progress, service)
        return
    task = row.task
    is_current = task.state is RecoveryState.IN_PROGRESS and answer.workflow_id == workflow_id(service, task)
    if not is_current or task.phase is Phase.CLOSING:
        return
    if answer.refused is not None:
        _ask_person(progress, service, f"the workflow of attempt {task.attempt} was refused: {answer.refused}")
    elif answer.state is WorkflowState.COMPLETED:
        terms = attempts.terms_for(progress, service)
        after = machine.completed(task, terms, _checked(answer), progress.now_ms)
        attempts.change(progress, service, after, _ANSWERED)
    elif answer.state in _FAILED:
        _failed(progress, service, task, answer)
    elif answer.state in _PARKED or any(one.status is StepStatus.BLOCKED for one in answer.attention):
        stuck = "; ".join(f"{one.node}: {one.why}" for one in answer.attention) or answer.cause or answer.state
        attempts.stop(progress, service, task, "the recovery waits for a person")
        _ask_person(progress, service, f"attempt {task.attempt} cannot go on, {stuck}")
    else:
        _goes_on(progress, service, task, is_held=bool(answer.attention))


def _has_ended(answer: WorkflowAnswer) -> bool:
    return answer.refused is not None or answer.state in {WorkflowState.COMPLETED, *_FAILED, *_PARKED}


def _failed(progress: Progress, service: str, task: Task, answer: WorkflowAnswer) -> None:
    cause = answer.cause or "its workflow failed"
    if not answer.commanded:
        _ask_person(progress, service, f"attempt {task.attempt} was not allowed: {cause}")
    elif not answer.taken:
        _ask_person(progress, service, f"no worker took attempt {task.attempt}: {cause}")
    else:
        after = machine.failed(task, attempts.terms_for(progress, service), cause, progress.now_ms)
        attempts.change(progress, service, after, _ANSWERED)


def _goes_on(progress: Progress, service: str, task: Task, *, is_held: bool) -> None:
    terms = attempts.terms_for(progress, service)
    if is_held and task.phase is Phase.RUNNING:
        attempts.change(progress, service, machine.held(task), _ANSWERED)
    elif not is_held and task.phase is Phase.HELD and terms is not None:
        attempts.change(progress, service, machine.goes_on(task, terms, progress.now_ms), _ANSWERED)


def _ask_person(progress: Progress, service: str, why: str) -> None:
    task = progress.service(service).task
    attempts.change(progress, service, machine.awaits_person(task, why, progress.now_ms), _ANSWERED)


def _checked(answer: WorkflowAnswer) -> object:
    given = (answer.results or {}).get(CHECK)
    return None if given is None else given.value
