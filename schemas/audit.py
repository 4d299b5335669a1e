"""The audit record: what one turn of one lane read, wrote and decided by."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.model import Contract, Name, Sha256

_MAX_INTEGER = 2**53 - 1

Count = Annotated[int, Field(ge=0, le=_MAX_INTEGER)]
Number = Annotated[int, Field(ge=1, le=_MAX_INTEGER)]


class InputRange(Contract):
    """Records read from one partition, in the order handled: offsets `from` (first) to `to` (next), `count` records.

    Transaction markers and compaction leave gaps, so `count` may be less than `to - from`.
    """

    topic: str
    partition: Count
    from_: Count = Field(alias="from")
    to: Count
    count: Count


class OutputCount(Contract):
    """How many records the turn wrote to one partition."""

    topic: str
    partition: Count
    count: Number


class AcceptedPosition(Contract):
    """An operator moved the lane to a position by hand: what was skipped or is read again, who did it and why."""

    positions: dict[str, Count]
    operator: str
    reason: str


class AuditRecord(Contract):
    """One turn, written in the turn's own transaction to the topic `audit`.

    A record's hash is SHA-256 over topic, partition, key, headers and value, each length-prefixed (an input's also over
    its offset). `input_digest` is SHA-256 over the concatenated input hashes in the order handled; `output_digest` the
    same over the outputs, grouped as `outputs` lists them and in log order within a group. `previous` is the SHA-256 of
    the lane's previous audit record's value, 64 zeros for the first. `entropy` is the turn's random draw of 32 bytes,
    `epoch` the number of the policy in force after the turn and `clock` the lane's time after it, in milliseconds.

    `state_digest` is there in each 16th turn of a lane that keeps rows. Each row as the changelog has it after the turn
    is hashed like an output, without topic and partition; SHAKE-128 stretches the hash to 512 bytes; the sum of these
    numbers (big-endian) modulo 2^4096 is written in 512 bytes, and the digest is their SHA-256.
    """

    v: Number
    agent: Name
    lane: Count
    seq: Number
    previous: Sha256
    inputs: tuple[InputRange, ...]
    input_digest: Sha256
    outputs: tuple[OutputCount, ...]
    output_digest: Sha256
    entropy: Sha256
    state_digest: Sha256 | None = None
    decision_version: Number
    epoch: Number | None
    clock: Count
    accepted: AcceptedPosition | None = None


class ErasedRecord(Contract):
    """A record that had to be erased, and the hashes that it left: as one that was read, and as one that was written.

    Both are SHA-256 as in the audit record; the first is taken over its offset too. One that is not known is left out:
    a turn that read, or wrote, the record is then one whose record is missing.
    """

    topic: str
    partition: Count
    offset: Count
    input_hash: Sha256 | None = None
    output_hash: Sha256 | None = None

    @model_validator(mode="after")
    def _has_a_hash(self) -> Self:
        if self.input_hash is None and self.output_hash is None:
            raise ValueError("it has left no hash: input_hash, output_hash or both")
        return self
