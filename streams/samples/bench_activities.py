"""What workers do for the benches of workflows: nothing, or refuse."""

from compensation.activities import ActivityContext, activity
from compensation.errors import NoEffect


@activity
async def bench_step(context: ActivityContext) -> int:
    """Does nothing, but refuses at the node that the workflow's input names."""
    if context.node == context.get("fails_at"):
        raise NoEffect("refused")
    return 1


@activity
async def bench_undo(_: ActivityContext) -> bool:
    """Undoes nothing."""
    return True
