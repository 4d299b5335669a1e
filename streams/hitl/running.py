"""Posting what waits, for as long as the process runs: the log is followed, and each platform has its group."""

import asyncio
import logging
from collections.abc import Collection
from datetime import timedelta
from typing import Final

from schemas import topics
from streams.activities.intake import Intake
from streams.agents.naming import Naming
from streams.engine.client import EngineSettings
from streams.errors import StreamsError
from streams.hitl.callbacks import Callbacks
from streams.hitl.desk import PlatformDesk
from streams.hitl.following import Followed, following
from streams.hitl.items import Items
from streams.hitl.outlet import Outlet
from streams.hitl.policy import Office

_log = logging.getLogger(__name__)

GROUP: Final = "approvers.hitl"
"""Begins the consumer group of each platform; the role `approvers` may use groups that begin with `approvers.`."""
_AGAIN: Final = timedelta(seconds=2)


class Posting:
    """Brings every status to the desk of every platform. `policy` is that in force, while the log is followed."""

    def __init__(
        self, settings: EngineSettings, outlets: Collection[Outlet], items: Items, callbacks: Callbacks
    ) -> None:
        self._settings, self._outlets, self._items, self._callbacks = settings, outlets, items, callbacks
        self._intakes: list[Intake] = []
        self.policy: Office | None = None

    @property
    def waits_for(self) -> tuple[str, ...]:
        """What keeps it from posting; nothing once all is read."""
        if not self._intakes:
            return ("the log of statuses is not read yet",)
        return tuple(f"{one.topic} is not read yet" for one in self._intakes if not one.is_ready)

    async def run(self) -> None:
        """Posts until it is cancelled; begins anew whenever the log cannot be followed any more.

        Raises:
            InstallationError: topics are missing, when it begins.
            BrokerError: the broker cannot be reached, when it begins.
        """
        has_begun = False
        while True:
            try:
                async with following(self._settings) as followed:
                    has_begun = True
                    await self._session(followed)
            except StreamsError as error:
                if not has_begun:
                    raise
                _log.warning("the log cannot be followed, beginning anew: %s", error)
            await asyncio.sleep(_AGAIN.total_seconds())

    async def _session(self, followed: Followed) -> None:
        """Posts until following fails."""
        topic = Naming(self._settings.prefix).topic(topics.DELIBERATION_STATUS)
        desks = [PlatformDesk(outlet, self._items, followed.statuses) for outlet in self._outlets]
        groups = [self._settings.group(f"{GROUP}.{outlet.name}") for outlet in self._outlets]
        self._intakes = [Intake(topic, group, self._settings, desk) for group, desk in zip(groups, desks, strict=True)]
        self._callbacks.open(followed)
        self.policy = followed.policy
        reading = [asyncio.create_task(intake.run()) for intake in self._intakes]
        try:
            await asyncio.wait([followed.failure, *reading], return_when=asyncio.FIRST_COMPLETED)
            for done in (followed.failure, *reading):
                if done.done():
                    done.result()
        finally:
            self._callbacks.close()
            self.policy = None
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
            self._intakes = []
            for desk in desks:
                await desk.aclose()
