"""How often chaos meets a turn or a call."""

import random
from collections.abc import Callable

from schemas.chaos import ChaosStatus

_ALWAYS = 100


class Chance:
    """Decides by probabilities. `draw` gives numbers from 0 up to, not including, 1."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw

    def has(self, probability: float) -> bool:
        """Whether it comes true this time."""
        return self._draw() < probability


def probability(status: ChaosStatus) -> float:
    """How often a turn or a call is met, from 0 to 1."""
    return (status.parameters.probability_percent or _ALWAYS) / _ALWAYS
