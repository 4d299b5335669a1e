"""Commands that were taken, as the events say."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from pydantic import ValidationError

from schemas.workflow import WorkflowEvent
from streams.asking import end
from streams.engine.records import Record
from streams.errors import StreamsError

Answer = asyncio.Future[WorkflowEvent]


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
            end(answer)
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
