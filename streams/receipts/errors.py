"""Why a receipt cannot be made or read.

StreamsError
+-- ReceiptError
    +-- UnknownMessageError         no such message is in the log, or several are
    +-- UnprovableError             the log does not have, or does not bear out, what the receipt would prove
    |   +-- NotKeptError            retention has deleted it
    +-- ReceiptFileError            a file cannot be read or written
    +-- CheckpointsUnreadableError  the file of checkpoints cannot be read, or a line is none
        +-- NoCheckpointsError          it is another file: nothing in it is a checkpoint
"""

from streams.errors import StreamsError


class ReceiptError(StreamsError):
    """A receipt cannot be made or read."""


class UnknownMessageError(ReceiptError):
    """No such message is in the log, or several are."""


class UnprovableError(ReceiptError):
    """The log does not have, or does not bear out, what the receipt would prove."""


class NotKeptError(UnprovableError):
    """Retention has deleted what the receipt would prove."""


class ReceiptFileError(ReceiptError):
    """A file cannot be read or written."""


class CheckpointsUnreadableError(ReceiptError):
    """The file of checkpoints cannot be read, or a line is none."""


class NoCheckpointsError(CheckpointsUnreadableError):
    """It is another file: nothing in it is a checkpoint."""
