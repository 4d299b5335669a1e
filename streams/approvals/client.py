"""The client of approvers and bots: what waits, and decisions on it."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Self

from schemas import deliberation, topics
from schemas.decision import Decision, Vote
from schemas.deliberation import DeliberationItem, DeliberationState, DeliberationStatus, key_of
from schemas.effects import Headers
from streams import keys
from streams.agents.naming import Naming
from streams.approvals import board
from streams.approvals.errors import (
    DecisionRefusedError,
    DeliberationError,
    ItemRefusedError,
    not_held,
    not_taken,
    not_written,
)
from streams.approvals.loading import Loader, loading
from streams.approvals.pending import PendingItem
from streams.approvals.watching import Answer, Watches
from streams.asking import ANSWER_WITHIN, Line, UnansweredError
from streams.broker import told_errors
from streams.engine.client import EngineSettings
from streams.keys import Signer
from streams.refusals import Refusals

_LOADED_AT_ONCE = 200
_Late = Callable[[str, timedelta], DeliberationError]


class ApprovalClient:
    """Shows what waits and decides on it. Enter it before use.

    A decision is signed by `signer`, or by the one that is given with it. One that nobody takes in `answer_within`
    raises DeliberationTimeoutError.

    Belongs to one event loop. It reads the topic of statuses from its start and follows it, in no consumer group.
    Leaving it closes every connection; what waits goes on waiting.
    """

    def __init__(
        self, settings: EngineSettings, signer: Signer | None = None, *, answer_within: timedelta = ANSWER_WITHIN
    ) -> None:
        naming = Naming(settings.prefix)
        self.settings, self.signer = settings, signer
        self._answer_within = answer_within
        self._held, self._status = naming.topic(topics.DELIBERATION), naming.topic(topics.DELIBERATION_STATUS)
        self._decisions, self._messages = naming.topic(topics.IN_DECISIONS), naming.topic(topics.IN_MESSAGES)
        self._watches = Watches()
        self._line = Line(
            settings,
            "decisions",
            refusals=[Refusals(self._decisions, DecisionRefusedError), Refusals(self._messages, ItemRefusedError)],
            hears={self._status: self._watches.take},
            failed=self._watches.fail,
            whole=frozenset({self._status}),
        )
        self._loader: Loader | None = None
        self._entered = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connects.

        Raises:
            InstallationError: a topic is missing.
            BrokerError: the broker cannot be reached or refuses.
        """
        async with AsyncExitStack() as entering:
            await entering.enter_async_context(self._line)
            self._loader = await entering.enter_async_context(loading(self.settings, self._held))
            self._entered = entering.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.fail(DeliberationError("the client of approvals is closed; what waits goes on waiting"))
        await self._entered.aclose()

    async def pending(self) -> AsyncIterator[PendingItem]:
        """Every item that waits and that the signer has not voted on: those there are, then as they come, without end.

        Each item is given once to a client, and not if it has ended by then. Iterate from one place at a time.

        Raises:
            DeliberationError: a record is not what its item says, or the client is closed.
            BrokerError: the broker refuses.
        """
        while True:
            await self._caught_up()
            own = None if self.signer is None else self.signer.approver
            new = self._watches.take_new(own, _LOADED_AT_ONCE)
            if not new:
                await self._watches.changed()
                continue
            for one in await self._load(new):
                status = self._watches.find(one.item_id)
                if status is not None and status.state is DeliberationState.PENDING:
                    yield PendingItem(status, one.value, one.card)

    async def get(self, item_id: str) -> PendingItem:
        """One item with what it holds, whether it waits or has ended.

        Raises:
            ItemUnknownError: there is no item of this id.
            DeliberationError: its record is not what the item says.
            BrokerError: the broker cannot be reached or refuses.
        """
        return (await self._load([await board.status_of(self.settings, item_id)]))[0]

    async def decide(
        self, item: DeliberationItem, vote: Vote, reason: str | None = None, *, signer: Signer | None = None
    ) -> DeliberationStatus:
        """Signs and publishes a decision; returns how the item stands once it has counted.

        Raises:
            UnfitTextError: the reason is empty, too long or no text.
            DecisionRefusedError: it does not count, with the reason.
            DeliberationTimeoutError: nobody has taken or refused it in `answer_within`; it may still be.
            BrokerError: the broker cannot be reached or refuses.
        """
        chosen = signer or self.signer
        if chosen is None:
            raise ValueError("who decides? Give the client, or the decision, a signer")
        return await self.publish(chosen.decide(item, vote, reason))

    async def publish(self, decision: Decision) -> DeliberationStatus:
        """Publishes a signed decision; returns and raises as decide()."""
        key = key_of(decision.kind, decision.item_id)
        with self._watches.expecting_vote(decision) as answer:
            return await self._sent(
                answer, self._decisions, key, keys.encode(decision), f"the decision on item {decision.item_id}"
            )

    async def hold(
        self, message_id: str, conversation_id: str, value: bytes, headers: Headers = ()
    ) -> DeliberationStatus:
        """Publishes a message that will be held, and returns how its item stands once it is.

        Raises:
            ItemRefusedError: it was rejected, with the reason.
            DeliberationTimeoutError: nobody has held or refused it in `answer_within`; it may still be.
            BrokerError: the broker cannot be reached or refuses.
        """
        await self._caught_up()
        item_id = deliberation.item_id(message_id, deliberation.digest_of(value), 0)
        with self._watches.expecting_item(item_id) as answer:
            what = f"message {message_id}"
            return await self._sent(
                answer, self._messages, conversation_id, value, what, headers=headers, late=not_held
            )

    async def ended(self, item_id: str) -> DeliberationStatus:
        """Waits until an item has ended, and returns how.

        Raises:
            ItemUnknownError: there is no item of this id.
            BrokerError: the broker cannot be reached or refuses.
        """
        while True:
            await self._caught_up()
            status = self._watches.find(item_id) or await board.status_of(self.settings, item_id)
            if status.state is not DeliberationState.PENDING:
                return status
            await self._watches.changed()
            self._line.raise_failure()

    async def _sent(
        self,
        answer: Answer,
        topic: str,
        key: str,
        value: bytes,
        what: str,
        *,
        headers: Headers = (),
        late: _Late = not_taken,
    ) -> DeliberationStatus:
        """Publishes a record, and returns what the agents answer to it; `late` makes the error if they do not."""
        try:
            return await self._line.ask(topic, key.encode(), value, answer, headers=headers, within=self._answer_within)
        except UnansweredError as error:
            raise (late if error.written else not_written)(what, self._answer_within) from None

    async def _load(self, statuses: Collection[DeliberationStatus]) -> list[PendingItem]:
        if self._loader is None:
            raise RuntimeError("the client is not open: async with ApprovalClient(...) as client")
        with told_errors(self.settings):
            return await self._loader.load(statuses)

    async def _caught_up(self) -> None:
        self._line.raise_failure()
        while not self._line.has_caught_up:
            await self._watches.changed()
            self._line.raise_failure()
