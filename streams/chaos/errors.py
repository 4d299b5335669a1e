"""Errors of chaos.

StreamsError
+-- ChaosError              chaos cannot be ordered or read
    +-- ChaosRefusedError       the command was refused, with the reason
    +-- ChaosTimeoutError       nobody has taken or refused it in time
Exception
+-- InjectedError           what a scenario lets happen on purpose
"""

from datetime import timedelta

from streams.errors import StreamsError


class ChaosError(StreamsError):
    """Chaos cannot be ordered or read."""


class ChaosRefusedError(ChaosError):
    """The command was refused and has changed nothing.

    `reason` is a code of schemas.reasons, or one of a later version of the system; `detail` says it in words.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"refused, {reason}: {detail}" if detail else f"refused: {reason}")
        self.reason, self.detail = reason, detail


class ChaosTimeoutError(ChaosError):
    """Nobody has taken or refused a command in time. It may still be taken, until it expires."""


class InjectedError(Exception):
    """A scenario of chaos lets something fail. It passes for a fault of what it is done to."""


def not_written(what: str, waited: timedelta) -> ChaosTimeoutError:
    """The broker has not acknowledged a command."""
    return ChaosTimeoutError(
        f"the broker has not acknowledged {what} within {waited.total_seconds():g} s; it may have it nevertheless. "
        "'acgs doctor' looks for the cause"
    )


def not_taken(what: str, waited: timedelta) -> ChaosTimeoutError:
    """Nobody has answered to a command that is in the log."""
    return ChaosTimeoutError(
        f"{what} is in the log, but nobody has taken or refused it within {waited.total_seconds():g} s; it may be, "
        "until it expires. 'acgs status' shows whether gateway-chaos and chaos run, 'acgs chaos list' what is in force"
    )


def not_recorded(scenario_id: str) -> ChaosTimeoutError:
    """A scenario is over, and the chaos agent has not said so."""
    return ChaosTimeoutError(
        f"the time of scenario {scenario_id} is over, so that it is in force nowhere, but the chaos agent has not "
        "recorded it: 'acgs status' shows whether it runs. A breaker that was forced open has fallen silent meanwhile"
    )
