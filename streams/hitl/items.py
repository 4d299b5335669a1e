"""Items for people: looked up, read with their bytes, and linked to."""

from typing import Final
from urllib.parse import quote

from schemas.deliberation import DeliberationStatus
from streams.approvals import PendingItem, board
from streams.approvals.loading import Loader
from streams.broker import told_errors
from streams.engine.client import EngineSettings
from streams.hitl.settings import Links
from streams.hitl.shown import Shown
from streams.hitl.signing import is_same, item_token
from streams.hitl.statuses import Statuses

TOKEN: Final = "t"  # noqa: S105  # the parameter's name
"""The parameter of a link that holds its token."""


class Items:
    """Reads held records where they stand, one at a time. A record whose digest is not the item's is never shown."""

    def __init__(self, settings: EngineSettings, loader: Loader, links: Links) -> None:
        self._settings, self._loader, self._links = settings, loader, links

    async def shown(self, status: DeliberationStatus, alike: int) -> Shown:
        """An item as a card has it.

        Raises:
            DeliberationError: its record is gone, or not what the item says.
            BrokerError: the broker cannot be reached or refuses.
        """
        return Shown(await self._load(status), alike, self.link(status.item.item_id))

    def link(self, item_id: str) -> str:
        """Where the item is shown whole to whoever has the link."""
        token = item_token(self._links.secret, item_id)
        return f"{self._links.public_url}/items/{quote(item_id, safe='')}?{TOKEN}={token}"

    def is_allowed(self, item_id: str, token: str) -> bool:
        """Whether a link's token is the item's."""
        return is_same(token, item_token(self._links.secret, item_id))

    async def waiting(self, item_id: str) -> tuple[DeliberationStatus, int]:
        """How an item stands by the log, and how many wait that are like it. Reads all statuses.

        Raises:
            ItemUnknownError: there is no item of this id.
            BrokerError: the broker cannot be reached or refuses.
        """
        pending = await board.statuses(self._settings)
        found = next((status for status in pending if status.item.item_id == item_id), None)
        if found is None:
            return await board.status_of(self._settings, item_id), 0
        return found, sum(status.item.action == found.item.action for status in pending)

    async def find(self, item_id: str, statuses: Statuses) -> DeliberationStatus:
        """How an item stands: as it has been followed, and only where it has not been, by the log.

        Raises:
            ItemUnknownError: there is no item of this id.
            BrokerError: the broker cannot be reached or refuses.
        """
        return statuses.find(item_id) or await board.status_of(self._settings, item_id)

    async def _load(self, status: DeliberationStatus) -> PendingItem:
        with told_errors(self._settings):
            return (await self._loader.load([status]))[0]
