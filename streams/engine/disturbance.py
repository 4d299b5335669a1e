"""Where a lane may be disturbed on purpose, so that what must hold under faults can be seen to hold."""

from typing import Protocol


class Disturbance(Protocol):
    """What is done to lanes on purpose: they are held up, or fail as they would by themselves.

    Guarantees, by what it is given: it knows which lane it disturbs and nothing of records, rows, decisions or audit,
    so that a disturbed lane decides what it would have decided. What it raises is settled like any failure: another
    producer, and the changelog says what became of the turn.
    """

    async def before_turn(self, agent: str, lane: int) -> None:
        """A turn is about to begin; nothing has been taken yet. May wait. Must not raise."""
        ...

    async def reach_broker(self, agent: str, lane: int) -> None:
        """The lane is about to start a producer or a transaction. May raise OSError: it is cut off."""
        ...

    async def before_commit(self, agent: str, lane: int) -> None:
        """All that a turn writes has been acknowledged. May wait, until the turn's deadline ends it, or raise."""
        ...

    async def after_commit(self, agent: str, lane: int) -> None:
        """The turn has committed, which the lane has not heard yet. May wait or raise likewise."""
        ...


class _Undisturbed:
    """Does nothing."""

    async def before_turn(self, agent: str, lane: int) -> None:
        """Does not wait."""

    async def reach_broker(self, agent: str, lane: int) -> None:
        """Reaches it."""

    async def before_commit(self, agent: str, lane: int) -> None:
        """Lets it commit."""

    async def after_commit(self, agent: str, lane: int) -> None:
        """Lets the lane hear."""


UNDISTURBED: Disturbance = _Undisturbed()
"""What lanes have unless they are given another."""
