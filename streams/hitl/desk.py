"""The desk of one platform: statuses come in as its group reads them, and what they ask for is posted."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from schemas.deliberation import DeliberationStatus
from streams.activities.commits import Ledger
from streams.activities.intake import Desk
from streams.approvals import DeliberationError
from streams.approvals.board import parse
from streams.engine.records import Record
from streams.errors import StreamsError
from streams.hitl.errors import PlatformError
from streams.hitl.items import Items
from streams.hitl.outlet import Dealt, Outlet
from streams.hitl.shown import Notice
from streams.hitl.statuses import Statuses

_log = logging.getLogger(__name__)

WINDOW: Final = 500
"""How many statuses may be read and not dealt with; while there are so many, no more are read."""
_PENDING: Final = b'"state":"pending"'
_CARD: Final = "card"


class _Event:
    """One status on its way to the platform. Of an item that has ended, it holds what was said."""

    __slots__ = ("before", "ended", "is_in_flight", "is_withdrawn", "item_id", "ledger", "offset", "partition", "task")

    def __init__(self, item_id: str, record: Record, value: bytes, ledger: Ledger) -> None:
        self.item_id, self.partition, self.offset, self.ledger = item_id, record.partition, record.offset, ledger
        self.ended = None if _PENDING in value else value
        self.is_in_flight = self.is_withdrawn = False
        self.before: asyncio.Task[None] | None = None
        self.task: asyncio.Task[None] | None = None


class PlatformDesk(Desk):
    """Posts what statuses ask for, on one platform, at least once each.

    An item's first status is its card, one at which its reminders rise a reminder, and so on; nothing is posted of what
    is overtaken, such as the card of an item that has ended. Statuses of one item are dealt with in their order, those
    of different items are not waited for. What fails is tried again until it is overtaken, which the item's deadline
    sees to. At most 500 are held at a time, by their places in the log and not their content.
    """

    def __init__(self, outlet: Outlet, items: Items, statuses: Statuses) -> None:
        self._outlet, self._items, self._statuses = outlet, items, statuses
        self._open: set[_Event] = set()
        self._last: dict[str, _Event] = {}
        self.room = asyncio.Event()
        outlet.measures.waiting(outlet.name, lambda: float(len(self._open)))

    # What the intake asks

    def free(self) -> int:
        """How many statuses may be brought now."""
        return WINDOW - len(self._open)

    def take(self, ledger: Ledger, record: Record) -> None:
        """Takes a status."""
        if record.key is None or record.value is None:
            ledger.finish(record.offset)
            return
        event = _Event(record.key.decode(errors="replace"), record, record.value, ledger)
        before = self._last.get(event.item_id)
        event.before = None if before is None else before.task
        self._last[event.item_id] = event
        self._open.add(event)
        event.task = asyncio.create_task(self._run(event))

    def withdraw(self) -> None:
        """Lets go of what is not being posted at this moment, and says so to its ledger."""
        for event in list(self._open):
            event.is_withdrawn = True
            if not event.is_in_flight and event.task is not None:
                event.ledger.release(event.offset)
                event.task.cancel()

    async def settle(self, within_s: float) -> None:
        """Waits for what is being posted."""
        await self._wait((event for event in self._open if event.is_in_flight), within_s)

    async def aclose(self) -> None:
        """Ends what is left; what was being posted is posted again by whoever reads it next."""
        for event in self._open:
            if event.task is not None:
                event.task.cancel()
        await self._wait(self._open, None)

    async def _wait(self, events: Iterable[_Event], within_s: float | None) -> None:
        tasks = [event.task for event in events if event.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=within_s)

    # One status

    async def _run(self, event: _Event) -> None:
        try:
            if event.before is not None:
                await asyncio.wait([event.before])
                event.before = None
            await self._statuses.reached(event.partition, event.offset)
            if await self._dealt_with(event):
                event.ledger.finish(event.offset)
            else:
                event.ledger.release(event.offset)
        finally:
            self._open.discard(event)
            if self._last.get(event.item_id) is event:
                del self._last[event.item_id]
            self.room.set()

    async def _dealt_with(self, event: _Event) -> bool:
        """Tries until it is done or overtaken; False where it is withdrawn."""
        attempt = 0
        while self._due(event):
            if attempt:
                self._outlet.measures.retried(self._outlet.name)
            if await self._attempted(event):
                return True
            if event.is_withdrawn:
                return False
            await asyncio.sleep(self._outlet.backoff.pause(attempt).total_seconds())
            attempt += 1
        return True

    async def _attempted(self, event: _Event) -> bool:
        """Whether there is nothing left to do after one attempt."""
        try:
            async with self._outlet.turn():
                event.is_in_flight = True
                await self._do(event)
        except PlatformError:
            return False
        except DeliberationError as error:
            _log.error("item %s is not shown to anybody: %s", event.item_id, error)
            self._outlet.measures.failed(self._outlet.name, "unreadable")
        except StreamsError as error:
            _log.warning("item %s cannot be read, trying again: %s", event.item_id, error)
            return False
        except Exception:  # noqa: BLE001  # a defect of ours: the item is not lost by it
            _log.exception("item %s cannot be posted on %s, trying again", event.item_id, self._outlet.name)
            self._outlet.measures.failed(self._outlet.name, "error")
            return False
        finally:
            event.is_in_flight = False
        return True

    async def _do(self, event: _Event) -> None:
        due, outlet = self._due(event), self._outlet
        status = self._statuses.find(event.item_id) if event.ended is None else parse(event.ended)
        if due is None or status is None:
            return
        if due == _CARD:
            await self._post_card(status)
        else:
            notice, known = Notice(due), outlet.cards.find(event.item_id)
            link = self._items.link(event.item_id)
            await outlet.platform.tell(notice, status, link, None if known is None else known.card)
            if notice is Notice.OUTCOME:
                outlet.cards.note(event.item_id, Dealt(is_posted=False))
        outlet.measures.posted(outlet.name, due)

    async def _post_card(self, status: DeliberationStatus) -> None:
        shown = await self._items.shown(status, self._statuses.alike(status.item.action))
        card = await self._outlet.platform.post_card(shown)
        self._outlet.cards.note(status.item.item_id, Dealt(is_posted=True, card=card))

    def _due(self, event: _Event) -> str | None:
        """What a status asks for as things stand: a card, a notice, or nothing."""
        story, dealt = self._statuses.story(event.item_id), self._outlet.cards.find(event.item_id)
        is_first = story is None or story.first == event.offset
        if event.ended is not None:
            was_shown = dealt.is_posted if dealt is not None else not is_first
            return Notice.OUTCOME.value if was_shown else None
        if story is None or not story.is_pending:
            if is_first and dealt is None:
                self._outlet.cards.note(event.item_id, Dealt(is_posted=False))
            return None
        if is_first:
            return None if dealt is not None and dealt.is_posted else _CARD
        if story.escalated == event.offset:
            return Notice.ESCALATION.value
        return Notice.REMINDER.value if story.reminded == event.offset else None
