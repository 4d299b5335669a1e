"""Dead letters: the original bytes of what a handler failed on, and why, in headers."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from streams.engine import digest
from streams.engine.records import Headers, Record

KIND = "lane-kind"
ERROR = "lane-error"
SOURCE = "lane-source"
SOURCE_KEY = "lane-source-key"
NULL_VALUE = "lane-null-value"
DIGEST = "lane-digest"
RESOLUTION = "lane-resolution"
_OWN = frozenset({KIND, ERROR, SOURCE, SOURCE_KEY, NULL_VALUE, DIGEST, RESOLUTION})

_MAX_ERROR_CHARACTERS = 1_000


class Kind(StrEnum):
    """What happened to the record."""

    HANDLER_FAILED = "handler-failed"
    OUTPUT_TOO_LARGE = "output-too-large"
    CONTROL_REFUSED = "control-refused"
    UNREADABLE = "unreadable"


Letter = tuple[bytes, bytes | None, Headers]
"""Key, value and headers of a record on a topic of dead letters."""


def letter(record: Record, kind: Kind, error: Exception) -> Letter:
    """The dead letter of a record: its value byte for byte, its own headers, and what happened to it."""
    source = source_of(record)
    about: tuple[tuple[str, bytes | None], ...] = (
        (KIND, kind.value.encode()),
        (ERROR, f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARACTERS].encode("utf-8", "backslashreplace")),
        (SOURCE, source),
        (SOURCE_KEY, record.key),
        (NULL_VALUE, b"true" if record.value is None else b"false"),
    )
    return source, record.value, (*about, *record.headers)


def without_value(full: Letter) -> Letter:
    """The letter of a record that does not fit: its digest instead of its value. The record stays where it was read."""
    key, value, headers = full
    own = tuple(header for header in headers if header[0] in _OWN)
    return key, None, (*own, (DIGEST, digest.of_bytes(value or b"").encode()))


def source_of(record: Record) -> bytes:
    """Where a record stands: `topic/partition/offset`."""
    return f"{record.topic}/{record.partition}/{record.offset}".encode()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as read back: where it came from, what happened, and the record as it was."""

    kind: Kind
    error: str
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    has_value: bool


def read(record: Record) -> DeadLetter:
    """Reads a letter that letter() or without_value() made.

    Raises:
        KeyError, ValueError: the record is no dead letter.
    """
    own = {name: content for name, content in record.headers if name in _OWN}
    topic, partition, offset = _text(own[SOURCE]).rsplit("/", 2)
    return DeadLetter(
        kind=Kind(_text(own[KIND])),
        error=_text(own[ERROR]),
        topic=topic,
        partition=int(partition),
        offset=int(offset),
        timestamp=record.timestamp,
        key=own[SOURCE_KEY],
        value=record.value,
        headers=tuple(header for header in record.headers if header[0] not in _OWN),
        has_value=DIGEST not in own,
    )


def resolution_of(headers: Headers) -> str | None:
    """How a letter was resolved, if the record is a resolution and not a letter."""
    return next((_text(content) for name, content in headers if name == RESOLUTION), None)


def resolution_headers(words: str) -> Sequence[tuple[str, bytes | None]]:
    """The headers of a resolution; its key is the letter's key."""
    return ((RESOLUTION, words.encode()),)


def _text(content: bytes | None) -> str:
    return "" if content is None else content.decode("utf-8", "replace")
