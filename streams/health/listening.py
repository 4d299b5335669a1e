"""What listeners of breaker libraries tell."""

from typing import Protocol


class Listening(Protocol):
    """Whoever wants to know of breakers. It neither raises nor waits: a guarded call goes on once it has returned."""

    def on_circuit_state_change(self, circuit_name: str, new_state: str) -> object:
        """A breaker is in this state from now on."""
        ...
