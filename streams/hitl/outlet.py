"""One platform as the process uses it: how many attempts at once, when to leave it alone, and what it has taken."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from streams.backoff import Backoff, Gate
from streams.hitl.errors import PlatformBusyError, PlatformError
from streams.hitl.platform import Platform, Posted
from streams.metrics import HitlMeasures

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 8
_CARDS_KEPT: Final = 50_000


@dataclass(frozen=True, slots=True)
class Dealt:
    """What this process has done about an item on a platform: whether it has posted a card, and where that is."""

    is_posted: bool
    card: Posted | None = None


class Cards:
    """What this process has done about the last 50,000 items."""

    def __init__(self) -> None:
        self._dealt: OrderedDict[str, Dealt] = OrderedDict()

    def find(self, item_id: str) -> Dealt | None:
        """What was done here; None where another process, or nobody, has dealt with the item."""
        return self._dealt.get(item_id)

    def note(self, item_id: str, dealt: Dealt) -> None:
        """Notes what was done."""
        self._dealt[item_id] = dealt
        self._dealt.move_to_end(item_id)
        if len(self._dealt) > _CARDS_KEPT:
            self._dealt.popitem(last=False)

    def learn(self, item_id: str, card: Posted) -> None:
        """A card is seen that another process has posted."""
        if item_id not in self._dealt:
            self.note(item_id, Dealt(is_posted=True, card=card))


class Outlet:
    """Lets at most 8 attempts at a platform run at once, and none while it asks to be left alone."""

    def __init__(self, platform: Platform, measures: HitlMeasures, backoff: Backoff) -> None:
        self.platform, self.backoff, self.measures = platform, backoff, measures
        self.name = platform.channel.value
        self.cards = Cards()
        self._places, self._gate = asyncio.Semaphore(_AT_ONCE), Gate()

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None, None]:
        """A place for one attempt. Notes its failure; whoever fails leaves before the next attempt."""
        async with self._places:
            await self._gate.passed()
            try:
                yield
            except PlatformError as error:
                self._note(error)
                raise

    def _note(self, error: PlatformError) -> None:
        if not isinstance(error, PlatformBusyError):
            self.measures.failed(self.name, "refused")
            _log.error("%s: %s", self.name, error)
            return
        if error.retry_after is not None:
            self._gate.shut(error.retry_after)
        self.measures.failed(self.name, "busy")
        _log.info("%s: %s", self.name, error)
