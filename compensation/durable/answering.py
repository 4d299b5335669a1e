"""What an agent is told that has started a workflow and wants to know how it goes on."""

from collections.abc import Callable

import orjson
from pydantic import ValidationError

from compensation.durable.effects import Publish, Refused
from compensation.durable.rows import Case, Closed, Head, Leaf
from compensation.durable.standing import attention_of, results_of
from schemas import topics
from schemas.workflow import CommandKind, WorkflowAnswer, WorkflowCommand

_TOPICS = frozenset({topics.RECOVERY})
"""Where agents are told: the inboxes of those that start workflows."""


def known(reply_to: bytes | None) -> str | None:
    """The place that a header names, if it is one that answers go to."""
    if reply_to is None or reply_to.split(b"/", 1)[0].decode(errors="replace") not in _TOPICS:
        return None
    return reply_to.decode(errors="replace")


def answer(case: Case, head: Head, leaf: Callable[[str], Leaf]) -> Publish:
    """How the workflow stands, for the agent that started it: a WorkflowAnswer.

    Raises:
        ValueError: the workflow was started by none.
    """
    if case.reply_to is None:
        raise ValueError(f"workflow {case.workflow_id} was not started by an agent")
    row = head.row
    value = orjson.dumps(
        {
            "v": 1,
            "workflow_id": case.workflow_id,
            "run": case.run,
            "state": row.state.value,
            "version": row.version,
            "commanded": row.commands > 0,
            "taken": head.taken,
            "cause": row.cause,
            "attention": attention_of(head, leaf),
            "results": results_of(case, head, leaf),
        }
    )
    return _to(case.reply_to, value)


def closed(case: Case, known: Closed) -> Publish:
    """How a workflow has ended of which only that is known, for the agent whose start is `case`.

    Raises:
        ValueError: no agent asks.
    """
    if case.reply_to is None:
        raise ValueError(f"workflow {case.workflow_id} was not started by an agent")
    said = WorkflowAnswer(
        workflow_id=case.workflow_id,
        run=known.run,
        state=known.state,
        version=known.version,
        commanded=True,
        taken=True,
        cause="it had ended before it was asked for again",
    )
    return _to(case.reply_to, said.model_dump_json(exclude_none=True).encode())


def refusal(value: bytes, reply_to: str, refused: Refused) -> Publish | None:
    """That a start was refused, for the agent that asked for it; None for any other command."""
    try:
        asked = WorkflowCommand.model_validate_json(value)
    except ValidationError:
        return None
    if asked.command is not CommandKind.START:
        return None
    said = WorkflowAnswer(workflow_id=asked.workflow_id, refused=f"{refused.reason.value}: {refused.detail}")
    return _to(reply_to, said.model_dump_json(exclude_none=True).encode())


def _to(reply_to: str, value: bytes) -> Publish:
    topic, key = reply_to.split("/", 1)
    return Publish(topic, key, value)
