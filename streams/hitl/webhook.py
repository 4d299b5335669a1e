"""A platform of one's own: every item whole, as JSON that is signed."""

import time
import uuid
from datetime import UTC, datetime
from typing import Any, Final

from schemas.deliberation import DeliberationStatus
from streams.hitl import settings
from streams.hitl.calling import Caller, refusal_of
from streams.hitl.contracts import WebhookEvent, WebhookEventKind, WebhookFactor
from streams.hitl.platform import Platform, Posted
from streams.hitl.settings import Channel
from streams.hitl.shown import Notice, Shown
from streams.hitl.signing import webhook_signature

TIMESTAMP: Final = "X-Acgs-Timestamp"
SIGNATURE: Final = "X-Acgs-Signature"
_ADVICE: Final = "see that ACGS_HITL_WEBHOOK_URL and ACGS_HITL_WEBHOOK_SECRET are those of the receiving platform"
_KINDS: Final = {
    Notice.REMINDER: WebhookEventKind.REMINDER,
    Notice.ESCALATION: WebhookEventKind.ESCALATION,
    Notice.OUTCOME: WebhookEventKind.OUTCOME,
}


class WebhookPlatform(Platform):
    """Every event as a WebhookEvent, signed with the shared secret. Any status below 300 means that it is taken."""

    channel = Channel.WEBHOOK

    def __init__(self, own: settings.Webhook, caller: Caller) -> None:
        self._own, self._caller = own, caller

    async def post_card(self, shown: Shown) -> Posted | None:
        """As Platform says; None."""
        pending, card = shown.pending, shown.pending.card
        factors = () if card is None else card.factors
        await self._post(
            _event(
                WebhookEventKind.ITEM,
                pending.status,
                shown.link,
                value=pending.value.decode(),
                score=pending.item.score,
                factors=tuple(WebhookFactor(name=one.name, points=one.points, why=one.why) for one in factors),
                alike=shown.alike,
            )
        )
        return None

    async def tell(self, notice: Notice, status: DeliberationStatus, link: str, card: Posted | None) -> None:
        """As Platform says."""
        del card
        await self._post(_event(_KINDS[notice], status, link))

    async def _post(self, event: WebhookEvent) -> None:
        body, timestamp = event.model_dump_json().encode(), str(int(time.time()))
        signed = {TIMESTAMP: timestamp, SIGNATURE: webhook_signature(self._own.secret, timestamp, body)}
        reply = await self._caller.post(self._own.url.get_secret_value(), body, signed)
        if refusal := refusal_of(reply, _ADVICE):
            raise refusal


def _event(kind: WebhookEventKind, status: DeliberationStatus, link: str, **content: Any) -> WebhookEvent:  # noqa: ANN401
    what = f"{kind}:{status.reminders if kind is WebhookEventKind.REMINDER else ''}"
    return WebhookEvent(
        event_id=str(uuid.uuid5(uuid.UUID(status.item.item_id), what)),
        kind=kind,
        at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        status=status,
        link=link,
        **content,
    )
