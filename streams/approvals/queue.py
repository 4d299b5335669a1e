"""The queue of what waits for people: messages are added, and approved or rejected by their items' ids."""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Self

from schemas.decision import Vote
from schemas.deliberation import DeliberationStatus
from schemas.message import AgentMessage
from schemas.model import MAX_SCORE
from streams.approvals import board
from streams.approvals.client import ApprovalClient
from streams.approvals.errors import DecisionRefusedError
from streams.asking import ANSWER_WITHIN
from streams.control import in_force
from streams.engine.client import EngineSettings
from streams.errors import PolicyRefusedError
from streams.keys import Signer


class DeliberationQueue:
    """Messages that wait until enough people have decided. Enter it before use; it holds the signers.

    `signers` may be named in approve() and reject() by their approvers' ids. Belongs to one event loop.
    """

    def __init__(
        self, settings: EngineSettings, signers: Iterable[Signer] = (), *, answer_within: timedelta = ANSWER_WITHIN
    ) -> None:
        self._settings = settings
        self._signers = {signer.approver: signer for signer in signers}
        self._client = ApprovalClient(settings, answer_within=answer_within)
        self._hold_at = MAX_SCORE
        self._entered = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connects.

        Raises:
            PolicyRefusedError: no policy is in force, so that nothing can be held.
            InstallationError: a topic is missing.
            BrokerError: the broker cannot be reached or refuses.
        """
        current = await in_force(self._settings)
        if current is None:
            raise PolicyRefusedError("no policy is in force, so that nothing is held. 'acgs policy publish' makes one")
        self._hold_at = current.policy.hold_at
        await self._entered.enter_async_context(self._client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._entered.aclose()

    async def add(self, message: AgentMessage) -> str:
        """Publishes a message that is to wait, whatever it weighs, and returns its item's id once it does.

        Its `impact_score` is raised to where the policy in force begins to hold: the caller asks for deliberation.

        Raises:
            ItemRefusedError: it was rejected, with the reason.
            DeliberationTimeoutError: nobody has taken it in `answer_within`; it may still be.
            BrokerError: the broker cannot be reached or refuses.
        """
        least = self._hold_at / MAX_SCORE
        raised = message.model_copy(update={"impact_score": max(least, message.impact_score or 0)})
        value = raised.model_dump_json(exclude_none=True).encode()
        return (await self._client.hold(message.message_id, message.conversation_id, value)).item.item_id

    async def get_status(self, item_id: str) -> DeliberationStatus:
        """How an item stands.

        Raises:
            ItemUnknownError: there is no item of this id.
            BrokerError: the broker cannot be reached or refuses.
        """
        return await board.status_of(self._settings, item_id)

    async def approve(self, item_id: str, approver: str) -> bool:
        """Signs for an approver; whether it has counted. It is released once enough have.

        Raises:
            KeyError: there is no signer for this approver here.
            UnfitTextError: the reason is empty, too long or no text.
            ItemUnknownError: there is no item of this id.
            DeliberationError: the held record is not what the item says: nothing is signed.
            DeliberationTimeoutError: nobody has taken or refused the decision in time; it may still be.
            BrokerError: the broker cannot be reached or refuses.
        """
        return await self._decide(item_id, approver, Vote.APPROVE, None)

    async def reject(self, item_id: str, rejector: str, reason: str) -> bool:
        """Signs a veto for an approver; whether it has counted. Raises as approve()."""
        return await self._decide(item_id, rejector, Vote.VETO, reason)

    async def _decide(self, item_id: str, approver: str, vote: Vote, reason: str | None) -> bool:
        signer = self._signers[approver]
        pending = await self._client.get(item_id)
        try:
            await self._client.decide(pending.item, vote, reason, signer=signer)
        except DecisionRefusedError:
            return False
        return True
