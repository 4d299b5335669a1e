"""When an item's deadline is, when its timer fires next, and whether its policy still holds."""

from handlers.deliberation.items import Open
from handlers.deliberation.rows import BEGAN, Began, Row, decode
from handlers.generation import withdrawn
from schemas.deliberation import DeliberationItem
from schemas.effects import Surroundings
from schemas.model import ms
from schemas.policy import PublishedPolicy

_SECOND = 1_000


def began_ms(view: Surroundings[Row]) -> int | None:
    """When the agent first ran on this lane, None until the log says it."""
    row = view.row(BEGAN)
    known = None if row is None else decode(row)
    return known.at if isinstance(known, Began) else None


def deadline_ms(open_: Open, began: int | None) -> int:
    """When the item is denied: its log time, or the agent's beginning, plus the tier's time; never past expires_at."""
    deadline = _counted_from(open_, began) + open_.item.deadline_s * _SECOND
    expires_at = open_.item.expires_at
    return deadline if expires_at is None else min(deadline, ms(expires_at))


def is_past(open_: Open, began: int | None, now_ms: int) -> bool:
    """Whether the deadline has passed. Before the agent has begun, only a message's own expiry can have."""
    if began is None:
        expires_at = open_.item.expires_at
        return expires_at is not None and ms(expires_at) <= now_ms
    return deadline_ms(open_, began) <= now_ms


def reminder_ms(open_: Open, began: int | None) -> int:
    """When it is reminded of next."""
    return _counted_from(open_, began) + (open_.row.reminders + 1) * open_.item.remind_s * _SECOND


def reminders_by(open_: Open, began: int | None, now_ms: int) -> int:
    """How often it has been reminded of by now, missed ones included."""
    return max(open_.row.reminders, (now_ms - _counted_from(open_, began)) // (open_.item.remind_s * _SECOND))


def escalation_ms(open_: Open, began: int | None) -> int | None:
    """When it is escalated, None where it has been."""
    return None if open_.row.escalated else _counted_from(open_, began) + open_.item.escalate_s * _SECOND


def due_ms(open_: Open, began: int | None, published: PublishedPolicy) -> int:
    """When the item has to be looked at next, whatever happens."""
    accepted = published.accepted.get(open_.item.constitutional_hash)
    until = None if accepted is None or accepted.until is None else ms(accepted.until)
    times = (deadline_ms(open_, began), reminder_ms(open_, began), escalation_ms(open_, began), until)
    return min(time for time in times if time is not None)


def withdrawn_hash(item: DeliberationItem, published: PublishedPolicy, now_ms: int) -> str | None:
    """Why the policy does not let the item go on, None where it does."""
    return withdrawn(item.constitutional_hash, published, now_ms)


def _counted_from(open_: Open, began: int | None) -> int:
    return open_.row.opened if began is None else max(open_.row.opened, began)
