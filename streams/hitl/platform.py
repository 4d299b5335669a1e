"""A platform that cards are posted to."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from schemas.deliberation import DeliberationStatus
from streams.hitl.settings import Channel
from streams.hitl.shown import Notice, Shown


@dataclass(frozen=True, slots=True)
class Posted:
    """A card on its platform: the channel, and the platform's name for the message in it."""

    channel: str
    message: str


class Platform(ABC):
    """Somewhere people see cards.

    Each method is one attempt: on return the platform has taken the message, whole. One that raises may have been taken
    nevertheless. Safe to cancel, as an attempt that fails. All raise PlatformBusyError where it is of use to try again,
    after `retry_after` at the earliest, and PlatformRefusedError where somebody has to do something first.
    """

    channel: ClassVar[Channel]

    @abstractmethod
    async def post_card(self, shown: Shown) -> Posted | None:
        """Posts an item's card. Returns where it is, where the platform lets it be changed later."""

    @abstractmethod
    async def tell(self, notice: Notice, status: DeliberationStatus, link: str, card: Posted | None) -> None:
        """Tells how an item stands or has ended: at its card where that is known, else in a message of its own."""
