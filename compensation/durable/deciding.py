"""Decisions on workflows: one function a kind of record. Pure; none raises for what a record says."""

import hmac
from collections.abc import Mapping

import orjson

from compensation.definition import Kind
from compensation.durable import wire
from compensation.durable.effects import Decided, Forget, Publish, Refused, Scorer, Surroundings
from compensation.durable.rows import Case, Closed, Head, Leaf, Row, case_key, head_key, leaf_key, workflow_and_node
from compensation.durable.starting import started
from compensation.durable.step import Progress
from compensation.durable.wire import Caused
from compensation.events import Answered, Beat, Cancel, Due, Event, Operate, Order, Pause, Resume, Signal, Verdict
from compensation.status import StepStatus
from schemas import topics
from schemas.activity import MAX_DETAILS_BYTES, MAX_RESULT_BYTES, ActivityResult, Attempt, Direction, Heartbeat, Outcome
from schemas.parsed import parsed
from schemas.reasons import Reason
from schemas.workflow import CommandKind, EventKind, WorkflowCommand, WorkflowVerdict

_ORDERS = {CommandKind.RETRY: Order.RETRY, CommandKind.SKIP: Order.SKIP, CommandKind.MARK_DONE: Order.MARK_DONE}
_EVENTS = {
    CommandKind.CANCEL: EventKind.CANCELLED,
    CommandKind.SIGNAL: EventKind.SIGNALLED,
    CommandKind.PAUSE: EventKind.PAUSED,
    CommandKind.RESUME: EventKind.RESUMED,
}


def command(
    value: bytes, view: Surroundings, scorer: Scorer, *, verified: bool, reply_to: str | None = None
) -> Decided:
    """What somebody asks of a workflow; the record has passed its gateway, where a signature was `verified` or not.

    That of another agent has passed none, and says where that agent wants to be told, `TOPIC/KEY`.
    """
    asked = parsed(WorkflowCommand, value)
    if isinstance(asked, Refused):
        return asked
    if asked.command is CommandKind.START:
        return started(asked, view, scorer, verified=verified, reply_to=reply_to)
    found = _open(asked.workflow_id, view)
    if isinstance(found, Refused):
        return found
    case, head = found
    refused = _unfit(asked, case)
    if refused is not None:
        return refused
    step = Progress(case, head, view, scorer)
    node = asked.node
    results = {node: wire.given(asked.payload)} if node is not None and _gives_result(asked, step.leaf(node)) else None
    told = step.happens(_event(asked), _caused(asked, verified=verified), results)
    return step.finish() if told is None else Refused(Reason.NOT_APPLICABLE, told)


def _unfit(asked: WorkflowCommand, case: Case) -> Refused | None:
    if case.tenant_id != asked.tenant_id:
        return Refused(Reason.OTHER_TENANT, f"the workflow does not belong to tenant {asked.tenant_id!a}")
    if asked.node is not None and asked.node not in case.prepared.nodes:
        return Refused(Reason.NOT_APPLICABLE, f"there is no node {asked.node!a}")
    size = len(wire.given(asked.payload))
    if size > MAX_RESULT_BYTES:
        return Refused(Reason.RESULT_TOO_LARGE, f"the payload is {size} bytes, allowed are {MAX_RESULT_BYTES}")
    return None


def verdict(value: bytes, view: Surroundings, scorer: Scorer) -> Decided:
    """The answer to an item that the orchestrator asked approval for."""
    said = parsed(WorkflowVerdict, value)
    if isinstance(said, Refused):
        return said
    found = _open(said.workflow_id, view, said.run)
    if isinstance(found, Refused):
        return found
    case, head = found
    if said.node is not None and said.node not in case.prepared.nodes:
        return Refused(Reason.NOT_APPLICABLE, f"there is no node {said.node!a}")
    step = Progress(case, head, view, scorer)
    item_id = head.item if said.node is None else step.leaf(said.node).item
    if item_id != said.item_id:
        return Refused(Reason.NOT_APPLICABLE, f"item {said.item_id} is not the one that is waited for")
    is_approval = said.node is not None and case.prepared.nodes[said.node].kind is Kind.APPROVAL
    results = {said.node: wire.given({"approved": said.approved, "why": said.why})} if is_approval else {}
    about = {"node": said.node, "why": ("approved: " if said.approved else "not approved: ") + said.why}
    caused = Caused(EventKind.VERDICT, about)
    given = {node: result for node, result in results.items() if node is not None}
    refused = step.happens(Verdict(said.node, said.approved, said.why), caused, given)
    return step.finish() if refused is None else Refused(Reason.NOT_APPLICABLE, refused)


