"""What waits, as an approver sees it: the terms, the exact bytes, and what they say."""

from dataclasses import dataclass
from functools import cached_property

import orjson
from pydantic import JsonValue, ValidationError

from schemas import envelope
from schemas.decision import ItemKind, Vote
from schemas.deliberation import DeliberationItem, DeliberationStatus, digest_of
from schemas.score import ScoreCard, decode_card
from streams.approvals.errors import DeliberationError
from streams.engine.records import Record


@dataclass(frozen=True)
class PendingItem:
    """An item with what it holds. `value` is what would be released; its digest has been checked.

    `card` says why it scores what it does; None where somebody asked for the approval as such.
    """

    status: DeliberationStatus
    value: bytes
    card: ScoreCard | None

    @property
    def item(self) -> DeliberationItem:
        """The terms; decisions are on this."""
        return self.status.item

    @property
    def item_id(self) -> str:
        """The item's id."""
        return self.status.item.item_id

    @cached_property
    def message(self) -> dict[str, JsonValue]:
        """What the bytes say: an agent's message, or what a workflow asks for."""
        said: dict[str, JsonValue] = orjson.loads(self.value)
        return said

    @cached_property
    def tool(self) -> str | None:
        """The tool of the action, or the activity of a workflow's step; None where there is neither."""
        if self.item.kind is ItemKind.WORKFLOW:
            activity = self.message.get("activity")
            return activity if isinstance(activity, str) else None
        return self.item.tool

    @cached_property
    def arguments(self) -> dict[str, JsonValue]:
        """What the action, or the workflow's step, is given."""
        if self.item.kind is ItemKind.WORKFLOW:
            given = self.message.get("input")
            return given if isinstance(given, dict) else {}
        payload = self.message.get("payload")
        action = payload.get("action") if isinstance(payload, dict) else None
        arguments = action.get("arguments") if isinstance(action, dict) else None
        return arguments if isinstance(arguments, dict) else {}


def filled(status: DeliberationStatus) -> int:
    """How many of the approvals that are asked for are there: each by another one, in another role."""
    if status.needed is not None:
        return status.item.approvals - status.needed
    return sum(vote.vote is Vote.APPROVE and vote.stands for vote in status.votes)


def pending_item(status: DeliberationStatus, record: Record) -> PendingItem:
    """The item with its record on `deliberation`.

    Raises:
        DeliberationError: the record is not what the item says: nobody should sign for it.
    """
    value = record.value or b""
    if digest_of(value) != status.item.digest:
        raise DeliberationError(
            f"item {status.item.item_id} names other bytes than stand at {record.topic}/{record.partition}/"
            f"{record.offset}. Sign nothing, and tell your operator: somebody may have written there who should not"
        )
    card = next((content for name, content in record.headers if name == envelope.CARD), None)
    return PendingItem(status, value, _card(card))


def _card(content: bytes | None) -> ScoreCard | None:
    try:
        return None if content is None else decode_card(content)
    except ValidationError:
        return None
