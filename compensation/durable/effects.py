"""What decisions on workflows ask for and may know: the effects of all decisions, on rows of workflows."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

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

Scorer = Callable[[Mapping[str, JsonValue], PublishedPolicy], ScoreCard]
"""What a command of an agent weighs under a policy."""
