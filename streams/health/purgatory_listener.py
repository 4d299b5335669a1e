"""Breakers of purgatory, for asyncio and for threads, as a HealthAggregator hears of them."""

from collections.abc import Callable
from typing import Any, Protocol

from streams.health.listening import Listening

Hook = Callable[[str, Any, Any], None]


class Factory(Protocol):
    """An AsyncCircuitBreakerFactory or a SyncCircuitBreakerFactory."""

    def add_listener(self, listener: Hook) -> None:
        """Calls it with the name of a circuit, what has happened, and purgatory's event of it."""
        ...


def listen(health: Listening, factory: Factory) -> None:
    """Tells every breaker that the factory makes from now on, and its changes.

    purgatory tells a change when the guarded call ends: half-open and what follows come together.
    """

    def hook(circuit: str, kind: str, event: Any) -> None:  # noqa: ANN401  # purgatory's events have no common type
        if kind == "circuit_breaker_created":
            health.on_circuit_state_change(circuit, "closed")
        elif kind == "state_changed":
            health.on_circuit_state_change(circuit, event.state)

    factory.add_listener(hook)
