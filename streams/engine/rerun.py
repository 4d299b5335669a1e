"""A lane's past turns once more, with the code that took them: from given ranges, draws and fired timers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from streams.engine.agent import Agent, Control
from streams.engine.records import Record, Row
from streams.engine.state import Accepted, LaneState, Position
from streams.engine.turn import Bounds, Turn, TurnInProgress


@dataclass(frozen=True, slots=True)
class Range:
    """Consecutive records of one input that a turn handled in one go, after which the lane stood at `next_offset`."""

    topic: str
    records: Sequence[Record]
    next_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What decided a past turn besides the lane's state.

    Which timers were due depended on the clock of a wall: `timers` names them, given how many records the turn had
    written to the lane's own inbox by then.
    """

    ranges: Sequence[Range]
    draw: bytes
    bounds: Bounds
    timers: Callable[[int], Sequence[str]] = lambda _: ()


class Rerun(Generic[Row, Control]):
    """One lane, turn by turn. `state` is the lane's after the last turn that was kept."""

    def __init__(self, agent: Agent[Row, Control], partition: int) -> None:
        self.agent, self.partition = agent, partition
        self.state: LaneState[Row, Control] = LaneState(position=Position({}))

    @property
    def position(self) -> Position:
        """Where the lane stands."""
        return self.state.position or Position({})

    def stand_at(self, position: Position, accepted: Accepted | None = None) -> None:
        """Puts the lane somewhere else, as an operator or a missing part of the log does."""
        self.state.position, self.state.accepted = position, accepted

    def attempt(self, past: Past) -> Turn[Row, Control]:
        """The turn as it comes out. Changes nothing, so that it may be tried otherwise."""
        turn = TurnInProgress(self.agent, self.partition, self.state, past.bounds, past.draw)
        for part in past.ranges:
            turn.handle(part.topic, part.records, part.next_offset)
        inbox = self.agent.inbox[0]
        turn.fire(past.timers(turn.written_to(inbox, self.partition)))
        return turn.finish()

    def keep(self, turn: Turn[Row, Control]) -> None:
        """Makes the turn part of the lane's past."""
        turn.apply_to(self.state)
