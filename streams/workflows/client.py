"""The client of workflows: one connection for any number of them."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Self

from pydantic import JsonValue

from compensation.definition import WorkflowDefinition
from schemas import envelope, topics
from schemas.workflow import OPERATORS_COMMANDS, CommandKind, EventKind, WorkflowEvent
from streams.agents.naming import Naming
from streams.asking import ANSWER_WITHIN, Line, UnansweredError
from streams.claims import ClaimStore
from streams.engine.client import EngineSettings
from streams.errors import StreamsError
from streams.keys import SigningKey
from streams.refusals import Refusals
from streams.workflows import commands
from streams.workflows.answering import Answers
from streams.workflows.commands import Prepared, Sender
from streams.workflows.errors import WorkflowError, WorkflowRejectedError, not_taken, not_written
from streams.workflows.handle import WorkflowHandle
from streams.workflows.watching import Watch, Watches


class WorkflowClient:
    """Starts workflows and tells them what to do. Enter it before use; one is enough for hundreds at a time.

    `tenant_id` and `requested_by` go with every command, as does `constitutional_hash`, a policy generation that the
    policy in force accepts. `claims` is where large results are kept; without it a result may be a Claim. A command
    that nobody takes in `answer_within` raises WorkflowTimeoutError. `key` signs starts, where `requested_by` is
    a sender of the tenant by the policy, and what only operators may ask (retry, skip and mark_done), where it is an
    operator. A key is one or the other: take a client for each.

    Belongs to one event loop. It follows the topics of statuses, events and refusals from their present ends, in no
    consumer group. Leaving it closes every connection; what still waits raises WorkflowError. Workflows go on.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        tenant_id: str,
        requested_by: str,
        constitutional_hash: str,
        claims: ClaimStore | None = None,
        key: SigningKey | None = None,
        answer_within: timedelta = ANSWER_WITHIN,
    ) -> None:
        naming = Naming(settings.prefix)
        self.settings, self.claims, self._key = settings, claims, key
        self._sender = Sender(tenant_id=tenant_id, requested_by=requested_by, constitutional_hash=constitutional_hash)
        self._answer_within = answer_within
        self._inbox = naming.topic(topics.IN_WORKFLOWS)
        status = naming.topic(topics.WORKFLOW_STATUS)
        self._watches, self._answers = Watches(settings, status), Answers()
        self._line = Line(
            settings,
            "workflows",
            refusals=[Refusals(self._inbox, WorkflowRejectedError)],
            hears={status: self._watches.take, naming.topic(topics.WORKFLOW_EVENTS): self._answers.take},
            failed=self._fail,
        )

    async def __aenter__(self) -> Self:
        """Connects.

        Raises:
            InstallationError: a topic is missing.
            BrokerError: the broker cannot be reached or refuses.
        """
        await self._line.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.fail(WorkflowError("the client of workflows is closed; the workflows go on without it"))
        await self._line.__aexit__(kind, error, trace)

    async def start(
        self,
        definition: WorkflowDefinition | Mapping[str, object],
        input: Mapping[str, JsonValue],  # noqa: A002  # the contract's word
        *,
        workflow_id: str | None = None,
        tags: Sequence[str] = (),
    ) -> WorkflowHandle:
        """Starts a workflow; a mapping is what the JSON of a definition says. Without an id, a UUID is its id.

        Returns once the orchestrator has taken it. The same id with the same definition, input, tags and tenant is the
        same workflow, which is not started again. Everything that can be checked here is checked before it is sent.

        Raises:
            DefinitionError: the definition cannot run; every problem with its place.
            StartError: the input does not fit it, or something is too large or not as the contract says.
            WorkflowRejectedError: it was refused.
            WorkflowTimeoutError: nobody has taken or refused it in `answer_within`; it may still be.
            BrokerError: the broker cannot be reached or refuses.
        """
        id_ = str(uuid.uuid4()) if workflow_id is None else workflow_id
        prepared = commands.start(self._sender, definition, input, workflow_id=id_, tags=tags)
        watch = self._watches.of(id_)
        event = await self.ask(prepared)
        if event.event is EventKind.STARTED:
            watch.expect()
        return WorkflowHandle(self, self._sender, watch, event.run)

    def handle(self, workflow_id: str, *, tenant_id: str | None = None) -> WorkflowHandle:
        """A workflow that was started before, by anybody; of another tenant where one is named. Asks nobody yet."""
        sender = self._sender if tenant_id is None else replace(self._sender, tenant_id=tenant_id)
        return WorkflowHandle(self, sender, self._watches.of(workflow_id))

    # What handles need

    async def ask(self, prepared: Prepared) -> WorkflowEvent:
        """Sends a command and returns the event that it caused.

        Raises:
            WorkflowRejectedError: it was refused.
            WorkflowTimeoutError: nobody has taken or refused it in `answer_within`; it may still be.
            BrokerError: the broker cannot be reached or refuses.
        """
        command, value, waited = prepared.command, prepared.value, self._answer_within
        is_signed = command.command is CommandKind.START or command.command in OPERATORS_COMMANDS
        headers = ((envelope.SIGNATURE, self._key.message_signature(value)),) if self._key and is_signed else ()
        key = command.workflow_id.encode()
        with self._answers.expecting(command.workflow_id, command.command_id) as answer:
            try:
                return await self._line.ask(self._inbox, key, value, answer, headers=headers, within=waited)
            except UnansweredError as error:
                words = not_taken if error.written else not_written
                raise words(command.command, command.workflow_id, waited) from None

    async def complete(self, watch: Watch) -> None:
        """Looks up what a watch has missed, once."""
        await self._watches.complete(watch)

    def _fail(self, failure: StreamsError) -> None:
        self._watches.fail(failure)
        self._answers.fail(failure)
