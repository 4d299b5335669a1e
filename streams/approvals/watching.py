"""The items that a client knows of, and who waits for what becomes of a decision."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

from schemas.decision import Decision, Vote
from schemas.deliberation import DeliberationStatus
from streams.approvals.board import parse
from streams.asking import end
from streams.engine.records import Record
from streams.errors import StreamsError

Answer = asyncio.Future[DeliberationStatus]
Shows = Callable[[DeliberationStatus], bool]
"""Whether a status is the one that is waited for."""

_ENDED_KEPT = 10_000
_PENDING = b'"state":"pending"'
_LOOK_AGAIN_S = 0.2


class Watches:
    """Statuses as they come. Those that wait are kept as they were written; of those that ended, the last 10,000."""

    def __init__(self) -> None:
        self._pending: dict[str, bytes] = {}
        self._new: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, bytes] = OrderedDict()
        self._waiting: dict[str, list[tuple[Shows, Answer]]] = {}
        self._changed = asyncio.Event()

    def take(self, record: Record) -> None:
        """Takes a status."""
        if record.key is None:
            return
        item_id, value = record.key.decode(errors="replace"), record.value
        self._changed.set()
        if value is None:
            self._pending.pop(item_id, None)
            self._ended.pop(item_id, None)
            return
        if _PENDING in value:
            if item_id not in self._pending:
                self._new[item_id] = None
            self._pending[item_id] = value
        else:
            self._pending.pop(item_id, None)
            self._new.pop(item_id, None)
            self._ended[item_id] = value
            if len(self._ended) > _ENDED_KEPT:
                self._ended.popitem(last=False)
        if item_id in self._waiting and (status := parse(value)) is not None:
            for shows, answer in self._waiting[item_id]:
                if shows(status) and not answer.done():
                    answer.set_result(status)

    def find(self, item_id: str) -> DeliberationStatus | None:
        """How an item stands, as far as is known here."""
        value = self._pending.get(item_id) or self._ended.get(item_id)
        return None if value is None else parse(value)

    def take_new(self, approver: str | None, at_most: int) -> list[DeliberationStatus]:
        """Items that wait, in the order in which they came, which the approver has not voted on; each is given once."""
        found: list[DeliberationStatus] = []
        while self._new and len(found) < at_most:
            item_id, _ = self._new.popitem(last=False)
            status = self.find(item_id)
            if status is not None and all(vote.approver != approver for vote in status.votes):
                found.append(status)
        return found

    async def changed(self) -> None:
        """Returns once something has come, or after a moment."""
        self._changed.clear()
        try:
            async with asyncio.timeout(_LOOK_AGAIN_S):
                await self._changed.wait()
        except TimeoutError:
            return

    def expecting_vote(self, decision: Decision) -> AbstractContextManager[Answer]:
        """A future of the status that shows that a decision has counted; call it before the decision is sent."""

        def shows(status: DeliberationStatus) -> bool:
            if decision.vote is Vote.REOPEN:
                return status.reopened_as is not None
            return any(vote.decision_id == decision.decision_id for vote in status.votes)

        return self._expecting(decision.item_id, shows)

    def expecting_item(self, item_id: str) -> AbstractContextManager[Answer]:
        """A future of the first status of an item; of one that is known already, none comes."""
        is_known = self.find(item_id) is not None
        return self._expecting(item_id, lambda _: not is_known)

    def fail(self, failure: StreamsError) -> None:
        """Nothing more will come."""
        self._changed.set()
        for waiting in self._waiting.values():
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(failure)

    @contextmanager
    def _expecting(self, item_id: str, shows: Shows) -> Generator[Answer, None, None]:
        answer: Answer = asyncio.get_running_loop().create_future()
        of_item = self._waiting.setdefault(item_id, [])
        one = shows, answer
        of_item.append(one)
        try:
            yield answer
        finally:
            end(answer)
            of_item.remove(one)
            if not of_item:
                self._waiting.pop(item_id, None)
