"""What approvers, bots and callback servers use: what waits, signed decisions, and how items stand."""

from streams.approvals.client import ApprovalClient
from streams.approvals.errors import (
    DecisionRefusedError,
    DeliberationError,
    DeliberationTimeoutError,
    ItemAmbiguousError,
    ItemRefusedError,
    ItemUnknownError,
)
from streams.approvals.pending import PendingItem
from streams.approvals.queue import DeliberationQueue

__all__ = [
    "ApprovalClient",
    "DecisionRefusedError",
    "DeliberationError",
    "DeliberationQueue",
    "DeliberationTimeoutError",
    "ItemAmbiguousError",
    "ItemRefusedError",
    "ItemUnknownError",
    "PendingItem",
]
