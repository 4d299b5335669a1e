"""What becomes of a decision that somebody makes on a platform: whose it is, on what, signed and published."""

import logging
from dataclasses import dataclass

from schemas.decision import Vote
from schemas.deliberation import DeliberationState, DeliberationStatus
from streams.approvals import DecisionRefusedError, DeliberationTimeoutError, ItemUnknownError
from streams.errors import StreamsError
from streams.hitl.buttons import Subject
from streams.hitl.contracts import Outcome
from streams.hitl.following import Followed
from streams.hitl.items import Items
from streams.hitl.settings import Channel, RelayKey
from streams.hitl.shown import outcome, plain, standing
from streams.keys import Signer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """A decision as a platform reports it; the platform's signature has been checked."""

    channel: Channel
    account: str
    subject: Subject
    vote: Vote
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a decision, in words for who made it. `status` is how the item stands, where that is known."""

    outcome: Outcome
    words: str
    status: DeliberationStatus | None = None


class Decider:
    """Signs for approvers with the relay's key, for exactly what they were shown.

    Accounts are looked up in the policy as it is followed: a change counts from the moment its record is read.
    """

    def __init__(self, relay: RelayKey, followed: Followed, items: Items) -> None:
        self._relay, self._followed, self._items = relay, followed, items

    async def decide(self, click: Click) -> Told:
        """Publishes the decision, unless there is nobody or nothing that it could be of. Does not raise.

        Cancelled while it is published, it may count nevertheless.
        """
        try:
            told = await self._decide(click)
        except StreamsError as error:
            _log.error("a decision on item %s could not be published: %s", click.subject.item_id, error)
            self._followed.fail(error)
            told = Told(Outcome.UNAVAILABLE, "It could not be published. Try again in a moment, or tell your operator.")
        _log.info(
            "%s of %s on item %s by %s: %s",
            *(click.vote.value, click.channel.value, click.subject.item_id, plain(click.account), told.outcome.value),
        )
        return told

    async def _decide(self, click: Click) -> Told:
        generation = self._followed.policy.generation
        if generation is None:
            return Told(Outcome.UNAVAILABLE, "No policy is in force, so that nobody's decision counts.")
        approver = self._followed.policy.approver_of(click.channel, click.account)
        if approver is None:
            return Told(Outcome.UNMAPPED, _unmapped(click, generation.epoch))
        try:
            status = await self._items.find(click.subject.item_id, self._followed.statuses)
        except ItemUnknownError:
            return Told(Outcome.UNKNOWN_ITEM, "There is no such item, or it ended so long ago that it is forgotten.")
        if not click.subject.is_of(status.item):
            _log.warning("item %s is not what was shown: digest or nonce differ", click.subject.item_id)
            return Told(Outcome.NOT_AS_SHOWN, "The item is not what this card shows. Nothing was signed.", status)
        if status.state is not DeliberationState.PENDING:
            return Told(Outcome.CLOSED, f"It does not count any more. {outcome(status)}", status)
        signer = Signer(
            approver=approver.id,
            key=self._relay.key,
            constitutional_hash=generation.constitutional_hash,
            relay=self._relay.id,
        )
        return await self._publish(click, signer, status)

    async def _publish(self, click: Click, signer: Signer, status: DeliberationStatus) -> Told:
        try:
            after = await self._followed.client.decide(status.item, click.vote, _reason(click), signer=signer)
        except DecisionRefusedError as error:
            return Told(Outcome.REFUSED, f"It does not count: {plain(error.detail)} ({plain(error.reason)}).", status)
        except DeliberationTimeoutError:
            return Told(Outcome.UNANSWERED, "It is published, but nobody has taken it yet; it will be.", status)
        if after.state is DeliberationState.PENDING:
            return Told(Outcome.COUNTED, f"Counted. {standing(after)}", after)
        return Told(Outcome.COUNTED, f"Counted. {outcome(after)}", after)


def _reason(click: Click) -> str:
    """Where a decision was made, and by whose account; with the reason that was given, if one was."""
    done = {Vote.APPROVE: "approved", Vote.VETO: "vetoed", Vote.ABSTAIN: "abstained"}[click.vote]
    said = f"{done} on {click.channel.value} by {click.account}"
    return f"{said}: {click.reason}" if click.reason else said


def _unmapped(click: Click, epoch: int) -> str:
    account = plain(click.account)
    return (
        f"The account {account} on {click.channel.value} is no approver's by epoch {epoch} of the policy. If it is "
        f'yours, have the policy name it: accounts = {{ {click.channel.value} = "{account}" }}'
    )
