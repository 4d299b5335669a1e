"""Retrying every parked or blocked node of many workflows."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from schemas.reasons import Reason
from schemas.workflow import StepStatus, WorkflowState, WorkflowStatus
from streams.workflows.board import ORDERED, to_order
from streams.workflows.client import WorkflowClient
from streams.workflows.errors import WorkflowError, WorkflowRejectedError
from streams.workflows.history import events
from streams.workflows.story import Story

_FORWARD = frozenset({WorkflowState.RUNNING, WorkflowState.PAUSED, WorkflowState.PARKED_FORWARD})
_EITHER_WAY = frozenset({StepStatus.BLOCKED, StepStatus.COMPENSATION_FAILED})
_AT_ONCE = 32
"""How many workflows are retried at the same time."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A node that was not retried, and why."""

    workflow_id: str
    node: str
    why: str


@dataclass(slots=True)
class Retried:
    """What has become of a retrying so far. `done` counts workflows, `retried` nodes."""

    done: int = 0
    retried: int = 0
    refused: list[Refused] = field(default_factory=list[Refused])


def retryable(statuses: Sequence[WorkflowStatus]) -> list[WorkflowStatus]:
    """Those that have a parked or blocked node."""
    return [status for status in statuses if any(True for _ in to_order(status))]


async def retry_all(
    client: WorkflowClient, statuses: Sequence[WorkflowStatus], reason: str, on_done: Callable[[Retried], None]
) -> Retried:
    """Has every parked or blocked node of these workflows tried anew, each at the version that it is seen at.

    A node that is refused does not keep the others from being retried. Cancelled, it leaves the rest as it is.

    Raises:
        BrokerError: the broker cannot be reached or refuses.
    """
    told, room = Retried(), asyncio.Semaphore(_AT_ONCE)

    async def one(status: WorkflowStatus) -> None:
        async with room:
            await _Retrying(client, status, reason, told).run()
            told.done += 1
            on_done(told)

    try:
        async with asyncio.TaskGroup() as group:
            for status in statuses:
                group.create_task(one(status))
    except* Exception as errors:
        raise errors.exceptions[0] from errors
    return told


class _Retrying:
    """One workflow: its nodes one after the other, as each order raises the version that the next must name."""

    def __init__(self, client: WorkflowClient, status: WorkflowStatus, reason: str, told: Retried) -> None:
        self._client, self._status, self._reason, self._told = client, status, reason, told
        self._handle = client.handle(status.workflow_id, tenant_id=status.tenant_id)
        self._version = status.version

    async def run(self) -> None:
        """Retries its nodes."""
        for node in await self._nodes():
            try:
                await self._retry(node)
                self._told.retried += 1
            except WorkflowError as error:
                self._told.refused.append(Refused(self._status.workflow_id, node, _why(error)))

    async def _nodes(self) -> list[str]:
        listed = [one.node for one in to_order(self._status) if one.node is not None]
        if self._status.attention_count <= len(self._status.attention):
            return listed
        story = await self._story()
        self._version = story.version
        return _waiting(story) or listed

    async def _retry(self, node: str) -> None:
        """Tries once more where the workflow has gone on since its status was written."""
        try:
            event = await self._handle.retry(node, self._version, self._reason)
        except WorkflowRejectedError as error:
            version = (await self._story()).version
            if error.reason != Reason.NOT_APPLICABLE or version == self._version:
                raise
            event = await self._handle.retry(node, version, self._reason)
        self._version = event.version

    async def _story(self) -> Story:
        async with aclosing(events(self._client.settings, self._status, follow=False)) as happened:
            return Story.of([event async for event in happened])


def _waiting(story: Story) -> list[str]:
    """The nodes that wait for an order, where they are more than a status lists."""
    goes_back = story.state not in _FORWARD
    return [
        id_
        for id_, view in story.nodes.items()
        if view.status in ORDERED and (view.status in _EITHER_WAY or not (goes_back or view.node.optional))
    ]


def _why(error: WorkflowError) -> str:
    return f"{error.reason}: {error.detail}" if isinstance(error, WorkflowRejectedError) else str(error)
