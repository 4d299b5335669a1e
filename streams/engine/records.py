"""What a handler reads and what it returns."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

Row = TypeVar("Row")
Headers = Sequence[tuple[str, bytes | None]]


def first_header(headers: Headers, wanted: str) -> bytes | None:
    """The content of the first header of that name, which is ours where there are several; None where there is none."""
    return next((content for name, content in headers if name == wanted), None)


class Record(Protocol):
    """A record as read from Kafka. `timestamp` is the broker's, in milliseconds since 1970."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


class InputRecord(NamedTuple):
    """A record made by hand, for a LaneDriver and for tests."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class ReadRecord(NamedTuple):
    """A record as a consumer has read it, with all that the client's own class tells and at a third of its cost."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_type: int
    checksum: int | None

    @property
    def serialized_key_size(self) -> int:
        """In bytes; -1 without one."""
        return -1 if self.key is None else len(self.key)

    @property
    def serialized_value_size(self) -> int:
        """In bytes; -1 without one."""
        return -1 if self.value is None else len(self.value)


class Emit(NamedTuple):
    """Write a record. Records of one key go to one partition; without a key, to the lane's own.

    `measure` is shown to the agent's metrics once the turn has committed; it does not travel.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    measure: object = None


class Broadcast(NamedTuple):
    """Write the same record to every partition of a topic."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Put(NamedTuple, Generic[Row]):
    """Store a row. With `due_ms` a timer fires for it once the lane's time has reached that millisecond."""

    key: str
    row: Row
    due_ms: int | None = None


class Delete(NamedTuple):
    """Forget a row and its timer; no error if there is none."""

    key: str


Effect = Emit | Broadcast | Put[Row] | Delete
"""What a handler may ask for. The effects of one record happen together or not at all."""
