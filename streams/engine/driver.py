"""A lane without Kafka: the same turns, on records you give it."""

from collections.abc import Callable, Sequence
from typing import Generic

from streams.engine import digest
from streams.engine.agent import Agent, Control
from streams.engine.records import Headers, InputRecord, Record, Row
from streams.engine.state import LaneState, Position
from streams.engine.timers import Timers
from streams.engine.turn import TIMER, Bounds, Turn, TurnInProgress

_MAX_BYTES = 4 * 1024 * 1024


class LaneDriver(Generic[Row, Control]):
    """Runs an agent on given records, turn by turn, with the code that a lane runs.

    Users test their agents with it, and an auditor derives past decisions again. `draw(seq)` gives the 32 random bytes
    of a turn; the default is fixed, so that a test's tokens are the same at each run. Without `bounds` every topic has
    one partition and takes 4 MiB. Timers fire when a later record, or advance(), brings the lane's time to their due
    time.
    """

    def __init__(
        self,
        agent: Agent[Row, Control],
        *,
        partition: int = 0,
        bounds: Bounds | None = None,
        draw: Callable[[int], bytes] = lambda seq: digest.of_bytes(str(seq).encode()).encode()[:32],
    ) -> None:
        self._agent, self._partition, self._draw = agent, partition, draw
        self._bounds = bounds
        self.state: LaneState[Row, Control] = LaneState(position=Position(dict.fromkeys(agent.inputs, 0)))
        self._timers: Timers[Row] = Timers()
        self._now_ms = 0

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp: int | None = None,
    ) -> Turn[Row, Control]:
        """Handles one record in a turn of its own, at the topic's next offset, and then the timers it made due.

        Without a timestamp the record bears the lane's current time.
        """
        at = self._now_ms if timestamp is None else timestamp
        record = InputRecord(topic, self._partition, self._next(topic), at, key, value, headers)
        turn = self.handle([record])
        self.advance(at)
        return turn

    def handle(self, records: Sequence[Record]) -> Turn[Row, Control]:
        """Handles records, in the order given, in one turn.

        Raises:
            ValueError: an inbox record before the control document, or one that does not follow the lane's position.
        """
        turn = self._begin()
        for record in records:
            is_control = self._agent.control is not None and record.topic == self._agent.control.topic
            if not is_control and not turn.has_control:
                raise ValueError("a lane decides nothing before its control document: send that first")
            if record.offset < self._next(record.topic):
                raise ValueError(f"{record.topic}/{record.offset} was handled before")
            turn.handle(record.topic, [record], record.offset + 1)
        return self._finish(turn)

    def advance(self, to_ms: int) -> list[Turn[Row, Control]]:
        """Brings the time to `to_ms` and handles every timer due by then, each as the record it becomes."""
        self._now_ms = max(self._now_ms, to_ms)
        turns: list[Turn[Row, Control]] = []
        while keys := self._timers.take_due(self._now_ms, self.state.rows):
            firing = self._begin()
            firing.fire(keys)
            fired = self._finish(firing)
            turns += [fired, self._handle_fired(fired)]
        return turns

    def _handle_fired(self, fired: Turn[Row, Control]) -> Turn[Row, Control]:
        inbox = self._agent.inbox[0]
        outputs = [out for out in fired.batches[inbox, self._partition] if out[2] and out[2][0][0] == TIMER]
        first = self._next(inbox)
        return self.handle(
            [
                InputRecord(inbox, self._partition, first + n, self._now_ms, key, value, headers)
                for n, (key, value, headers, _) in enumerate(outputs)
            ]
        )

    def _begin(self) -> TurnInProgress[Row, Control]:
        seq = self.state.position.seq if self.state.position else 0
        bounds = self._bounds or _single(self._agent.written_under(self.state.control))
        return TurnInProgress(self._agent, self._partition, self.state, bounds, self._draw(seq + 1))

    def _finish(self, running: TurnInProgress[Row, Control]) -> Turn[Row, Control]:
        turn = running.finish()
        turn.apply_to(self.state)
        self._now_ms = max(self._now_ms, turn.position.clock_ms)
        for key, stored in turn.changes.items():
            if stored is not None and stored.due_ms is not None:
                self._timers.arm(key, stored.due_ms, stored.version)
        for key, missing_ms in turn.rearmed:
            armed = self.state.rows.get(key)
            if armed is not None:
                self._timers.arm(key, self._now_ms + missing_ms, armed.version)
        return turn

    def _next(self, topic: str) -> int:
        return self.state.position.offsets[topic] if self.state.position else 0


def _single(topics: Sequence[str]) -> Bounds:
    return Bounds(dict.fromkeys(topics, 1), dict.fromkeys(topics, _MAX_BYTES))
