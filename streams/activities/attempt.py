"""One attempt at an activity: whether it may begin, how long it may take, and what its end means."""

import asyncio
import logging
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Protocol

from compensation.errors import NoEffect, NonRetryableError
from schemas.activity import ActivityCommand, Direction, Outcome
from streams.activities import calling
from streams.activities.calling import Answer, Surroundings
from streams.activities.generations import now_ms
from streams.activities.pulse import AttemptPulse
from streams.activities.wire import words_of

_log = logging.getLogger(__name__)

_NOTHING_HAPPENED = frozenset({Outcome.NEVER_STARTED, Outcome.NO_EFFECT, Outcome.UNKNOWN_ACTIVITY})
_GRACE_S = 5.0
"""How long an activity that is asked to end may take for it, before it is answered for."""


class Cut(Enum):
    """Why an attempt is asked to end."""

    CANCELLED = auto()
    """Its result is not wanted any more."""
    TOO_LONG = auto()
    SILENT = auto()
    """It has not sent the heartbeat that it must."""
    STOPPED = auto()
    """The worker ends."""
    WITHDRAWN = auto()
    """Its partition goes to another worker before it began."""


class Observer(Protocol):
    """Who is told of an attempt."""

    def answered(self, attempt: "Attempt", answer: Answer | None) -> None:
        """It is to be answered so; None: not at all, another worker will run it. Once."""
        ...

    def ended(self, attempt: "Attempt") -> None:
        """Nothing of it runs any more. Once, after answered()."""
        ...


class Attempt:
    """Runs one command. Its task begins in the loop's next iteration."""

    __slots__ = (
        "_answered",
        "_cut",
        "_loop",
        "_may_have_begun",
        "_observer",
        "_pulse",
        "_started_s",
        "_surroundings",
        "_task",
        "_timer",
        "command",
        "has_begun",
        "offset",
    )

    def __init__(
        self,
        command: ActivityCommand,
        offset: int,
        surroundings: Surroundings,
        observer: Observer,
        *,
        may_have_begun: bool = False,
    ) -> None:
        self.command, self.offset = command, offset
        self.has_begun = False
        """Whether the user's function was called."""
        self._surroundings, self._observer = surroundings, observer
        self._may_have_begun = may_have_begun
        self._cut: Cut | None = None
        self._answered = False
        self._pulse: AttemptPulse | None = None
        self._loop = asyncio.get_running_loop()
        self._started_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._has_ended)

    @property
    def seconds(self) -> float:
        """How long it has been there."""
        return self._loop.time() - self._started_s

    @property
    def was_cut(self) -> bool:
        """Whether it was asked to end after it had begun: what it does in threads may go on."""
        return self.has_begun and self._cut is not None

    def cut(self, why: Cut) -> bool:
        """Asks it to end; whether that was of use.

        The first reason counts; what has begun cannot be withdrawn, and an undo not cancelled.
        """
        is_spared = (why is Cut.CANCELLED and self.command.direction is Direction.UNDO) or (
            why is Cut.WITHDRAWN and self.has_begun
        )
        if is_spared or self._cut is not None or self._task.done():
            return False
        self._cut = why
        if self._pulse is not None:
            self._pulse.is_cancelled = True
        self._watch_until(_GRACE_S, self._answer_for)
        self._task.cancel()
        return True

    # The task

    async def _run(self) -> Answer | None:
        self._watch_until(self.command.start_to_close_ms / 1000, self._look)
        try:
            return await self._perform()
        except asyncio.CancelledError:
            return Answer(Outcome.FAILED, "CancelledError") if self._cut is None else self._cut_off()
        except NoEffect as error:
            return Answer(Outcome.NO_EFFECT, words_of(error))
        except NonRetryableError as error:
            return Answer(Outcome.FINAL, words_of(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever an activity raises is its failure
            return Answer(Outcome.FAILED, words_of(error))

    async def _perform(self) -> Answer | None:
        command, surroundings = self.command, self._surroundings
        activity = surroundings.activities.get(command.activity)
        if activity is None:
            return Answer(Outcome.UNKNOWN_ACTIVITY, f"a worker of queue {command.queue} knows no {command.activity!a}")
        refusal = await calling.refusal(command, activity, surroundings)
        if refusal is not None:
            return refusal
        pulse = AttemptPulse(command.activity, command.heartbeat_ms, command.details)
        context = await calling.context(command, surroundings, pulse)
        kept_from = await surroundings.disturbance.before_call(command.activity, command.queue)
        if self._cut is not None:
            return self._cut_off()
        if now_ms() > command.not_after:
            return Answer(Outcome.NEVER_STARTED, "it came too late: after not_after")
        if kept_from is not None:
            return Answer(Outcome.NEVER_STARTED, kept_from)
        self._begin(pulse)
        result = await activity.function(context)
        self._pulse = None
        pulse.stop()
        return await calling.completed(command, activity, result, surroundings.claims)

    def _begin(self, pulse: AttemptPulse) -> None:
        self.has_begun, self._pulse, command = True, pulse, self.command
        pulse.start(partial(self._surroundings.publish_heartbeat, command))
        if command.heartbeat_ms is not None:
            self._look()

    # Its time

    def _look(self) -> None:
        """Ends what takes too long or is silent, or looks again when that may next be."""
        now, command, pulse = self._loop.time(), self.command, self._pulse
        left = self._started_s + command.start_to_close_ms / 1000 - now
        heard = left
        if command.heartbeat_ms is not None and pulse is not None:
            heard = pulse.last_s + command.heartbeat_ms / 1000 - now
        if left <= 0:
            self.cut(Cut.TOO_LONG)
        elif heard <= 0:
            self.cut(Cut.SILENT)
        else:
            self._watch_until(min(left, heard), self._look)

    def _watch_until(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, then)

    # Its end

    def _cut_off(self) -> Answer | None:
        """What being asked to end has come to."""
        match self._cut:
            case Cut.CANCELLED:
                return Answer(Outcome.FAILED if self.has_begun else Outcome.NEVER_STARTED, "cancelled")
            case Cut.TOO_LONG:
                return Answer(Outcome.FAILED, f"no end within {self.command.start_to_close_ms} ms")
            case Cut.SILENT:
                return Answer(Outcome.FAILED, f"no heartbeat within {self.command.heartbeat_ms} ms")
            case _:
                return Answer(Outcome.FAILED, "worker stopped") if self.has_begun else None

    def _answer_for(self) -> None:
        _log.warning("activity %s does not end although it is cancelled: answered for it", self.command.activity)
        self._tell(self._cut_off())

    def _has_ended(self, task: "asyncio.Task[Answer | None]") -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._tell(self._cut_off() if task.cancelled() else task.result())
        self._observer.ended(self)

    def _tell(self, answer: Answer | None) -> None:
        if self._pulse is not None:
            self._pulse.stop()
        if not self._answered:
            self._answered = True
            self._observer.answered(self, self._in_doubt(answer))

    def _in_doubt(self, answer: Answer | None) -> Answer | None:
        """The same, but no claim that nothing has happened where another worker may have begun the command before."""
        is_claim = answer is not None and answer.outcome in _NOTHING_HAPPENED
        others_may_have = self._may_have_begun and not self.has_begun and self.command.direction is Direction.DO
        if answer is None or not (is_claim and others_may_have):
            return answer
        return Answer(Outcome.FAILED, f"{answer.error}; but another worker may have begun it before")
