"""Errors of recoveries as operators see them.

StreamsError
+-- RecoveryError               a recovery cannot be ordered or read
    +-- RecoveryRefusedError        the command was refused, with the reason
    +-- RecoveryUnknownError        there is no recovery of this service
    +-- RecoveryTimeoutError        what was waited for has not come in time
"""

from datetime import timedelta

from schemas.recovery import RecoveryCommand
from streams.errors import StreamsError


class RecoveryError(StreamsError):
    """A recovery cannot be ordered or read."""


class RecoveryRefusedError(RecoveryError):
    """The command was refused and has changed nothing.

    `reason` is a code of schemas.reasons, or one of a later version of the system; `detail` says it in words.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(
            f"the command was refused, {reason}: {detail}" if detail else f"the command was refused: {reason}"
        )
        self.reason, self.detail = reason, detail


class RecoveryUnknownError(RecoveryError):
    """There is no recovery of this service: none of its breakers has opened, or all that is long ago."""

    def __init__(self, service: str) -> None:
        super().__init__(
            f"there is no recovery of {service!a}: none of its breakers has opened, or the policy has no rule for it "
            "('acgs policy show'). 'acgs recovery list --all' shows those there are"
        )


class RecoveryTimeoutError(RecoveryError):
    """What was waited for has not come in time. The command may still be taken."""


def not_written(command: RecoveryCommand, waited: timedelta) -> RecoveryTimeoutError:
    """The broker has not acknowledged a command."""
    return RecoveryTimeoutError(
        f"the broker has not acknowledged the {command.command.value} of {command.service!a} within {_s(waited)}; it "
        "may have it nevertheless. 'acgs doctor' looks for the cause"
    )


def not_taken(command: RecoveryCommand, waited: timedelta) -> RecoveryTimeoutError:
    """Nobody has answered to a command that is in the log."""
    return RecoveryTimeoutError(
        f"the {command.command.value} of {command.service!a} is in the log, but nobody has taken or refused it within "
        f"{_s(waited)}; it will be, once the agents run. 'acgs status' shows whether gateway-recovery and recovery do"
    )


def _s(waited: timedelta) -> str:
    return f"{waited.total_seconds():g} s"
