"""What a decision on a workflow asks for: rows to keep or to forget, and records to publish."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from pydantic import JsonValue

from compensation.durable.rows import Row
from schemas.policy import PublishedPolicy
from schemas.reasons import Reason
from schemas.score import ScoreCard

Headers = tuple[tuple[str, bytes], ...]


class Publish(NamedTuple):
    """Write a record to a topic of the catalogue."""

    topic: str
    key: str
    value: bytes | None
    headers: Headers = ()


class Keep(NamedTuple):
    """Keep a row, with a timer at `due_ms`."""

    key: str
    row: Row
    due_ms: int | None = None


class Forget(NamedTuple):
    """Forget a row."""

    key: str


Effect = Publish | Keep | Forget


class Refused(NamedTuple):
    """The record changes nothing, and goes to `rejected`."""

    reason: Reason
    detail: str


Decided = Sequence[Effect] | Refused

Scorer = Callable[[Mapping[str, JsonValue], PublishedPolicy], ScoreCard]
"""What a command of an agent weighs under a policy."""


class Surroundings(Protocol):
    """All that a decision may know besides its record: the lane's time, the policy, the rows, and chance."""

    @property
    def clock_ms(self) -> int:
        """The lane's time in milliseconds since 1970."""
        ...

    @property
    def control(self) -> PublishedPolicy:
        """The policy in force."""
        ...

    def row(self, key: str) -> Row | None:
        """The row under that key."""
        ...

    def entropy(self) -> bytes:
        """32 unpredictable bytes, the same at each call for one record."""
        ...
