"""What a replay was made of: the first record of its topic `replay`, and the last one once it is complete."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from schemas import topics
from schemas.model import Contract, Sha256

AGENTS = (*topics.GATEWAYS, topics.TRIAGE)
"""What is replayed: those who decide on each record by itself, from nothing but the record and the policy.

What the others decide rests on what people signed, workers answered and clocks fired, under the policy of then.
"""

BEGUN, FINISHED = b"begun", b"finished"
"""The keys of the two records."""


class Window(Contract):
    """Offsets of one partition of a public topic: `first` to `next`. `cut`: retention may have deleted some of it."""

    topic: str
    partition: int
    first: int
    next: int
    cut: bool = False


class Marker(Contract):
    """What a replay was made of. `made` are the topics that belong to it, by full name.

    `since` and `until` are broker times of inputs in milliseconds since 1970, `policy` is the SHA-256 of the exact
    policy and `epoch` its number.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    live: str
    since: int
    until: int
    epoch: int
    policy: Sha256
    release: str
    decision_versions: Mapping[str, int]
    windows: Sequence[Window]
    made: Sequence[str]


class Finish(Contract):
    """That a replay is complete: so many inputs were decided."""

    v: Annotated[int, Field(ge=1, le=1)] = 1
    inputs: int
