"""One record's way through the rows of a lane: what is there, with what the record has changed so far."""

from typing import TypeVar

from handlers.recovery.machine import Task
from handlers.recovery.rows import PLACES, Places, Row, Service, Timer, Waiting, service_key, timer_key, waiting_key
from schemas.effects import Effect, Forget, Keep, Publish, Surroundings
from schemas.model import length_ms
from schemas.policy import PublishedPolicy

_KIND = TypeVar("_KIND", Service, Timer, Waiting, Places)


class Progress:
    """The rows as a decision sees them while it is made, and everything that it asks for in the end."""

    def __init__(self, view: Surroundings[Row]) -> None:
        self._view = view
        self._changed: dict[str, tuple[Row, int | None] | None] = {}
        self._published: list[Publish] = []

    @property
    def now_ms(self) -> int:
        """The lane's time."""
        return self._view.clock_ms

    @property
    def control(self) -> PublishedPolicy:
        """The policy in force."""
        return self._view.control

    @property
    def kept_ms(self) -> int:
        """For how long what has ended is known: as long as the workflows of its attempts."""
        return length_ms(self.control.policy.keep_closed_workflows)

    def row(self, key: str) -> Row | None:
        """The row under that key."""
        if key in self._changed:
            changed = self._changed[key]
            return None if changed is None else changed[0]
        return self._view.row(key)

    def service(self, service: str) -> Service:
        """A service's row; what it begins with where there is none."""
        return self._of(Service, service_key(service)) or Service()

    def waiting(self, service: str) -> Waiting | None:
        """A service's place in the line of those that are due; None where it does not wait."""
        return self._of(Waiting, waiting_key(service))

    def places(self) -> Places:
        """The lane's places."""
        return self._of(Places, PLACES) or Places()

    def keep(self, key: str, row: Row, due_ms: int | None = None) -> None:
        """Keeps a row as it is from now on."""
        self._changed[key] = row, due_ms

    def keep_service(self, service: str, row: Service) -> None:
        """Keeps a service's row, and its timer: its recovery's, or the time from which on nobody needs it.

        A timer that stays as it is is not written again, so that it comes however often the row changes.
        """
        self.keep(service_key(service), row)
        before, key = self._of(Timer, timer_key(service)), timer_key(service)
        due = self._due(service, row.task, before)
        if due is None:
            if before is not None:
                self.forget(key)
        elif before != (timer := Timer(service, row.task.version, due)):
            self.keep(key, timer, due)

    def look_again(self, service: str, row: Service) -> None:
        """Has the timer of what has ended come once more, after as long again."""
        due = self.now_ms + self.kept_ms
        self.keep(timer_key(service), Timer(service, row.task.version, due), due)

    def forget_service(self, service: str) -> None:
        """Forgets a service, and its timer."""
        self.forget(service_key(service))
        if self.row(timer_key(service)) is not None:
            self.forget(timer_key(service))

    def _due(self, service: str, task: Task, before: Timer | None) -> int | None:
        if task.is_under_way:
            return None if self.waiting(service) is not None else task.due
        if not task.version:  # there has been no recovery: it is known for its breakers, which have timers
            return None
        if before is not None and before.version == task.version:
            return before.due
        return task.since + self.kept_ms

    def forget(self, key: str) -> None:
        """Forgets a row."""
        self._changed[key] = None

    def publish(self, *published: Publish) -> None:
        """Writes records."""
        self._published += published

    def finish(self) -> list[Effect[Row]]:
        """Everything that the record asks for."""
        kept: list[Effect[Row]] = [
            Forget(key) if changed is None else Keep(key, *changed) for key, changed in self._changed.items()
        ]
        return [*self._published, *kept]

    def _of(self, kind: type[_KIND], key: str) -> _KIND | None:
        row = self.row(key)
        if row is not None and not isinstance(row, kind):
            raise TypeError(f"{key} is the row of a {type(row).__name__}, not of a {kind.__name__}")
        return row
