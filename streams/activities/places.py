"""The places of a queue: what runs at once, and how each end becomes a result."""

import asyncio
import logging
from functools import partial

from pydantic import ValidationError

from schemas.activity import ActivityCommand
from streams.activities.attempt import Attempt, Cut
from streams.activities.calling import Answer, Surroundings
from streams.activities.cancels import Cancels
from streams.activities.commits import Ledger
from streams.activities.outbox import Outbox, Outgoing
from streams.activities.wire import encode_result
from streams.engine.records import Record
from streams.metrics import QueueMeasures

_log = logging.getLogger(__name__)

_parse = ActivityCommand.__pydantic_validator__.validate_json


class Places:
    """Runs at most so many commands of a queue at once, and puts how each ended into the outbox."""

    def __init__(
        self,
        concurrency: int,
        surroundings: Surroundings,
        cancels: Cancels,
        outbox: Outbox,
        measures: QueueMeasures,
        *,
        results_topic: str,
        worker: str,
    ) -> None:
        self._concurrency, self._surroundings, self._cancels = concurrency, surroundings, cancels
        self._outbox, self._measures = outbox, measures
        self._results_topic, self._worker = results_topic, worker
        self._running: dict[Attempt, Ledger | None] = {}
        self.has_cut = False
        """Whether anything that had begun was asked to end."""
        self.room = asyncio.Event()
        outbox.tell_of_room(self.room)
        self._idle = asyncio.Event()
        self._idle.set()
        measures.running(lambda: float(len(self._running)))

    def free(self) -> int:
        """How many commands may be brought now."""
        return self._concurrency - len(self._running) if self._outbox.has_room else 0

    def take(self, ledger: Ledger, record: Record) -> None:
        """Runs a command. One that cannot be read is a defect of who sent it: logged, counted, and done with."""
        try:
            command: ActivityCommand = _parse(record.value or b"")
        except ValidationError as error:
            problems = error.errors(include_input=False, include_url=False)
            _log.error("the command at %s/%d/%d is none: %s", record.topic, record.partition, record.offset, problems)
            self._measures.malformed()
            ledger.finish(record.offset)
            return
        may_have_begun = ledger.may_have_begun(record.offset)
        attempt = Attempt(command, record.offset, self._surroundings, self, may_have_begun=may_have_begun)
        self._running[attempt] = ledger
        self._idle.clear()
        self._cancels.begins(attempt)

    def withdraw(self) -> None:
        """Lets go of what has not begun, and says so to its ledger."""
        for attempt, ledger in self._running.items():
            if ledger is not None and attempt.cut(Cut.WITHDRAWN):
                ledger.release(attempt.offset)
                self._running[attempt] = None

    def cut(self, why: Cut) -> int:
        """Asks all that runs to end; how many that are."""
        return sum([attempt.cut(why) for attempt in list(self._running)])

    async def settle(self, within_s: float) -> None:
        """Waits until all that was answered is acknowledged by the broker."""
        await self._outbox.flush(within_s)

    async def idle(self) -> None:
        """Returns when nothing runs."""
        await self._idle.wait()

    @property
    def running(self) -> list[str]:
        """The names of the activities that run."""
        return [attempt.command.activity for attempt in self._running]

    # What attempts say

    def answered(self, attempt: Attempt, answer: Answer | None) -> None:
        """Puts the result into the outbox; once the broker has it, the command is finished."""
        self._cancels.ends(attempt)
        ledger = self._running[attempt]
        if ledger is None:
            return
        if answer is None:
            ledger.release(attempt.offset)
            return
        command = attempt.command
        value = encode_result(command, self._worker, answer.outcome, answer.result, answer.error)
        finished = partial(ledger.finish, attempt.offset)
        self._outbox.put(Outgoing(self._results_topic, command.workflow_id.encode(), value, finished))
        self._measures.ended(answer.outcome, attempt.seconds)

    def ended(self, attempt: Attempt) -> None:
        """Its place is free."""
        del self._running[attempt]
        self.has_cut |= attempt.was_cut
        self.room.set()
        if not self._running:
            self._idle.set()