def result(value: bytes, view: Surroundings, scorer: Scorer) -> Decided:
    """How an attempt ended, as a worker says. One that changes nothing is told of, and refused only if it is false."""
    said = parsed(ActivityResult, value)
    if isinstance(said, Refused):
        return said
    checked = _commanded(said, view)
    if isinstance(checked, Refused):
        return checked
    text, outcome, error = _result(said)
    about = {**_about(said), "outcome": outcome, "why": error, "by": said.worker}
    if isinstance(checked, Closed):
        return [_ignored(said, checked, view, about)]
    case, head = checked
    step = Progress(case, head, view, scorer)
    event = Answered(said.node, said.direction, said.round, said.attempt, outcome, error)
    results = {said.node: text} if text is not None and said.direction is Direction.DO else {}
    refused = step.happens(event, Caused(EventKind.ANSWERED, about), results)
    if refused is not None:
        step.ignores(Caused(EventKind.IGNORED, {**about, "why": refused}))
    return step.finish()


def heartbeat(value: bytes, view: Surroundings, scorer: Scorer) -> Decided:
    """An attempt lives."""
    said = parsed(Heartbeat, value)
    if isinstance(said, Refused):
        return said
    checked = _commanded(said, view)
    if isinstance(checked, Refused):
        return checked
    details = orjson.dumps(said.details)
    if len(details) > MAX_DETAILS_BYTES:
        return Refused(Reason.TOO_LARGE, f"the details are {len(details)} bytes, allowed are {MAX_DETAILS_BYTES}")
    if isinstance(checked, Closed):
        return []
    case, head = checked
    step = Progress(case, head, view, scorer)
    step.beats(Beat(said.node, said.direction, said.round, said.attempt), None if said.details is None else details)
    return step.finish()


def timer(key: str, row: Row, view: Surroundings, scorer: Scorer) -> Decided:
    """The time of a row has come."""
    workflow_id, node = workflow_and_node(key)
    if isinstance(row, Closed):
        return [Forget(key), Publish(topics.WORKFLOW_STATUS, workflow_id, None)]
    case = view.row(case_key(workflow_id))
    head = view.row(head_key(workflow_id))
    if not isinstance(case, Case) or not isinstance(head, Head):
        raise TypeError(f"workflow {workflow_id} has rows without its case or its head")
    if isinstance(row, Head) and row.closed_ms is not None:
        leaves = (leaf_key(workflow_id, id_) for id_ in case.prepared.nodes)
        forgotten = [Forget(key), Forget(case_key(workflow_id)), *map(Forget, leaves)]
        return [*forgotten, Publish(topics.WORKFLOW_STATUS, workflow_id, None)]
    step = Progress(case, head, view, scorer)
    awaits = row.row.awaits if isinstance(row, Leaf) else None
    about = {"node": node, "why": None if awaits is None else awaits.value}
    step.happens(Due(node), Caused(EventKind.TIMER, about))
    return step.finish()


# What is looked up and checked


def _open(workflow_id: str, view: Surroundings, run: str | None = None) -> tuple[Case, Head] | Refused:
    """The rows of a workflow that goes on, or may."""
    head, case = view.row(head_key(workflow_id)), view.row(case_key(workflow_id))
    if isinstance(head, Closed):
        return Refused(Reason.NOT_APPLICABLE, f"it is {head.state.value}")
    if not isinstance(head, Head) or not isinstance(case, Case) or run not in {None, head.run}:
        return Refused(
            Reason.UNKNOWN_WORKFLOW, f"there is no workflow {workflow_id!a}" + (" of this run" if run else "")
        )
    return case, head


