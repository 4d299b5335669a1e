"""One workflow, as its starter or an operator holds it."""

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from datetime import timedelta
from typing import Protocol

from pydantic import JsonValue

from compensation.status import CLOSED, PARKED
from schemas.workflow import CommandKind, WorkflowEvent, WorkflowState, WorkflowStatus
from streams.claims import ClaimStore
from streams.engine.client import EngineSettings
from streams.workflows import commands
from streams.workflows.commands import Prepared, Sender
from streams.workflows.errors import not_closed
from streams.workflows.history import events
from streams.workflows.outcome import WorkflowOutcome, outcome_of
from streams.workflows.watching import Watch


class Line(Protocol):
    """What a handle needs of its client."""

    @property
    def settings(self) -> EngineSettings:
        """How the broker is reached."""
        ...

    @property
    def claims(self) -> ClaimStore | None:
        """Where large results are kept."""
        ...

    async def ask(self, prepared: Prepared) -> WorkflowEvent:
        """Sends a command and waits until it is taken."""
        ...

    async def complete(self, watch: Watch) -> None:
        """Looks up what a watch has missed."""
        ...


class WorkflowHandle:
    """A workflow. Every command is durable when its call returns, and has been taken by the orchestrator.

    Commands return the event that they caused; its `version` is the workflow's after it. They raise
    WorkflowRejectedError where the workflow, as it stands, does not take them; WorkflowTimeoutError where nobody
    answers in the client's `answer_within`; StartError where a field is not as the contract says; BrokerError where the
    broker refuses. Cancelling a call takes no command back. A handle is of use as long as its client is open.
    """

    def __init__(self, line: Line, sender: Sender, watch: Watch, run: str | None = None) -> None:
        self._line, self._sender, self._watch, self._run = line, sender, watch, run

    @property
    def workflow_id(self) -> str:
        """The workflow's id."""
        return self._watch.workflow_id

    async def status(self) -> WorkflowStatus:
        """How it stands, as of the last record that has arrived.

        Raises:
            WorkflowUnknownError: there is no workflow of this id.
            BrokerError: the broker cannot be reached or refuses.
        """
        await self._line.complete(self._watch)
        return await self._watch.until(self._is_mine)

    async def result(self, timeout: timedelta | None = None, *, until_parked: bool = False) -> WorkflowOutcome:  # noqa: ASYNC109  # the words of the error need it
        """Waits until it is closed, as long as `timeout` (None: for ever).

        A parked workflow is waited for, as an operator may free it; with `until_parked` it is not.

        Raises:
            WorkflowTimeoutError: it goes on.
            WorkflowUnknownError: there is no workflow of this id.
            BrokerError: the broker cannot be reached or refuses.
            ClaimStoreError: a large result cannot be read.
        """
        enough: Collection[WorkflowState] = CLOSED | PARKED if until_parked else CLOSED
        try:
            async with asyncio.timeout(None if timeout is None else timeout.total_seconds()):
                await self._line.complete(self._watch)
                status = await self._watch.until(lambda status: self._is_mine(status) and status.state in enough)
        except TimeoutError:
            latest = self._watch.latest
            raise not_closed(
                self.workflow_id, latest.state if latest else "on its way", timeout or timedelta()
            ) from None
        return await outcome_of(self._line.settings, status, self._line.claims)

    async def events(self) -> AsyncGenerator[WorkflowEvent, None]:
        """What happened to it, from its start on and as it happens, until it is closed.

        Raises:
            WorkflowUnknownError: there is no workflow of this id.
            BrokerError: the broker cannot be reached or refuses.
        """
        async with aclosing(events(self._line.settings, await self.status(), follow=True)) as happening:
            async for event in happening:
                yield event

    async def cancel(self, reason: str) -> WorkflowEvent:
        """Undoes everything. Refused past a pivot, and once it is undone or closed."""
        return await self._order(CommandKind.CANCEL, reason=reason)

    async def signal(self, node: str, payload: JsonValue = None) -> WorkflowEvent:
        """Completes a node of kind signal, with the payload as its result."""
        return await self._order(CommandKind.SIGNAL, node=node, payload=payload)

    async def pause(self, reason: str) -> WorkflowEvent:
        """Commands nothing new; answers are taken."""
        return await self._order(CommandKind.PAUSE, reason=reason)

    async def resume(self, reason: str) -> WorkflowEvent:
        """Goes on after a pause."""
        return await self._order(CommandKind.RESUME, reason=reason)

    async def retry(self, node: str, version: int, reason: str) -> WorkflowEvent:
        """Has a parked or blocked node, or its compensation, tried anew. `version` is the workflow's as you saw it."""
        return await self._order(CommandKind.RETRY, node=node, version=version, reason=reason)

    async def skip(self, node: str, version: int, reason: str) -> WorkflowEvent:
        """Gives a parked or blocked node, or its compensation, up. `version` is the workflow's as you saw it."""
        return await self._order(CommandKind.SKIP, node=node, version=version, reason=reason)

    async def mark_done(self, node: str, version: int, reason: str, payload: JsonValue = None) -> WorkflowEvent:
        """Says that you have done by hand what a parked or blocked node, or its compensation, should have done.

        `payload` is the node's result, `version` the workflow's as you saw it.
        """
        return await self._order(CommandKind.MARK_DONE, node=node, version=version, reason=reason, payload=payload)

    async def _order(self, kind: CommandKind, *, payload: JsonValue = None, **fields: object) -> WorkflowEvent:
        return await self._line.ask(commands.order(self._sender, kind, self.workflow_id, payload=payload, **fields))

    def _is_mine(self, status: WorkflowStatus) -> bool:
        return self._run is None or status.run == self._run
