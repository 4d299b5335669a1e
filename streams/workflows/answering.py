"""What becomes of commands: taken, as the events say, or refused."""

import asyncio
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager

from pydantic import ValidationError

from schemas import envelope
from schemas.workflow import WorkflowEvent
from streams.engine.records import Record
from streams.errors import StreamsError
from streams.workflows.errors import WorkflowRejectedError

Answer = asyncio.Future[WorkflowEvent]

_KEPT = 1_000
"""How many refusals are kept of commands whose sender does not know yet where they stand."""


class Answers:
    """Who waits for the event that a command causes."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, dict[str, Answer]] = {}

    @contextmanager
    def expecting(self, workflow_id: str, command_id: str) -> Generator[Answer, None, None]:
        """A future of the event; call it before the command is sent."""
        key = workflow_id.encode()
        answer: Answer = asyncio.get_running_loop().create_future()
        of_key = self._waiting.setdefault(key, {})
        of_key[command_id] = answer
        try:
            yield answer
        finally:
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # else one that came too late is complained about
            del of_key[command_id]
            if not of_key:
                self._waiting.pop(key, None)

    def take(self, record: Record) -> None:
        """Takes an event; those of workflows that nobody waits for are not even parsed."""
        of_key = None if record.key is None else self._waiting.get(record.key)
        if not of_key or record.value is None:
            return
        try:
            event = WorkflowEvent.model_validate_json(record.value)
        except ValidationError:
            return  # of another version of this program
        answer = of_key.get(event.command_id or "")
        if answer is not None and not answer.done():
            answer.set_result(event)

    def fail(self, failure: StreamsError) -> None:
        """Nothing more will come."""
        for of_key in self._waiting.values():
            for answer in of_key.values():
                if not answer.done():
                    answer.set_exception(failure)


class Refusals:
    """Refusals of records on one public topic, by the place where the record was written."""

    def __init__(self, topic: str) -> None:
        self._of_ours = f"{topic}/".encode()
        self._waiting: dict[bytes, Answer] = {}
        self._early: OrderedDict[bytes, WorkflowRejectedError] = OrderedDict()

    @contextmanager
    def expecting(self, source: bytes, answer: Answer) -> Generator[None, None, None]:
        """Tells the future if the record at that place is refused, or has been since it was written."""
        self._waiting[source] = answer
        early = self._early.pop(source, None)
        if early is not None:
            _refuse(answer, early)
        try:
            yield
        finally:
            del self._waiting[source]

    def take(self, record: Record) -> None:
        """Takes a record of `rejected`."""
        headers = dict(reversed([(name, content or b"") for name, content in record.headers]))
        source = headers.get(envelope.SOURCE, b"")
        if not source.startswith(self._of_ours):
            return
        reason, detail = (
            headers.get(name, b"").decode(errors="replace") for name in (envelope.REASON, envelope.DETAIL)
        )
        refusal = WorkflowRejectedError(reason, detail)
        answer = self._waiting.get(source)
        if answer is not None:
            _refuse(answer, refusal)
            return
        self._early[source] = refusal
        if len(self._early) > _KEPT:
            self._early.popitem(last=False)


def _refuse(answer: Answer, refusal: WorkflowRejectedError) -> None:
    if not answer.done():
        answer.set_exception(refusal)
