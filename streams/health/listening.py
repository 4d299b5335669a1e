"""What listeners of breaker libraries tell."""

from typing import Protocol


class Listening(Protocol):
    """Whoever wants to know of breakers. It neither raises nor waits: a guarded call goes on once it has returned."""

    def on_circuit_state_change(self, circuit_name: str, new_state: str) -> object:
        """A breaker is in this state from now on."""
        ...


class Publishing(Protocol):
    """Whoever tells others of breakers. It neither raises nor waits."""

    def on_circuit_state_change(self, circuit_name: str, new_state: str, *, reason: str | None = None) -> object:
        """A breaker is in this state from now on, for a reason that people may read."""
        ...

    def remove(self, circuit_name: str) -> None:
        """A breaker is no more."""
        ...
