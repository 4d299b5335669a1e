"""Errors that users of the product see.

StreamsError
+-- SettingsError        what is configured cannot work
+-- BrokerError          the broker cannot be reached or refuses
+-- InstallationError    topics are missing or not as the catalogue has them
+-- PolicyRefusedError   a policy cannot be published
+-- UnfitTextError       a text that somebody gives is empty, too long or no text
+-- KeyFileError         a signing key cannot be read, written or used
+-- ReplayError          a replay cannot be made, compared or removed
+-- ClaimStoreError      the claim-check store cannot be reached or refuses
    +-- ClaimMissingError    it does not have the value
    +-- ClaimDamagedError    it has another value than was put
"""


class StreamsError(Exception):
    """Anything that a command reports to its user; the message says what to do next."""


class SettingsError(StreamsError):
    """What is configured cannot work."""


class BrokerError(StreamsError):
    """The broker cannot be reached or refuses."""


class InstallationError(StreamsError):
    """Topics are missing, or not as the catalogue has them."""


class PolicyRefusedError(StreamsError):
    """A policy cannot be published, or one is needed and none is in force."""


class ClaimStoreError(StreamsError):
    """The claim-check store cannot be reached or refuses. It may be of use to try again."""


class ClaimMissingError(ClaimStoreError):
    """The claim-check store does not have the value."""


class ClaimDamagedError(ClaimStoreError):
    """What the claim-check store has is not what was put."""


class UnfitTextError(StreamsError):
    """A text that somebody gives is empty, too long or no text."""


class ReplayError(StreamsError):
    """A replay cannot be made, compared or removed."""


class KeyFileError(StreamsError):
    """A signing key cannot be read, written or used."""
