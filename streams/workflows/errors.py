"""Errors of workflows as their starters and operators see them.

StreamsError
+-- WorkflowError               a workflow cannot be started, told or read
    +-- WorkflowRejectedError       the command was refused, with the reason
    +-- WorkflowUnknownError        there is no workflow of this id
    +-- WorkflowTimeoutError        what was waited for has not come in time
"""

from datetime import timedelta

from schemas.workflow import CommandKind
from streams.errors import StreamsError


class WorkflowError(StreamsError):
    """A workflow cannot be started, told or read."""


class WorkflowRejectedError(WorkflowError):
    """The command was refused and has changed nothing.

    `reason` is a code of schemas.reasons, or one of a later version of the system; `detail` says it in words.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(
            f"the command was refused, {reason}: {detail}" if detail else f"the command was refused: {reason}"
        )
        self.reason, self.detail = reason, detail


class WorkflowUnknownError(WorkflowError):
    """There is no workflow of this id: it was never started, or is closed and forgotten."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(
            f"there is no workflow {workflow_id}: it was never started, or has been closed for so long that it is "
            "forgotten. 'acgs workflow list' shows those there are"
        )


class WorkflowTimeoutError(WorkflowError):
    """What was waited for has not come in time. The command, if there was one, may still be taken."""


def not_written(kind: CommandKind, workflow_id: str, waited: timedelta) -> WorkflowTimeoutError:
    """The broker has not acknowledged a command."""
    return WorkflowTimeoutError(
        f"the broker has not acknowledged the {kind.value} of workflow {workflow_id} within {_s(waited)}; it may have "
        "it nevertheless. 'acgs doctor' looks for the cause"
    )


def not_taken(kind: CommandKind, workflow_id: str, waited: timedelta) -> WorkflowTimeoutError:
    """Nobody has answered to a command that is in the log."""
    return WorkflowTimeoutError(
        f"the {kind.value} of workflow {workflow_id} is in the log, but nobody has taken or refused it within "
        f"{_s(waited)}; it will be, once the agents run. 'acgs status' shows whether gateway-workflows and "
        "orchestrator do, 'acgs dead-letters list' whether they failed on it"
    )


def not_closed(workflow_id: str, state: str, waited: timedelta) -> WorkflowTimeoutError:
    """A workflow goes on."""
    return WorkflowTimeoutError(
        f"workflow {workflow_id} is {state} after {_s(waited)} and goes on. 'acgs workflow show {workflow_id}' says "
        "what it waits for"
    )


def _s(waited: timedelta) -> str:
    return f"{waited.total_seconds():g} s"
