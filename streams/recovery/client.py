"""The client of operators: orders for recoveries, and what comes of them."""

import asyncio
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from schemas import envelope, topics
from schemas.recovery import RecoveryCommand, RecoveryCommandKind, RecoveryEvent, RecoveryStrategy
from streams.agents.naming import Naming
from streams.asking import ANSWER_WITHIN, Line, UnansweredError, end
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.errors import StreamsError
from streams.keys import SigningKey
from streams.recovery.board import event_in
from streams.recovery.errors import RecoveryError, RecoveryRefusedError, not_taken, not_written
from streams.refusals import Refusals

Answer = asyncio.Future[RecoveryEvent]


class RecoveryClient:
    """Orders recoveries. Enter it before use.

    `requested_by` goes with every command, as does `constitutional_hash`, a policy generation that the policy in force
    accepts; what is approved is attempted under it. `key` signs the commands, as they must be once the policy names
    operators. A command that nobody takes in `answer_within` raises RecoveryTimeoutError.

    Belongs to one event loop. It follows the topics of events and refusals from their present ends, in no consumer
    group. Leaving it closes every connection.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        requested_by: str,
        constitutional_hash: str,
        key: SigningKey | None = None,
        answer_within: timedelta = ANSWER_WITHIN,
    ) -> None:
        naming = Naming(settings.prefix)
        self.settings, self._key, self._answer_within = settings, key, answer_within
        self._requested_by, self._hash = requested_by, constitutional_hash
        self._inbox = naming.topic(topics.IN_RECOVERY)
        self._waiting: dict[str, Answer] = {}
        self._line = Line(
            settings,
            "recovery",
            refusals=[Refusals(self._inbox, RecoveryRefusedError)],
            hears={naming.topic(topics.RECOVERY_EVENTS): self._take_event},
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
        self._line.fail(RecoveryError("the client of recoveries is closed; recoveries go on without it"))
        await self._line.__aexit__(kind, error, trace)

    async def schedule(
        self,
        service: str,
        reason: str,
        *,
        strategy: RecoveryStrategy | None = None,
        priority: int | None = None,
        not_before: datetime | None = None,
    ) -> RecoveryEvent:
        """Begins a recovery, whether a breaker is open or not; what is None is as the policy's rule says.

        Raises:
            RecoveryError: a field is not as the contract says.
            RecoveryRefusedError: it was refused, with the reason: one is under way, or the policy has no rule.
            RecoveryTimeoutError: nobody has taken or refused it in `answer_within`; it may still be.
            BrokerError: the broker cannot be reached or refuses.
        """
        more = {"strategy": strategy, "priority": priority, "not_before": not_before}
        return await self._order(RecoveryCommandKind.SCHEDULE, service, reason, more)

    async def approve(self, service: str, version: int, reason: str) -> RecoveryEvent:
        """Starts what awaits a person, or has failed, now; `version` is the one you saw. Raises as schedule()."""
        return await self._order(RecoveryCommandKind.APPROVE, service, reason, {"version": version})

    async def cancel(self, service: str, version: int, reason: str) -> RecoveryEvent:
        """Ends what is under way, the workflow of an attempt with it. `version` and errors as approve()."""
        return await self._order(RecoveryCommandKind.CANCEL, service, reason, {"version": version})

    async def _order(
        self, kind: RecoveryCommandKind, service: str, reason: str, more: Mapping[str, object]
    ) -> RecoveryEvent:
        said = {
            "command": kind,
            "command_id": str(uuid.uuid4()),
            "service": service,
            "requested_by": self._requested_by,
            "reason": reason,
            "constitutional_hash": self._hash,
            "created_at": datetime.now(UTC),
            **more,
        }
        try:
            command = RecoveryCommand.model_validate(said)
        except ValidationError as error:
            raise RecoveryError(f"this command cannot be sent: {_places(error)}") from error
        value = command.model_dump_json(exclude_none=True).encode()
        headers = () if self._key is None else ((envelope.SIGNATURE, self._key.message_signature(value)),)
        waited, key = self._answer_within, command.service.encode()
        with self._expecting(command.command_id) as answer:
            try:
                return await self._line.ask(self._inbox, key, value, answer, headers=headers, within=waited)
            except UnansweredError as error:
                raise (not_taken if error.written else not_written)(command, waited) from None

    @contextmanager
    def _expecting(self, command_id: str) -> Generator[Answer, None, None]:
        answer: Answer = asyncio.get_running_loop().create_future()
        self._waiting[command_id] = answer
        try:
            yield answer
        finally:
            end(answer)
            del self._waiting[command_id]

    def _take_event(self, record: Record) -> None:
        event = event_in(record.value) if self._waiting else None
        answer = None if event is None else self._waiting.get(event.command_id or "")
        if event is not None and answer is not None and not answer.done():
            answer.set_result(event)

    def _fail(self, failure: StreamsError) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(failure)


def _places(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, place['loc'])) or 'command'}: {place['msg']}" for place in error.errors())
