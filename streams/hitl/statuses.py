"""How every item stands, as the log of statuses is read, and which record of it changed what."""

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import orjson

from schemas.deliberation import DeliberationState, DeliberationStatus
from streams.approvals.board import parse
from streams.engine.records import Record

_ENDED_KEPT: Final = 10_000


@dataclass(slots=True)
class Story:
    """What the records of one item said so far, by offsets of their partition.

    `first` is the first of them that the log still has. `reminded` and `escalated` are those at which the item was last
    reminded of, and escalated; None where the first one said so already. `value` is the last one.
    """

    first: int
    value: bytes
    action: str
    is_pending: bool
    reminders: int = 0
    reminded: int | None = None
    is_escalated: bool = False
    escalated: int | None = None


class Statuses:
    """Takes the records of `deliberation-status` in the order of their partitions, from the first one on.

    Holds the last status of what waits, and of the last 10,000 items that ended: memory grows with what waits, which
    the policy bounds by sender.
    """

    def __init__(self) -> None:
        self._pending: dict[str, Story] = {}
        self._ended: OrderedDict[str, Story] = OrderedDict()
        self._alike: Counter[str] = Counter()
        self._next: dict[int, int] = {}
        self._moved = asyncio.Event()

    def take(self, record: Record) -> None:
        """Takes a record. One that cannot be read changes nothing."""
        self._next[record.partition] = record.offset + 1
        self._moved.set()
        if record.key is None:
            return
        item_id = record.key.decode(errors="replace")
        if record.value is None:
            self._forget(item_id)
            return
        said = _read(record.value)
        if said is not None:
            self._keep(item_id, record, said)

    def story(self, item_id: str) -> Story | None:
        """What is known of an item."""
        return self._pending.get(item_id) or self._ended.get(item_id)

    def find(self, item_id: str) -> DeliberationStatus | None:
        """How an item stands, as far as it has been read here."""
        story = self.story(item_id)
        return None if story is None else parse(story.value)

    def alike(self, action: str) -> int:
        """How many items wait that ask for the same, by the same sender."""
        return self._alike[action]

    async def reached(self, partition: int, offset: int) -> None:
        """Returns once the record at that place has been taken."""
        while self._next.get(partition, 0) <= offset:
            self._moved.clear()
            await self._moved.wait()

    def _keep(self, item_id: str, record: Record, said: dict[str, Any]) -> None:
        known = self.story(item_id)
        self._forget(item_id)
        is_pending = said["state"] == DeliberationState.PENDING
        action, reminders, is_escalated = said["item"]["action"], said["reminders"], said["escalated"]
        story = Story(record.offset, record.value or b"", action, is_pending, reminders, None, is_escalated, None)
        if known is not None:
            story.first = known.first
            story.reminded = record.offset if reminders > known.reminders else known.reminded
            story.escalated = record.offset if is_escalated and not known.is_escalated else known.escalated
        if is_pending:
            self._pending[item_id] = story
            self._alike[action] += 1
            return
        self._ended[item_id] = story
        if len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)

    def _forget(self, item_id: str) -> None:
        self._ended.pop(item_id, None)
        known = self._pending.pop(item_id, None)
        if known is not None:
            self._alike[known.action] -= 1
            if not self._alike[known.action]:
                del self._alike[known.action]


def _read(value: bytes) -> dict[str, Any] | None:
    """What a status says, without the cost of the whole contract; None where it is none of this version."""
    try:
        said: dict[str, Any] = orjson.loads(value)
        is_whole = isinstance(said["state"], str) and isinstance(said["item"]["action"], str)
        is_whole = is_whole and isinstance(said["reminders"], int) and isinstance(said["escalated"], bool)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return said if is_whole else None
