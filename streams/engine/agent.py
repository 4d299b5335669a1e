"""An agent: what a stream processor reads, decides and writes, with no word on how it is run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from streams.engine.records import Effect, Record, Row

Control = TypeVar("Control")
Row_co = TypeVar("Row_co", covariant=True)
Control_co = TypeVar("Control_co", covariant=True)


class View(Protocol[Row_co, Control_co]):
    """All that a handler may know besides its record.

    `clock_ms` is the lane's time: the largest broker timestamp handled so far, this record's included.
    """

    @property
    def clock_ms(self) -> int:
        """The lane's time in milliseconds since 1970."""
        ...

    @property
    def control(self) -> Control_co:
        """The version of the control document in force."""
        ...

    def row(self, key: str) -> Row_co | None:
        """The row stored under that key, with the changes of this turn, or None."""
        ...

    def entropy(self) -> bytes:
        """32 unpredictable bytes, the same at each call for one record and in each replay of the turn."""
        ...


Handler = Callable[[View[Row, Control], Record], Sequence[Effect[Row]]]
"""Decides on one record. Must be pure: the same view and record give the same effects, whenever and wherever."""

TimerHandler = Callable[[View[Row, Control], str, Row], Sequence[Effect[Row]]]
"""Decides on a timer that fired for a row (key and row). Pure like a Handler."""


@dataclass(frozen=True, slots=True)
class RowCodec(Generic[Row]):
    """How rows are written to the changelog and read back.

    `encode` must put a version in what it writes, and `decode` must read the version before the current one too.
    """

    encode: Callable[[Row], bytes]
    decode: Callable[[bytes], Row]


@dataclass(frozen=True, slots=True)
class ControlInput(Generic[Control]):
    """A broadcast input: the same document on every partition, read by every lane before it handles anything.

    `follow(document, current)` reads the next version; it raises ControlRefusedError if that cannot follow `current`.
    `epoch(control)` is the version's number.
    """

    topic: str
    follow: Callable[[bytes, Control | None], Control]
    epoch: Callable[[Control], int]


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics that an agent's lanes keep for themselves, by full name."""

    changelog: str
    dead_letters: str
    audit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent(Generic[Row, Control]):
    """One stream agent.

    `inbox` and `outputs` are full topic names; every inbox topic, the control topic and the changelog have the same
    number of partitions. Where order decides between inputs, name one inbox only: the log then decides every race.
    Timers need `on_timer` and are appended to the first inbox. `decision_version` rises when a rule of the handler
    changes. `measure` is called with the `measure` of each Emit after its turn has committed, never before.
    `outputs_under` names the topics that a version of the control document adds to the outputs: a lane decides nothing
    under it before they exist.
    """

    name: str
    inbox: tuple[str, ...]
    outputs: tuple[str, ...]
    topics: Topics
    handler: Handler[Row, Control]
    decision_version: int
    control: ControlInput[Control] | None = None
    rows: RowCodec[Row] | None = None
    on_timer: TimerHandler[Row, Control] | None = None
    measure: Callable[[Sequence[object]], None] | None = None
    outputs_under: Callable[[Control], Sequence[str]] | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every topic a lane reads: control first."""
        return (*((self.control.topic,) if self.control else ()), *self.inbox)

    @property
    def written(self) -> tuple[str, ...]:
        """Every topic a lane writes."""
        own = (self.topics.changelog, self.topics.dead_letters, self.topics.audit)
        return (*self.outputs, *(self.inbox[:1] if self.on_timer else ()), *own)

    def written_under(self, control: Control | None) -> tuple[str, ...]:
        """Every topic a lane writes under a version of the control document."""
        added = () if control is None or self.outputs_under is None else self.outputs_under(control)
        return tuple(dict.fromkeys((*self.written, *added)))
