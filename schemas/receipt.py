"""A receipt: one file that proves one message's story, and shows of everybody else's records their hashes alone."""

import base64
import binascii
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema

from schemas.checkpoint import Checkpoint
from schemas.model import Contract, Sha256, Uuid

HASH_BYTES = 32


def _bytes(given: object) -> bytes:
    """Base64 in its one canonical form, so that no two texts mean the same bytes."""
    if isinstance(given, bytes):
        return given
    if not isinstance(given, str):
        raise ValueError("bytes are a text in base64")  # noqa: TRY004  # pydantic takes ValueError
    try:
        content = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("this is no base64") from error
    if base64.b64encode(content).decode() != given:
        raise ValueError("this is not the one way to write these bytes in base64")
    return content


def _hashes(given: object) -> bytes:
    content = _bytes(given)
    if len(content) % HASH_BYTES:
        raise ValueError(f"hashes are {HASH_BYTES} bytes each; {len(content)} bytes are no number of them")
    return content


_TEXT = PlainSerializer(lambda content: base64.b64encode(content).decode(), return_type=str, when_used="json")
_SCHEMA = WithJsonSchema({"type": "string", "contentEncoding": "base64"})

Base64 = Annotated[bytes, PlainValidator(_bytes), _TEXT, _SCHEMA]
"""Bytes, in JSON as base64."""
Hashes = Annotated[bytes, PlainValidator(_hashes), _TEXT, _SCHEMA]
"""SHA-256 hashes of 32 bytes each, joined: the SHA-256 of exactly these bytes is the digest in the audit record."""

Count = Annotated[int, Field(ge=0, lt=2**53)]
Partition = Annotated[int, Field(ge=0, lt=2**31)]
Ms = Annotated[int, Field(ge=0, lt=253_402_300_800_000)]
"""Milliseconds since 1970, before the year 10,000."""
Header = tuple[str, Base64 | None]


class ShownInput(Contract):
    """One record that a turn read, in full. `index` is its place among the turn's input hashes, `value` its content.

    `time` is when the broker took it and `clock` the lane's time when it was decided on. Neither is in a hash: they are
    held to the times in the audit records before and of the turn, and to what was decided by them.
    """

    index: Count
    topic: str
    partition: Partition
    offset: Count
    time: Ms
    clock: Ms
    key: Base64 | None
    value: Sha256 | None
    headers: tuple[Header, ...]


class ShownOutput(Contract):
    """One record that a turn wrote, in full. `index` is its place among the turn's output hashes."""

    index: Count
    topic: str
    partition: Partition
    key: Base64 | None
    value: Sha256 | None
    headers: tuple[Header, ...]


class Inclusion(Contract):
    """The RFC 6962 proof that an audit record is in the checkpoint's tree of its partition, `index` counted from 0."""

    index: Count
    hashes: Hashes


class ShownTurn(Contract):
    """One turn of one lane: its audit record, the one before it, the hashes of all its records, and some of them.

    `record` and `previous` are the values of the audit records, byte for byte; the first turn of a lane has none
    before it. Every policy (`control`) that the turn read is among `inputs`. `output_hashes` is None where no output
    is shown, and `proof` where the receipt has no checkpoint.
    """

    record: Base64
    previous: Base64 | None
    input_hashes: Hashes
    inputs: tuple[ShownInput, ...]
    output_hashes: Hashes | None
    outputs: tuple[ShownOutput, ...]
    proof: Inclusion | None = None


class Receipt(Contract):
    """The story of one record on `in.messages`, the one that `source` names as `topic/partition/offset`.

    `turns` are those that decided on it, and those that put the policies in force it was decided by: of each lane in
    ascending order. `policies` are those of which the turn cannot be shown any more, since what it read beside them is
    deleted; what was decided by them names their digest. `contents` holds the values of all shown records, and the
    policies, once, by their SHA-256. `prefix` begins the names of the installation's topics.
    `checkpoint` is one of the notary's whose trees hold the audit record of every turn; each then has its proof.
    """

    v: Literal[1]
    message_id: Uuid
    source: str
    prefix: str
    policies: tuple[Sha256, ...]
    turns: Annotated[tuple[ShownTurn, ...], Field(min_length=1)]
    contents: dict[Sha256, Base64]
    checkpoint: Checkpoint | None = None
