"""The start of a workflow: what it is checked for, and the rows that it begins with."""

import hashlib

import orjson

from compensation.definition import MAX_BYTES
from compensation.durable import answering, wire
from compensation.durable.effects import Decided, Publish, Refused, Scorer, Surroundings
from compensation.durable.prepared import Prepared, keys, prepare
from compensation.durable.rows import Case, Closed, Head, Leaf, Row, case_key, head_key, leaf_key
from compensation.durable.step import Progress
from compensation.durable.weighing import heaviest_undo
from compensation.durable.wire import Caused
from compensation.errors import DefinitionError
from compensation.rows import WorkflowRow
from schemas import topics
from schemas.policy import Policy
from schemas.reasons import Reason
from schemas.workflow import MAX_INPUT_BYTES, EventKind, WorkflowCommand

_SHOWN_PROBLEMS = 10


def started(
    asked: WorkflowCommand, view: Surroundings, scorer: Scorer, *, verified: bool, reply_to: str | None = None
) -> Decided:
    """Begins a workflow, or says that it has been begun, or why it cannot be.

    `verified` says whether who asks is proven; it is kept, and weighs on every forward command. `reply_to` is told how
    it goes on.
    """
    prepared = _prepared(asked)
    if isinstance(prepared, Refused):
        return prepared
    case = _case(asked, prepared, view, verified=verified)._replace(reply_to=reply_to)
    existing = view.row(head_key(asked.workflow_id))
    if isinstance(existing, Head | Closed):
        return _again(asked, case, existing, view)
    refused = _check(case, asked, view.control.policy)
    if refused is not None:
        return refused
    head = Head(case.run, WorkflowRow(open=len(prepared.nodes)))
    step = Progress(case, head, view, scorer)
    about: dict[str, object] = {
        "by": asked.requested_by,
        "verified": verified,
        "command_id": asked.command_id,
        "name": prepared.definition.name,
        "tenant_id": case.tenant_id,
        "tags": case.tags,
        "definition": orjson.Fragment(prepared.text),
        "input": orjson.Fragment(case.input),
    }
    is_held = heaviest_undo(case, scorer, view.control) is not None
    step.begin(Caused(EventKind.STARTED, about), held=is_held)
    return step.finish()


def _prepared(asked: WorkflowCommand) -> Prepared | Refused:
    text = orjson.dumps(asked.definition)
    if len(text) > MAX_BYTES:
        return Refused(Reason.INVALID_DEFINITION, f"the definition is {len(text)} bytes, allowed are {MAX_BYTES}")
    try:
        return prepare(text)
    except DefinitionError as error:
        shown, more = error.problems[:_SHOWN_PROBLEMS], len(error.problems) - _SHOWN_PROBLEMS
        return Refused(Reason.INVALID_DEFINITION, "; ".join(shown) + (f"; and {more} more" if more > 0 else ""))


def _case(asked: WorkflowCommand, prepared: Prepared, view: Surroundings, *, verified: bool) -> Case:
    entropy, tags = view.entropy(), tuple(asked.tags or ())
    given = orjson.dumps(asked.input)
    same = [prepared.digest, tags, asked.tenant_id, asked.input]
    return Case(
        prepared=prepared,
        input=given,
        workflow_id=asked.workflow_id,
        tags=tags,
        tenant_id=asked.tenant_id,
        requested_by=asked.requested_by,
        constitutional_hash=asked.constitutional_hash,
        run=entropy[:16].hex(),
        secret=entropy[16:].hex(),
        content=hashlib.sha256(orjson.dumps(same, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        started_ms=view.clock_ms,
        verified=verified,
    )


def _again(asked: WorkflowCommand, case: Case, existing: Head | Closed, view: Surroundings) -> Decided:
    """The same start once more changes nothing, and an agent is told how it stands; another one is refused."""
    known = view.row(case_key(asked.workflow_id))
    content = known.content if isinstance(known, Case) else existing.content if isinstance(existing, Closed) else ""
    state = existing.state if isinstance(existing, Closed) else existing.row.state
    if content != case.content:
        return Refused(
            Reason.OTHER_CONTENT,
            f"workflow {asked.workflow_id!a} is {state.value}, and was started with another definition, input, tags or "
            "tenant: take another id",
        )
    named = {
        "workflow_id": asked.workflow_id,
        "run": existing.run,
        "version": existing.version if isinstance(existing, Closed) else existing.row.version,
        "at": view.clock_ms,
        "state": state,
    }
    about = {"command_id": asked.command_id, "by": asked.requested_by, "why": "it has been started before"}
    event = wire.event(named, Caused(EventKind.IGNORED, about), None, {})
    said = Publish(topics.WORKFLOW_EVENTS, asked.workflow_id, event)
    return [said] if case.reply_to is None else [said, _standing(case, known, existing, view)]


def _standing(case: Case, known: Row | None, existing: Head | Closed, view: Surroundings) -> Publish:
    """How the workflow stands, for the agent whose start is `case`."""
    id_ = case.workflow_id
    if isinstance(existing, Closed):
        return answering.closed(case, existing)
    if not isinstance(known, Case):
        raise KeyError(case_key(id_))

    def leaf(node: str) -> Leaf:
        row = view.row(leaf_key(id_, node))
        if not isinstance(row, Leaf):
            raise KeyError(node)
        return row

    return answering.answer(known._replace(reply_to=case.reply_to), existing, leaf)


def _check(case: Case, asked: WorkflowCommand, policy: Policy) -> Refused | None:
    """What only the input and the policy can tell."""
    if len(case.input) > MAX_INPUT_BYTES:
        return Refused(Reason.INVALID_INPUT, f"the input is {len(case.input)} bytes, allowed are {MAX_INPUT_BYTES}")
    for node in case.prepared.definition.nodes:
        undo = node.compensation
        for queue in (node.queue, undo.queue if undo else node.queue):
            if queue not in policy.queues:
                known = ", ".join(policy.queues)
                return Refused(
                    Reason.UNKNOWN_QUEUE, f"node {node.id!a}: the policy has no queue {queue!a}, but {known}"
                )
        if node.approval and all(tier.name != node.approval.tier for tier in policy.tiers):
            detail = f"node {node.id!a}: the policy has no tier {node.approval.tier!a}"
            return Refused(Reason.INVALID_DEFINITION, detail)
        try:
            keys(node, asked.workflow_id, case.run, case.input, None)
            keys(node, asked.workflow_id, case.run, case.input, 0)
        except ValueError as error:
            return Refused(Reason.INVALID_INPUT, f"node {node.id!a}: {error}")
    return None
