"""Dead letters: the original bytes of what a handler failed on, and why, in headers."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from streams.engine import digest
from streams.engine.records import Headers, Record
from streams.engine.unreadable import readable

KIND = "lane-kind"
ERROR = "lane-error"
SOURCE = "lane-source"
SOURCE_KEY = "lane-source-key"
NULL_VALUE = "lane-null-value"
DIGEST = "lane-digest"
RESOLUTION = "lane-resolution"
_ABOUT = (KIND, ERROR, SOURCE, SOURCE_KEY, NULL_VALUE)
"""What every letter begins with, in this order. The record's own headers follow; their names are not to be trusted."""

_MAX_ERROR_CHARACTERS = 1_000
_MAX_KEY_BYTES = 1_024


class Kind(StrEnum):
    """What happened to the record."""

    HANDLER_FAILED = "handler-failed"
    OUTPUT_TOO_LARGE = "output-too-large"
    CONTROL_REFUSED = "control-refused"
    UNREADABLE = "unreadable"


Letter = tuple[bytes, bytes | None, Headers]
"""Key, value and headers of a record on a topic of dead letters."""


def letter(record: Record, kind: Kind, error: Exception) -> Letter:
    """The dead letter of a record: its value byte for byte, its own headers, and what happened to it.

    The names of an unreadable record's headers are shown with their bytes in hexadecimal where they are not UTF-8.
    """
    source = source_of(record)
    about: tuple[tuple[str, bytes | None], ...] = (
        (KIND, kind.value.encode()),
        (ERROR, f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARACTERS].encode("utf-8", "backslashreplace")),
        (SOURCE, source),
        (SOURCE_KEY, record.key),
        (NULL_VALUE, b"true" if record.value is None else b"false"),
    )
    headers = readable(record.headers) if kind is Kind.UNREADABLE else record.headers
    return source, record.value, (*about, *headers)


def without_value(full: Letter) -> Letter:
    """The letter of a record that does not fit: its digest instead of its value. The record stays where it was read.

    Its headers are left out too, and its key if that is long.
    """
    source, value, headers = full
    about = ((n, None if n == SOURCE_KEY and c and len(c) > _MAX_KEY_BYTES else c) for n, c in headers[: len(_ABOUT)])
    return source, None, (*about, (DIGEST, digest.of_bytes(value or b"").encode()))


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
        ValueError: the record is no dead letter.
    """
    about, rest = record.headers[: len(_ABOUT)], tuple(record.headers[len(_ABOUT) :])
    if tuple(name for name, _ in about) != _ABOUT:
        raise ValueError("the record is no dead letter")
    own = dict(about)
    topic, partition, offset = _text(own[SOURCE]).rsplit("/", 2)
    has_value = not (record.value is None and own[NULL_VALUE] == b"false")
    return DeadLetter(
        kind=Kind(_text(own[KIND])),
        error=_text(own[ERROR]),
        topic=topic,
        partition=int(partition),
        offset=int(offset),
        timestamp=record.timestamp,
        key=own[SOURCE_KEY],
        value=record.value,
        headers=rest if has_value else (),
        has_value=has_value,
    )


def resolution_of(headers: Headers) -> str | None:
    """How a letter was resolved, if the record is a resolution and not a letter."""
    return _text(headers[0][1]) if headers and headers[0][0] == RESOLUTION else None


def is_letter(record: Record) -> bool:
    """Whether a record on a topic of dead letters is a letter, and not the resolution of one."""
    return resolution_of(record.headers) is None


def resolution_headers(words: str) -> Sequence[tuple[str, bytes | None]]:
    """The headers of a resolution; its key is the letter's key."""
    return ((RESOLUTION, words.encode()),)


def _text(content: bytes | None) -> str:
    return "" if content is None else content.decode("utf-8", "replace")
