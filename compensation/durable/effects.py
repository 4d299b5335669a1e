"""What decisions on workflows ask for and may know: the effects of all decisions, on rows of workflows."""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from pydantic import JsonValue

from compensation.durable.rows import Row
from schemas import effects
from schemas.effects import Forget, Headers, Publish, Refused
from schemas.policy import PublishedPolicy
from schemas.score import ScoreCard

__all__ = ["Decided", "Effect", "Forget", "Headers", "Keep", "Publish", "Refused", "Scorer", "Surroundings"]

Keep: TypeAlias = effects.Keep[Row]
Effect: TypeAlias = effects.Effect[Row]
Decided: TypeAlias = effects.Decided[Row]
Surroundings: TypeAlias = effects.Surroundings[Row]


class Scorer(Protocol):
    """What a command of an agent weighs under a policy."""

    def __call__(
        self, message: Mapping[str, JsonValue], published: PublishedPolicy, /, *, sender_verified: bool
    ) -> ScoreCard:
        """The impact of a message; `sender_verified` says whether a signature proves who sent it."""
        ...
