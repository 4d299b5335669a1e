"""A scenario of chaos, as code describes it."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from schemas.chaos import MAX_DURATION, ChaosParameters, ChaosType

_MAX_S: Final = MAX_DURATION.total_seconds()
_DEFAULT_LATENCY_MS: Final = 100


@dataclass(frozen=True, slots=True)
class ChaosScenario:
    """What is to be done, to what, and for how long.

    `blast_radius` is all that may be touched: the target must be inside, and is all of it where none is named.
    `max_duration_s` is a limit of its own, 300 s at most. The constitutional hash is always validated: there is no
    scenario without. `parameters` say how bad it is; latency is 100 ms if they do not.

    Raises:
        ValueError: it would last too long, its target is outside of its blast radius, or it asks for no validation.
    """

    name: str
    chaos_type: ChaosType
    target: str
    duration_s: float = 10.0
    max_duration_s: float = _MAX_S
    blast_radius: AbstractSet[str] = field(default_factory=frozenset[str])
    require_hash_validation: bool = True
    parameters: ChaosParameters = field(default_factory=ChaosParameters)

    def __post_init__(self) -> None:
        if not self.require_hash_validation:
            raise ValueError("the constitutional hash is always validated: require_hash_validation cannot be False")
        if not 0 < self.max_duration_s <= _MAX_S:
            raise ValueError(f"max_duration_s is {self.max_duration_s:g}: it must be above 0, and {_MAX_S:g} at most")
        if not 0 < self.duration_s <= self.max_duration_s:
            raise ValueError(
                f"duration_s is {self.duration_s:g}: it must be above 0, and {self.max_duration_s:g} at most"
            )
        radius = frozenset(self.blast_radius) or frozenset({self.target})
        if self.target not in radius and self._agent not in radius:
            raise ValueError(f"the target {self.target!a} is outside of the blast radius {sorted(radius)}")
        object.__setattr__(self, "blast_radius", radius)
        if self.chaos_type is ChaosType.LATENCY and self.parameters.latency_ms is None:
            late = self.parameters.model_copy(update={"latency_ms": _DEFAULT_LATENCY_MS})
            object.__setattr__(self, "parameters", late)

    @property
    def duration_ms(self) -> int:
        """How long it is in force, in whole milliseconds, 1 at least."""
        return max(1, int(self.duration_s * 1_000))

    @property
    def _agent(self) -> str | None:
        """The agent that the target is a lane of."""
        kind, _, name = self.target.partition(":")
        return f"agent:{name.rpartition('/')[0]}" if kind == "lane" else None