def _commanded(said: Attempt, view: Surroundings) -> tuple[Case, Head] | Closed | Refused:
    """The rows of the workflow that commanded the attempt: the token proves it."""
    head, case = view.row(head_key(said.workflow_id)), view.row(case_key(said.workflow_id))
    if not isinstance(head, Head | Closed) or head.run != said.run:
        return Refused(Reason.UNKNOWN_WORKFLOW, f"there is no workflow {said.workflow_id!a} of this run")
    secret = head.secret if isinstance(head, Closed) else case.secret if isinstance(case, Case) else ""
    expected = wire.token(secret, said.node, said.direction, said.round, said.attempt)
    if not hmac.compare_digest(expected, said.token):
        return Refused(Reason.WRONG_TOKEN, f"attempt {said.attempt} at node {said.node!a} has another token")
    if isinstance(head, Closed):
        return head
    if not isinstance(case, Case) or said.node not in case.prepared.nodes:
        return Refused(Reason.UNKNOWN_WORKFLOW, f"workflow {said.workflow_id!a} has no node {said.node!a}")
    return case, head


def _result(said: ActivityResult) -> tuple[bytes | None, Outcome, str | None]:
    """The result as it is kept, the outcome, and the error: one too large to be kept is a failure."""
    if said.outcome is not Outcome.COMPLETED:
        return None, said.outcome, said.error
    given = said.result
    if given is None:
        return wire.given(None), Outcome.COMPLETED, None
    if given.claim is not None:
        return orjson.dumps({"claim": given.claim.model_dump(mode="json")}), Outcome.COMPLETED, None
    text = wire.given(given.value)
    if len(text) > MAX_RESULT_BYTES:
        error = f"its result is {len(text)} bytes, allowed are {MAX_RESULT_BYTES}: keep it in a claim-check store"
        return None, Outcome.FINAL, error
    return text, Outcome.COMPLETED, None


# What is said


def _about(said: Attempt) -> dict[str, object]:
    return {"node": said.node, "direction": said.direction, "round": said.round, "attempt": said.attempt}


def _ignored(said: ActivityResult, closed: Closed, view: Surroundings, about: Mapping[str, object]) -> Publish:
    named = {
        "workflow_id": said.workflow_id,
        "run": said.run,
        "version": closed.version,
        "at": view.clock_ms,
        "state": closed.state,
    }
    caused = Caused(EventKind.IGNORED, {**about, "why": f"the workflow is {closed.state.value}"})
    return Publish(topics.WORKFLOW_EVENTS, said.workflow_id, wire.event(named, caused, None, {}))


def _event(asked: WorkflowCommand) -> Event:
    by = f"{asked.requested_by}: {asked.reason}"
    match asked.command:
        case CommandKind.CANCEL:
            return Cancel(f"cancelled by {by}")
        case CommandKind.PAUSE:
            return Pause()
        case CommandKind.RESUME:
            return Resume()
        case CommandKind.SIGNAL:
            return Signal(asked.node or "")
        case _:
            return Operate(asked.node or "", _ORDERS[asked.command], asked.version or 0)


def _caused(asked: WorkflowCommand, *, verified: bool) -> Caused:
    about: dict[str, object] = {
        "node": asked.node,
        "why": asked.reason,
        "by": asked.requested_by,
        "verified": verified,
        "command_id": asked.command_id,
        "order": asked.command.value if asked.command in _ORDERS else None,
    }
    return Caused(_EVENTS.get(asked.command, EventKind.ORDERED), about)


def _gives_result(asked: WorkflowCommand, leaf: Leaf) -> bool:
    """Whether the payload is the node's result: a signal's is, and what an operator marks as done going forward."""
    if asked.command is CommandKind.MARK_DONE:
        return leaf.row.status is not StepStatus.COMPENSATION_FAILED
    return asked.command is CommandKind.SIGNAL
