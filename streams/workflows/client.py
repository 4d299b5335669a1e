"""The client of workflows: one connection for any number of them."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Self

from pydantic import JsonValue

from compensation.definition import WorkflowDefinition
from schemas import envelope, topics
from schemas.workflow import OPERATORS_COMMANDS, CommandKind, EventKind, WorkflowEvent
from streams.agents.naming import Naming
from streams.broker import told_errors
from streams.claims import ClaimStore
from streams.engine import client
from streams.engine.client import EngineSettings, Producer
from streams.engine.records import Record
from streams.errors import StreamsError
from streams.following import Follower
from streams.keys import SigningKey
from streams.refusals import Refusals
from streams.workflows import commands
from streams.workflows.answering import Answers
from streams.workflows.commands import Prepared, Sender
from streams.workflows.errors import WorkflowError, WorkflowRejectedError, not_taken, not_written
from streams.workflows.handle import WorkflowHandle
from streams.workflows.watching import Watch, Watches

ANSWER_WITHIN = timedelta(seconds=30)


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
        self._watches, self._answers, self._refusals = (
            Watches(settings, status),
            Answers(),
            Refusals(self._inbox, WorkflowRejectedError),
        )
        self._take_from = {
            status: self._watches.take,
            naming.topic(topics.WORKFLOW_EVENTS): self._answers.take,
            naming.topic(topics.REJECTED): self._refusals.take,
        }
        self._producer: Producer | None = None
        self._failure: StreamsError | None = None
        self._entered = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connects.

        Raises:
            InstallationError: a topic is missing.
            BrokerError: the broker cannot be reached or refuses.
        """
        async with AsyncExitStack() as entering:
            follower = Follower(self.settings, list(self._take_from), self._take, self._fail)
            entering.push_async_callback(follower.stop)
            producer = client.plain_producer(self.settings, "workflows")
            entering.push_async_callback(client.abandon, producer)
            with told_errors(self.settings):
                async with asyncio.timeout(self.settings.turn_timeout.total_seconds()):
                    await producer.start()
            await follower.start()
            self._producer, self._entered = producer, entering.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fail(WorkflowError("the client of workflows is closed; the workflows go on without it"))
        await self._entered.aclose()

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
        command, waited = prepared.command, self._answer_within
        with self._answers.expecting(command.workflow_id, command.command_id) as answer:
            if self._failure is not None:
                raise self._failure
            source: bytes | None = None
            try:
                async with asyncio.timeout(waited.total_seconds()):
                    source = await self._sent(prepared)
                    with self._refusals.expecting(source, answer):
                        return await answer
            except TimeoutError:
                words = not_written if source is None else not_taken
                raise words(command.command, command.workflow_id, waited) from None

    async def complete(self, watch: Watch) -> None:
        """Looks up what a watch has missed, once."""
        await self._watches.complete(watch)

    async def _sent(self, prepared: Prepared) -> bytes:
        """Sends a command and returns where it stands. Those of one workflow keep their order."""
        if self._producer is None:
            raise RuntimeError("the client is not open: async with WorkflowClient(...) as client")
        command, value = prepared.command, prepared.value
        is_signed = command.command is CommandKind.START or command.command in OPERATORS_COMMANDS
        headers = [(envelope.SIGNATURE, self._key.message_signature(value))] if self._key and is_signed else None
        with told_errors(self.settings):
            written = await self._producer.send_and_wait(
                self._inbox, value, command.workflow_id.encode(), headers=headers
            )
        return envelope.encode_source(self._inbox, written.partition, written.offset)

    def _take(self, record: Record) -> None:
        self._take_from[record.topic](record)

    def _fail(self, failure: StreamsError) -> None:
        self._failure = failure
        self._watches.fail(failure)
        self._answers.fail(failure)
