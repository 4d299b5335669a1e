"""What a person can do for a workflow that does not go on by itself: the command lines."""

from collections.abc import Iterator
from dataclasses import dataclass

from compensation.definition import Kind
from schemas.workflow import Attention, StepStatus, WorkflowState, WorkflowStatus
from streams.workflows.story import Story


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to do: what it is about, why, and command lines of which one is to be chosen."""

    about: str
    why: str
    commands: tuple[str, ...]


def advice(status: WorkflowStatus, story: Story) -> Iterator[Advice]:
    """What to do next; nothing where the workflow goes on or has ended. Commands name the version of the story."""
    held = any(one.node is None for one in status.attention)
    if status.state is WorkflowState.PAUSED and not held:
        resume = f"acgs workflow resume {status.workflow_id} --reason WHY"
        yield Advice("the workflow", "it is paused: nothing new is commanded", (resume,))
    for one in status.attention:
        yield _for(one, status.workflow_id, story, max(status.version, story.version))
    left = status.attention_count - len(status.attention)
    if left > 0:
        yield Advice(f"{left} more nodes", "they wait as well", ())


def _for(one: Attention, workflow_id: str, story: Story, version: int) -> Advice:
    view = story.nodes.get(one.node or "")
    if one.node is None or one.status is StepStatus.WAITING:
        if one.node is not None and view is not None and view.node.kind is Kind.SIGNAL:
            signal = f"acgs workflow signal {workflow_id} {one.node} --payload JSON"
            return Advice(one.node, one.why, (signal,))
        return Advice(one.node or "the start", one.why, ("acgs tail deliberation --from beginning",))
    why = one.why
    if one.status is StepStatus.BLOCKED and view is not None:
        why = f"{why}; start a worker of queue {view.node.queue} that knows {view.node.activity}, then retry"
    orders = ("retry", "skip", "mark-done")
    return Advice(
        one.node,
        why,
        tuple(f"acgs workflow {order} {workflow_id} {one.node} --version {version} --reason WHY" for order in orders),
    )
