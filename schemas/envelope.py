"""The headers that this system adds to a record. A producer's value travels byte for byte."""

import hashlib
from typing import NamedTuple

RESERVED = ("acgs-", "lane-")
"""Every header of ours, and of the engine, begins so; a producer's record with such a header is rejected."""

SIGNATURE = "agent-signature"
"""A sender's own signature of the record's value, `KEY_ID:BASE64` (schemas.sender). Not one of ours: it travels on."""

VERSION = "acgs-v"
"""The envelope's version, `1`."""
SOURCE = "acgs-source"
"""Where the producer's record stands: `topic/partition/offset` on a public topic."""
POLICY = "acgs-policy"
"""The policy that decided, `EPOCH:DIGEST`."""
CARD = "acgs-card"
"""The score card as compact JSON (ScoreCard)."""
SENDER_VERIFIED = "acgs-sender-verified"
"""`true` where a signature proves who sent the message, else `false`: `from_agent` is then a claim."""
EXECUTABLE = "acgs-executable"
"""`true` where the message holds an action that may be executed; on `false`, execute nothing from it."""
DELIVERY_ID = "acgs-delivery-id"
"""SHA-256 of the source position: the same for every copy a consumer may read twice."""
ITEM = "acgs-item"
"""What is held and what it takes to release it, as compact JSON (DeliberationItem)."""
WORKFLOW = "acgs-workflow"
"""The workflow that a record on `deliberation` belongs to."""
REPLY_TO = "acgs-reply-to"
"""Who is answered when a workflow has ended that an agent of this system started; only such agents write it."""
WITHDRAWN = "acgs-withdrawn"
"""The item that is of no use any more; the record is no item itself."""
REASON = "acgs-reason"
"""Why a record was rejected: a code of schemas.reasons."""
DETAIL = "acgs-detail"
"""The reason in words, with the place in the record where there is one. Never holds a whole hash."""
NULL_VALUE = "acgs-null-value"
"""`true` where the rejected record had no value at all (and not an empty one)."""

CURRENT_VERSION = b"1"
MAX_HEADERS = 64
MAX_HEADERS_BYTES = 16 * 1024


class SourcePosition(NamedTuple):
    """Where a producer's record stands in the log."""

    topic: str
    partition: int
    offset: int


def encode_source(topic: str, partition: int, offset: int) -> bytes:
    """The header `acgs-source`: `topic/partition/offset`."""
    return f"{topic}/{partition}/{offset}".encode()


def decode_source(value: bytes) -> SourcePosition:
    """Reads the header `acgs-source`.

    Raises:
        ValueError: not `topic/partition/offset`.
    """
    topic, partition, offset = value.decode().rsplit("/", 2)
    return SourcePosition(topic, int(partition), int(offset))


def delivery_id(source: bytes) -> bytes:
    """The header `acgs-delivery-id` of a record with that `acgs-source`."""
    return hashlib.sha256(source).hexdigest().encode()
