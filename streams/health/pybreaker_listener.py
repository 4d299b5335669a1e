"""Breakers of pybreaker, as a HealthAggregator hears of them."""

from pybreaker import CircuitBreaker, CircuitBreakerListener, CircuitBreakerState

from streams.health.listening import Listening


class PybreakerListener(CircuitBreakerListener):
    """Tells the changes of breakers that it is a listener of."""

    def __init__(self, health: Listening) -> None:
        self._health = health

    def state_change(
        self, cb: CircuitBreaker, old_state: CircuitBreakerState | None, new_state: CircuitBreakerState
    ) -> None:
        """Called by pybreaker, in the thread of the call that has changed the state."""
        del old_state
        self._health.on_circuit_state_change(_name(cb), new_state.name)


def listen(health: Listening, *breakers: CircuitBreaker) -> None:
    """Tells the state that each breaker is in, and from now on its changes.

    Raises:
        ValueError: a breaker has no name, so that nobody could tell which it is.
    """
    for breaker in breakers:
        _name(breaker)
    listener = PybreakerListener(health)
    for breaker in breakers:
        breaker.add_listener(listener)
        health.on_circuit_state_change(_name(breaker), breaker.current_state)


def _name(breaker: CircuitBreaker) -> str:
    if not breaker.name:
        raise ValueError("a breaker that is listened to needs a name: CircuitBreaker(name=...)")
    return breaker.name
