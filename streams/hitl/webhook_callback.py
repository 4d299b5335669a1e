"""Decisions that a platform of one's own sends, and the answers to them."""

from http import HTTPStatus
from typing import Final

from pydantic import ValidationError

from streams.hitl import settings
from streams.hitl.buttons import Subject
from streams.hitl.contracts import Outcome, WebhookAnswer, WebhookDecision
from streams.hitl.deciding import Click, Told
from streams.hitl.door import Refusal, Scheme
from streams.hitl.settings import Channel
from streams.hitl.signing import callback_signature
from streams.hitl.webhook import SIGNATURE, TIMESTAMP

STATUSES: Final = {
    Outcome.COUNTED: HTTPStatus.OK,
    Outcome.UNANSWERED: HTTPStatus.ACCEPTED,
    Outcome.UNMAPPED: HTTPStatus.FORBIDDEN,
    Outcome.UNKNOWN_ITEM: HTTPStatus.NOT_FOUND,
    Outcome.REFUSED: HTTPStatus.CONFLICT,
    Outcome.CLOSED: HTTPStatus.CONFLICT,
    Outcome.NOT_AS_SHOWN: HTTPStatus.CONFLICT,
    Outcome.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}


def scheme(own: settings.Webhook) -> Scheme:
    """How a webhook's platform signs."""
    return Scheme(
        timestamp=TIMESTAMP,
        signature=SIGNATURE,
        content_type="application/json",
        sign=lambda timestamp, body: callback_signature(own.secret, timestamp, body),
    )


def read(body: bytes) -> Click:
    """What a body says that the platform has signed.

    Raises:
        Refusal: 400, it is no decision.
    """
    try:
        said = WebhookDecision.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise Refusal(HTTPStatus.BAD_REQUEST, ascii(f"{place}: {first['msg']}")[1:-1]) from None
    return Click(
        channel=Channel.WEBHOOK,
        account=said.account,
        subject=Subject(said.item_id, said.digest, said.nonce),
        vote=said.vote,
        reason=said.reason,
    )


def answer(told: Told) -> WebhookAnswer:
    """What became of a decision, for the platform."""
    state = None if told.status is None else told.status.state
    return WebhookAnswer(outcome=told.outcome, detail=told.words, state=state)
