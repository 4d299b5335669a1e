"""Errors of the platforms that people decide on.

StreamsError
+-- HitlError
|   +-- PostError               a platform has not taken a card by the deadline, or never will
|   +-- PlatformError           one attempt at a platform has failed
|       +-- PlatformBusyError       it is of use to try again
|       +-- PlatformRefusedError    an operator has to do something first
+-- SettingsError
    +-- ExtraMissingError       the extra `hitl` is not installed
"""

from datetime import timedelta

from streams.errors import SettingsError, StreamsError


class HitlError(StreamsError):
    """A card cannot be posted, or what people say on a platform cannot be taken."""


class PostError(HitlError):
    """A platform has not taken a card by the deadline, or never will as things stand."""


class PlatformError(HitlError):
    """One attempt at a platform has failed."""


class PlatformBusyError(PlatformError):
    """A platform cannot be reached, or cannot now. `retry_after` is how long it asks to be left alone, if it does."""

    def __init__(self, why: str, retry_after: timedelta | None = None) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class PlatformRefusedError(PlatformError):
    """A platform refuses, and will until somebody does what the message says. `code` is the platform's word for it."""

    def __init__(self, code: str, advice: str) -> None:
        super().__init__(f"it refuses, {code}: {advice}")
        self.code = code


class ExtraMissingError(SettingsError, ImportError):
    """The extra `hitl` is not installed."""
