"""The score card: an action's impact and the factors that gave it."""

from dataclasses import dataclass
from typing import ClassVar

import orjson
from pydantic import ConfigDict, TypeAdapter

from schemas.model import Score

# Dataclasses, without slots: a pydantic card takes 3 times as long to build, one with slots 4 times as long to encode.


@dataclass(frozen=True)
class Factor:
    """One reason for a score: its name, what it adds (or, if negative, takes) in points, and why, in words."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    name: str
    points: int
    why: str


@dataclass(frozen=True)
class ScoreCard:
    """The impact of one message under one policy.

    `score` is an integer 0..10,000, the sum of the factors' points. `tool` and `verb` are those of the scored action,
    null where there is none; an unknown tool has no verb. `policy` is the epoch and digest the score was computed under
    (`EPOCH:DIGEST`), and `decision_version` the version of the rules: the same message, policy and version always give
    the same card.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    score: Score
    factors: tuple[Factor, ...]
    tool: str | None
    verb: str | None
    policy: str
    decision_version: int


CARD: TypeAdapter[ScoreCard] = TypeAdapter(ScoreCard)
"""The contract of a card, for those who read one and for the JSON Schema."""


def encode_card(card: ScoreCard) -> bytes:
    """The card as compact JSON, as it travels in the header `acgs-card`."""
    return orjson.dumps(card)


def decode_card(text: bytes) -> ScoreCard:
    """Reads a card.

    Raises:
        pydantic.ValidationError: the text is no card.
    """
    return CARD.validate_json(text)


def display(score: int) -> str:
    """A score as people see it: 0.0000-1.0000."""
    return f"{score // 10_000}.{score % 10_000:04d}"
