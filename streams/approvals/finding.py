"""The item that somebody means by an id, or by the beginning of one."""

import re

from schemas.deliberation import DeliberationState
from streams.approvals import board
from streams.approvals.errors import ItemAmbiguousError, ItemUnknownError
from streams.engine.client import EngineSettings
from streams.errors import UnfitTextError

LEAST_CHARACTERS = 8
_ID_CHARACTERS = 36
_FORM = re.compile(r"[0-9a-f-]+", re.ASCII)


async def item_id_of(settings: EngineSettings, given: str) -> str:
    """The id of the item whose id is this, or alone begins so.

    Raises:
        UnfitTextError: it is no id, nor 8 characters or more of one.
        ItemUnknownError: no item's id begins so.
        ItemAmbiguousError: several items' ids do.
        InstallationError: there is no topic of statuses.
        BrokerError: the broker cannot be reached or refuses.
    """
    wanted = require_id(given)
    if len(wanted) == _ID_CHARACTERS:
        return wanted
    found = await board.statuses(settings, frozenset(DeliberationState))
    return the_one([status.item.item_id for status in found], wanted)


def require_id(given: str) -> str:
    """An item's id or the beginning of one, in lower case.

    Raises:
        UnfitTextError: it is neither.
    """
    wanted = given.lower()
    if not _FORM.fullmatch(wanted) or not LEAST_CHARACTERS <= len(wanted) <= _ID_CHARACTERS:
        raise UnfitTextError(
            f"{given[:_ID_CHARACTERS]!a} is no item's id, nor {LEAST_CHARACTERS} characters or more of its beginning: "
            "'acgs deliberation list' lists them"
        )
    return wanted


def the_one(ids: list[str], wanted: str) -> str:
    """The only id that begins so. Raises as item_id_of()."""
    found = [one for one in ids if one.lower().startswith(wanted)]
    if not found:
        raise ItemUnknownError(wanted)
    if len(found) > 1:
        raise ItemAmbiguousError(wanted, found)
    return found[0]
