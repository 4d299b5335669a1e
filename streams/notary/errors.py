"""Errors of the notary.

StreamsError
+-- NotaryError                   the notary cannot go on
    +-- CheckpointFileError       its file, or the note beside it, cannot be read, written or locked
    |   +-- UnusableFileError        that stays so until somebody sets another file, or its folder or rights right
    +-- RefusedError              it signs nothing more: starting again does not help, somebody must look
        +-- HistoryRefusedError      the trail is not a continuation of what it has signed
        +-- FileRefusedError         its file is not what it has signed and told
"""

from streams.errors import StreamsError


class NotaryError(StreamsError):
    """The notary cannot go on."""


class CheckpointFileError(NotaryError):
    """The file of checkpoints, or the note beside it, cannot be read, written or locked."""


class UnusableFileError(CheckpointFileError):
    """No file can be where it is set, or not be used so. Starting it again does not help."""


class RefusedError(NotaryError):
    """The notary signs nothing more. Starting it again does not help: somebody must look."""


class HistoryRefusedError(RefusedError):
    """The trail is not a continuation of what was signed before."""


class FileRefusedError(RefusedError):
    """The file of checkpoints is not what was signed and told before."""
