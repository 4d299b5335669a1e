"""What a decision asks for: rows to keep or to forget, and records to publish. And what it may know."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from schemas.policy import PublishedPolicy
from schemas.reasons import Reason

Row = TypeVar("Row")
Row_co = TypeVar("Row_co", covariant=True)

Headers = tuple[tuple[str, bytes | None], ...]


class Publish(NamedTuple):
    """Write a record to a topic of the catalogue. `measure` is what metrics count of it; it does not travel."""

    topic: str
    key: str
    value: bytes | None
    headers: Headers = ()
    measure: object = None


class Broadcast(NamedTuple):
    """Write the same record to every partition of a topic of the catalogue."""

    topic: str
    key: str
    value: bytes


class Keep(NamedTuple, Generic[Row]):
    """Keep a row, with a timer at `due_ms`."""

    key: str
    row: Row
    due_ms: int | None = None


class Forget(NamedTuple):
    """Forget a row."""

    key: str


class Refused(NamedTuple):
    """The record changes nothing, and goes to `rejected`."""

    reason: Reason
    detail: str


class Reject(NamedTuple):
    """Something that was kept for later goes to `rejected` after all, as it came: key, value, and its own headers."""

    key: bytes | None
    value: bytes
    headers: Headers
    refused: Refused


Effect = Publish | Broadcast | Keep[Row] | Forget | Reject
Decided = Sequence[Effect[Row]] | Refused


class Surroundings(Protocol[Row_co]):
    """All that a decision may know besides its record: the lane's time, the policy, the rows, and chance."""

    @property
    def clock_ms(self) -> int:
        """The lane's time in milliseconds since 1970."""
        ...

    @property
    def control(self) -> PublishedPolicy:
        """The policy in force."""
        ...

    def row(self, key: str) -> Row_co | None:
        """The row under that key."""
        ...

    def entropy(self) -> bytes:
        """32 unpredictable bytes, the same at each call for one record."""
        ...
