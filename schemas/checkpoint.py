"""A checkpoint: what the notary signs of the trail, and keeps off the broker."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Self

import orjson
from pydantic import Field, ValidationError, model_validator

from schemas.decision import SignatureText
from schemas.model import Contract, Name, Rfc3339Text, Sha256
from schemas.registry import KeyId

FIRST_PREVIOUS = "0" * 64
"""What stands for the hash of the checkpoint before the first."""

_CONTEXT = b"acgs-checkpoint-v1\n"
"""Begins what is signed, so that a signature of something else can never be one of a checkpoint."""

_MAX_INTEGER = 2**53 - 1

Count = Annotated[int, Field(ge=0, le=_MAX_INTEGER)]


class TreeHead(Contract):
    """One partition of the topic `audit`: the RFC 6962 tree (SHA-256) over the values of its first `size` records.

    `broken` is how many of these continued no lane's chain when the notary read them, or stood under another key than
    their lane's: 0, unless somebody else than lanes has written there.
    """

    partition: Count
    size: Count
    root: Sha256
    broken: Count


class LaneHead(Contract):
    """The last turn of a lane that the trees hold: its number, and the SHA-256 of its audit record's value."""

    agent: Name
    lane: Count
    seq: Annotated[int, Field(ge=1, le=_MAX_INTEGER)]
    sha256: Sha256


class Checkpoint(Contract):
    """The trail of an installation as the notary read it, one tree a partition.

    `trees` has every partition of the topic, in order; `heads` every lane that has taken a turn, by agent and lane.
    `previous` is the SHA-256 of the checkpoint before (`digest`), 64 zeros in the first, and `number` counts from 1
    without gaps. `signed_at` is the notary's own clock. `signature` is Ed25519 over signed_bytes by the key `key_id`.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    number: Annotated[int, Field(ge=1, le=_MAX_INTEGER)]
    signed_at: Rfc3339Text
    prefix: Annotated[str, Field(max_length=200)]
    cluster_id: Name
    previous: Sha256
    trees: Annotated[tuple[TreeHead, ...], Field(min_length=1)]
    heads: tuple[LaneHead, ...]
    key_id: KeyId
    signature: SignatureText

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if any(tree.partition != number for number, tree in enumerate(self.trees)):
            raise ValueError("trees are not those of partitions 0, 1, 2 and so on")
        lanes = [(head.agent, head.lane) for head in self.heads]
        if any(one >= other for one, other in pairwise(lanes)):
            raise ValueError("heads are not in the order of agent and lane")
        return self

    @cached_property
    def signed_bytes(self) -> bytes:
        """What is signed: a context, then the checkpoint without its signature as canonical JSON (RFC 8785)."""
        return signed_bytes(self.model_dump(mode="json"))

    def line(self) -> bytes:
        """The checkpoint as canonical JSON, without the end of the line."""
        return _canonical(self.model_dump(mode="json"))

    @cached_property
    def digest(self) -> str:
        """What the next checkpoint has as `previous`: the SHA-256 of line()."""
        return hashlib.sha256(self.line()).hexdigest()

    @property
    def size(self) -> int:
        """How many audit records the trees hold together."""
        return sum(tree.size for tree in self.trees)


def signed_bytes(document: Mapping[str, Any]) -> bytes:
    """What is signed of a checkpoint that is given as JSON."""
    return _CONTEXT + _canonical({name: value for name, value in document.items() if name != "signature"})


def parse(line: bytes) -> Checkpoint:
    """A checkpoint from a line of a file.

    Raises:
        ValueError: it is none, or is not written as the notary writes it; the reason is in words.
    """
    try:
        read = Checkpoint.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from error
    if read.line() != line:
        raise ValueError("it is not canonical JSON (RFC 8785)")
    return read


def _canonical(document: Mapping[str, Any]) -> bytes:
    """Names are ASCII and integers below 2^53: of these, orjson with sorted keys writes what RFC 8785 asks for."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
