"""The contract of the generic webhook: what is posted to it, and what it sends back."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from schemas.decision import MAX_REASON_CHARACTERS, Nonce, Vote
from schemas.deliberation import DeliberationState, DeliberationStatus
from schemas.model import Contract, Name, Rfc3339Text, Score, Sha256, Uuid


class WebhookFactor(Contract):
    """One reason for the score: what it adds (or, if negative, takes) in points of 10,000, and why, in words."""

    name: str
    points: int
    why: str


class WebhookEventKind(StrEnum):
    """Why an item is told of."""

    ITEM = "item"
    """It waits."""
    REMINDER = "reminder"
    ESCALATION = "escalation"
    OUTCOME = "outcome"
    """It has ended."""


class WebhookEvent(Contract):
    """What is posted to a webhook: an item waits, still waits, or has ended.

    `event_id` is the same for the same event however often it is posted: drop those that were seen. `status` holds the
    item's terms and votes. With `item`, `value` is the text of exactly the bytes that would be released: the SHA-256 of
    its UTF-8 is `status.item.digest`. `score` and `factors` say why it is held, where it was scored. `alike` counts
    the items that wait by which the same sender asks for the same, this one included. `link` shows the item whole, as
    plain text, to whoever has it.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    event_id: Uuid
    kind: WebhookEventKind
    at: Rfc3339Text
    status: DeliberationStatus
    value: str | None = None
    score: Score | None = None
    factors: tuple[WebhookFactor, ...] = ()
    alike: Annotated[int, Field(ge=0)] = 0
    link: str


class WebhookDecision(Contract):
    """What a webhook's platform sends to /callbacks/webhook: somebody with an account there has decided.

    `item_id`, `digest` and `nonce` are those of the item that they were shown. `account` is theirs on the platform, as
    the policy has it under `accounts.webhook`.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    item_id: Uuid
    digest: Sha256
    nonce: Nonce
    vote: Literal[Vote.APPROVE, Vote.VETO, Vote.ABSTAIN]
    account: Name
    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON_CHARACTERS - 300)] | None = None


class Outcome(StrEnum):
    """What became of a decision that was made on a platform."""

    COUNTED = "counted"
    REFUSED = "refused"
    """It does not count: the system says why."""
    UNMAPPED = "unmapped"
    """The account is no approver's."""
    UNKNOWN_ITEM = "unknown_item"
    CLOSED = "closed"
    """The item has ended."""
    NOT_AS_SHOWN = "not_as_shown"
    """Digest or nonce are not the item's: nothing was signed."""
    UNANSWERED = "unanswered"
    """It is published, and nobody has taken or refused it yet."""
    UNAVAILABLE = "unavailable"
    """It could not be published."""


class WebhookAnswer(Contract):
    """The answer to a WebhookDecision. `state` is how the item stands after it, where that is known."""

    v: Annotated[int, Field(ge=1, le=1)] = 1
    outcome: Outcome
    detail: str
    state: DeliberationState | None = None
