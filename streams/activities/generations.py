"""Which constitutional hashes the policy in force accepts, as a worker follows it."""

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import timedelta

from schemas import topics
from schemas.activity import Direction
from schemas.policy import PublishedPolicy
from streams import control
from streams.agents.control import follow
from streams.agents.naming import Naming
from streams.engine.client import EngineSettings
from streams.engine.errors import ControlRefusedError
from streams.errors import StreamsError
from streams.tailing import BEGINNING, Start, tail

_log = logging.getLogger(__name__)

_RETRY = timedelta(seconds=2)


class Generations:
    """The hashes of one policy. A new policy replaces them."""

    def __init__(self, published: PublishedPolicy) -> None:
        self.take(published)

    def take(self, published: PublishedPolicy) -> None:
        """Another policy is in force."""
        self.published = published
        self._until_ms: Mapping[str, float] = {
            text: float("inf") if accepted.until is None else accepted.until.timestamp() * 1000
            for text, accepted in published.accepted.items()
        }

    def expected(self, provided: str, direction: Direction, now_ms: float) -> str:
        """The hash that a call has to have: its own where that is accepted, else the newest that is.

        What undoes runs under a generation that is being withdrawn or has been, as long as the policy names it.
        """
        until = self._until_ms.get(provided)
        if until is not None and (direction is Direction.UNDO or now_ms <= until):
            return provided
        others = [text for text, until in self._until_ms.items() if text != provided and now_ms <= until]
        return others[-1] if others else ""


async def first(settings: EngineSettings) -> Generations:
    """Those of the policy in force, once there is one; asks until then, and says what it waits for."""
    waits = False
    while True:
        try:
            published = await control.in_force(settings)
        except StreamsError as error:
            _log.warning("the policy in force cannot be read, trying again: %s", error)
        else:
            if published is not None:
                return Generations(published)
            if not waits:
                _log.warning("no policy is in force yet: 'acgs policy publish' publishes one; no activity runs before")
            waits = True
        await asyncio.sleep(_RETRY.total_seconds())


async def keep_up(generations: Generations, settings: EngineSettings) -> None:
    """Takes every new policy as it comes, for ever. While the log cannot be read, the one before stays."""
    topic = Naming(settings.prefix).topic(topics.CONTROL)
    while True:
        try:
            async for records in tail(settings, topic, Start(BEGINNING), follow=True):
                for record in records:
                    if record.partition == 0:
                        _follow(generations, record.value or b"")
        except StreamsError as error:
            _log.warning("the control topic cannot be followed, trying again: %s", error)
        await asyncio.sleep(_RETRY.total_seconds())


def _follow(generations: Generations, document: bytes) -> None:
    try:
        generations.take(follow(document, generations.published))
    except ControlRefusedError:
        return  # it is in force already, or can never be
    _log.info("policy: epoch %d", generations.published.policy.epoch)


def now_ms() -> float:
    """This machine's clock, in milliseconds since 1970."""
    return time.time() * 1000
