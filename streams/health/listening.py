"""What listeners of breaker libraries tell, and what of it can be understood."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from schemas.breaker import MAX_REASON_CHARACTERS, BreakerState
from schemas.model import MAX_NAME_CHARACTERS


class Listening(Protocol):
    """Whoever wants to know of breakers. It neither raises nor waits: a guarded call goes on once it has returned."""

    def on_circuit_state_change(self, circuit_name: str, new_state: str) -> object:
        """A breaker is in this state from now on."""
        ...


class Publishing(Protocol):
    """Whoever tells others of breakers. It neither raises nor waits."""

    def tell(self, heard: "Heard") -> None:
        """A breaker is in this state from now on."""
        ...

    def remove(self, circuit_name: str) -> None:
        """A breaker is no more."""
        ...

    def often(self, work: Callable[[], None]) -> None:
        """Does this too, again and again, in a thread of its own."""
        ...


class Heard(NamedTuple):
    """A breaker's state, and why, as text that can be written down; `at_s` is when, in seconds since 1970."""

    breaker: str
    state: BreakerState
    reason: str | None
    at_s: float


class Gone(NamedTuple):
    """A breaker is no more; without a name, none is."""

    breaker: str | None
    at_s: float


def understood(circuit_name: object, new_state: object, reason: object, at_s: float) -> Heard:
    """What a call says, whatever it was given.

    A reason that is no text is shown as one; characters that cannot be encoded become question marks.

    Raises:
        ValueError: there is no name, or no state.
    """
    if not isinstance(circuit_name, str) or not 1 <= len(circuit_name) <= MAX_NAME_CHARACTERS:
        raise ValueError(f"a breaker's name is text of 1 to {MAX_NAME_CHARACTERS} characters")
    if not isinstance(new_state, str):
        raise ValueError(f"{type(new_state).__name__} is no state of a breaker")  # noqa: TRY004  # one error for all
    told = None if reason is None else _written(str(reason)[:MAX_REASON_CHARACTERS]) or None
    return Heard(_written(circuit_name), BreakerState.of(new_state), told, at_s)


def name_of(circuit_name: object) -> str | None:
    """The name as a known breaker has it, whatever a caller gives; None where it is no text."""
    return _written(circuit_name) if isinstance(circuit_name, str) else None


def _written(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
