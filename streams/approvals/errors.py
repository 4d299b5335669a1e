"""Errors of deliberation as approvers and bots see them.

StreamsError
+-- DeliberationError           an item cannot be held, decided on or read
    +-- DecisionRefusedError        the decision does not count, with the reason
    +-- ItemRefusedError            the message was rejected instead of held, with the reason
    +-- ItemUnknownError            there is no item of this id
    +-- ItemAmbiguousError          several items' ids begin so
    +-- DeliberationTimeoutError    what was waited for has not come in time
"""

from collections.abc import Sequence
from datetime import timedelta

from streams.errors import StreamsError

_SHOWN = 3


class DeliberationError(StreamsError):
    """An item cannot be held, decided on or read."""


class DecisionRefusedError(DeliberationError):
    """The decision does not count and has changed nothing.

    `reason` is a code of schemas.reasons, or one of a later version of the system; `detail` says it in words.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"the decision does not count, {reason}: {detail}")
        self.reason, self.detail = reason, detail


class ItemRefusedError(DeliberationError):
    """The message was rejected instead of held. `reason` and `detail` as above."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"the message was rejected, {reason}: {detail}")
        self.reason, self.detail = reason, detail


class ItemUnknownError(DeliberationError):
    """There is no item of this id."""

    def __init__(self, item_id: str) -> None:
        super().__init__(
            f"there is no item {item_id}: it was never held, or ended so long ago that it is forgotten. 'acgs "
            "deliberation list --all' shows those there are"
        )


class ItemAmbiguousError(DeliberationError):
    """Several items' ids begin so."""

    def __init__(self, beginning: str, ids: Sequence[str]) -> None:
        shown = ", ".join(ids[:_SHOWN]) + (f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")
        super().__init__(f"the ids of {len(ids)} items begin with {beginning}: {shown}. Give more of the one you mean")


class DeliberationTimeoutError(DeliberationError):
    """What was waited for has not come in time; it may still come."""


def not_written(what: str, waited: timedelta) -> DeliberationTimeoutError:
    """The broker has not acknowledged a record."""
    return DeliberationTimeoutError(
        f"the broker has not acknowledged {what} within {waited.total_seconds():g} s; it may have it nevertheless. "
        "'acgs doctor' looks for the cause"
    )


def not_taken(what: str, waited: timedelta) -> DeliberationTimeoutError:
    """Nobody has answered to a record that is in the log."""
    return DeliberationTimeoutError(
        f"{what} is in the log, but nobody has taken or refused it within {waited.total_seconds():g} s; it will be, "
        "once the agents run. 'acgs status' shows whether the gateways and deliberation do, 'acgs dead-letters list' "
        "whether they failed on it"
    )


def not_held(what: str, waited: timedelta) -> DeliberationTimeoutError:
    """A message that is in the log has been neither held nor refused."""
    return DeliberationTimeoutError(
        f"{what} is in the log, but has been neither held nor refused within {waited.total_seconds():g} s. Either it "
        "weighs less than what the policy holds and was delivered ('acgs score' says what it weighs), or the agents do "
        "not run: 'acgs status'"
    )
