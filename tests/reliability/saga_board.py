"""How every saga of a storm stands, read from the topics as it happens."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import NamedTuple
from zlib import crc32

import orjson

from schemas import topics
from schemas.workflow import WorkflowState
from streams.agents.naming import Naming
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from tests.support.follower import Follower

_CLOSED = {WorkflowState.COMPLETED, WorkflowState.COMPENSATED, WorkflowState.COMPENSATED_WITH_EXCEPTIONS}
_RECENT = 8
_SHOWN = 5


class Waiting(NamedTuple):
    """A command without an answer. `since_s` is when it was seen, by the monotonic clock."""

    saga: str
    node: str
    direction: str
    round: int
    attempt: int
    since_s: float


class Board(Follower):
    """Follows what the orchestrator and its workers write. Counts; what it all means is proven in the end."""

    def __init__(self, settings: EngineSettings, partitions: int, on_result: Callable[[Record], None]) -> None:
        self._partitions, self._on_result = partitions, on_result
        naming = Naming(settings.prefix)
        self._take_from: dict[str, Callable[[Record], None]] = {
            naming.topic(topics.WORKFLOW_STATUS): self._take_status,
            naming.topic(topics.WORKFLOW_EVENTS): self._take_event,
            naming.topic(topics.activities_of(topics.DEFAULT_QUEUE)): self._take_command,
            naming.topic(topics.ACTIVITY_RESULTS): self._take_result,
            naming.topic(topics.REJECTED): self._take_refusal,
            naming.own(topics.ORCHESTRATOR).dead_letters: self._take_refusal,
        }
        super().__init__(settings, self._take_from, lambda topic, record: self._take_from[topic](record))
        self.states: dict[str, str] = {}
        self.open: set[str] = set()
        self.unanswered: dict[str, Waiting] = {}
        self._answered_early: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.newest_answered = [-1] * partitions
        """By partition, the highest number of a saga of which an attempt's end has been taken."""
        self._recent: dict[str, deque[str]] = {}

    @property
    def closed(self) -> int:
        return len(self.states) - len(self.open)

    @property
    def is_quiet(self) -> bool:
        """Whether every saga is closed, every command answered, and every answer taken."""
        self.raise_if_ended()
        taken = self.counts["taken"] + self.counts["refused"]
        return not self.open and not self.unanswered and self.counts["results"] == taken

    def unanswered_for(self, seconds: float) -> Iterator[Waiting]:
        """The calls to do something that have been without an answer for so long."""
        before_s = time.monotonic() - seconds
        return (one for one in self.unanswered.values() if one.direction == "do" and one.since_s < before_s)

    def account(self) -> str:
        """Who is stuck, and what happened to them last."""
        waiting = list(self.unanswered.values())[:_SHOWN]
        lines = [
            f"{len(self.states)} sagas begun, {len(self.open)} open, {Counter(self.states.values())}",
            f"{len(self.unanswered)} commands without an answer, of them {waiting}",
            f"records: {dict(self.counts)}",
        ]
        for saga in sorted(self.open)[:_SHOWN]:
            lines += [f"{saga} is {self.states[saga]}:", *(f"    {event}" for event in self._recent.get(saga, ()))]
        return "\n".join(lines)

    def _take_status(self, record: Record) -> None:
        saga, said = (record.key or b"").decode(), orjson.loads(record.value or b"")
        self.states[saga] = said["state"]
        (self.open.discard if said["state"] in _CLOSED else self.open.add)(saga)

    def _take_event(self, record: Record) -> None:
        saga, said = (record.key or b"").decode(), orjson.loads(record.value or b"")
        told = {name: said[name] for name in said if name not in {"v", "workflow_id", "run", "definition", "input"}}
        self._recent.setdefault(saga, deque(maxlen=_RECENT)).append(orjson.dumps(told).decode())
        if said["event"] in {"answered", "ignored"} and "direction" in said and "by" in said:
            self.counts["taken"] += 1
            at = crc32(saga.encode()) % self._partitions
            self.newest_answered[at] = max(self.newest_answered[at], int(saga.rpartition("-")[2]))

    def _take_command(self, record: Record) -> None:
        said = orjson.loads(record.value or b"")
        self.counts["commands"] += 1
        if said["token"] not in self._answered_early:
            named = (said[name] for name in ("workflow_id", "node", "direction", "round", "attempt"))
            self.unanswered[said["token"]] = Waiting(*named, time.monotonic())

    def _take_result(self, record: Record) -> None:
        token = orjson.loads(record.value or b"")["token"]
        self.counts["results"] += 1
        self._answered_early.add(token)
        self.unanswered.pop(token, None)
        self._on_result(record)

    def _take_refusal(self, record: Record) -> None:
        reason = next((content for name, content in record.headers if name == "acgs-reason"), b"a dead letter")
        self.counts["refused"] += 1
        self.counts[f"refused: {(reason or b'').decode()}"] += 1
