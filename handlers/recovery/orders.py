"""What operators order: schedule, approve, cancel."""

from handlers.recovery import attempts, machine
from handlers.recovery.machine import Begin, Task, Terms
from handlers.recovery.progress import Progress
from handlers.recovery.records import Caused
from schemas.effects import Refused
from schemas.model import ms
from schemas.reasons import Reason
from schemas.recovery import RecoveryCause, RecoveryCommand, RecoveryCommandKind, RecoveryRule


def ordered(progress: Progress, command: RecoveryCommand, *, verified: bool) -> Refused | None:
    """Does what a command says, or says why it does not apply. The command has passed its gateway."""
    service, task = command.service, progress.service(command.service).task
    caused = Caused(RecoveryCause.ORDERED, command.command_id, command.requested_by, verified)
    if command.version is not None and command.version != task.version:
        return _not_applicable(f"the recovery is at version {task.version}, not {command.version}: look again")
    if command.command is RecoveryCommandKind.CANCEL:
        return _cancel(progress, command, caused)
    rule = progress.control.policy.recovery_of(service)
    if rule is None:
        epoch = progress.control.policy.epoch
        return _not_applicable(f"the policy, epoch {epoch}, has no rule for the recovery of {service!a}")
    if command.command is RecoveryCommandKind.APPROVE:
        return _approve(progress, command, attempts.terms_of(rule), caused)
    return _schedule(progress, command, rule, caused)


def _schedule(progress: Progress, command: RecoveryCommand, rule: RecoveryRule, caused: Caused) -> Refused | None:
    task = progress.service(command.service).task
    if task.is_under_way:
        return _not_applicable(f"it is {task.state} already, version {task.version}")
    begin = Begin(
        command.strategy or rule.strategy,
        rule.priority if command.priority is None else command.priority,
        command.constitutional_hash,
        0 if command.not_before is None else ms(command.not_before),
        is_ordered=True,
    )
    after = machine.begun(task, attempts.terms_of(rule), begin, _why("scheduled", command), progress.now_ms)
    attempts.change(progress, command.service, after, caused)
    return None


def _approve(progress: Progress, command: RecoveryCommand, terms: Terms, caused: Caused) -> Refused | None:
    task = progress.service(command.service).task
    why = _why("approved", command)
    after = machine.approved(task, terms, command.constitutional_hash, why, progress.now_ms)
    if after is None:
        return _nothing(task, "approve")
    attempts.change(progress, command.service, after, caused)
    attempts.due(progress, command.service)
    return None


def _cancel(progress: Progress, command: RecoveryCommand, caused: Caused) -> Refused | None:
    task, why = progress.service(command.service).task, _why("cancelled", command)
    after = machine.cancelled(task, why, progress.now_ms)
    if after is None:
        return _nothing(task, "cancel")
    attempts.stop(progress, command.service, task, why)
    attempts.change(progress, command.service, after, caused)
    return None


def _nothing(task: Task, what: str) -> Refused:
    return _not_applicable(f"there is nothing to {what}: it is {task.state}")


def _not_applicable(detail: str) -> Refused:
    return Refused(Reason.NOT_APPLICABLE, detail)


def _why(done: str, command: RecoveryCommand) -> str:
    return f"{done} by {command.requested_by}: {command.reason}"
