"""Errors of the notary.

StreamsError
+-- NotaryError             the notary cannot go on
    +-- CheckpointFileError    its file cannot be read, written or locked, or is damaged
    +-- HistoryRefusedError    the trail is not a continuation of what it has signed: it signs nothing more
"""

from streams.errors import StreamsError


class NotaryError(StreamsError):
    """The notary cannot go on."""


class CheckpointFileError(NotaryError):
    """The file of checkpoints cannot be read, written or locked, or is damaged."""


class HistoryRefusedError(NotaryError):
    """The trail is not a continuation of what was signed before. Starting again does not help: somebody must look."""
