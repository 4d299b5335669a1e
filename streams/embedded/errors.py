"""Errors of the embedded Kafka, a tree.

EmbeddedKafkaError
├── InvalidSettingsError      a setting outside its range
├── WrongStateError           a call that the present state does not allow
├── FetchError                Kafka's jars could not be had
│   └── NetworkUnavailableError
├── NotEnoughDiskError
├── NotEnoughMemoryError
├── PortInUseError            a port we must have is taken
├── DataFolderError
│   ├── DataFolderUnusableError   cannot be written, or belongs to something else
│   ├── DataFolderInUseError      another broker runs on it
│   └── DataFormatError           formatted for another number of brokers or version
└── BrokerStartError          a broker ended, or did not answer, while starting
    └── BrokerStartTimeoutError
"""


class EmbeddedKafkaError(Exception):
    """Root of every error that `streams.embedded` raises on purpose.

    Attributes:
        message: What happened, in one sentence with its figures.
        next_step: What the user can do about it.
    """

    def __init__(self, message: str, next_step: str) -> None:
        """Keep both halves, so that a command line can print them apart."""
        super().__init__(message, next_step)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        """Both halves as one text."""
        return f"{self.message} {self.next_step}"


class InvalidSettingsError(EmbeddedKafkaError):
    """Raised when a setting is outside its range."""


class WrongStateError(EmbeddedKafkaError):
    """Raised when a call does not fit the state, such as restarting a live broker."""


class FetchError(EmbeddedKafkaError):
    """Raised when Kafka's jars cannot be fetched or stored."""


class NetworkUnavailableError(FetchError):
    """Raised when jars are missing and the Maven repository cannot be reached."""


class NotEnoughDiskError(EmbeddedKafkaError):
    """Raised before anything is written where too little space is free."""


class NotEnoughMemoryError(EmbeddedKafkaError):
    """Raised before a broker starts where too little memory is available."""


class PortInUseError(EmbeddedKafkaError):
    """Raised when a port that must be used is taken by someone else."""


class DataFolderError(EmbeddedKafkaError):
    """Root of the errors about the data folder."""


class DataFolderUnusableError(DataFolderError):
    """Raised when the folder cannot be written or holds something that is not ours."""


class DataFolderInUseError(DataFolderError):
    """Raised when another broker, or its owner, holds the folder."""


class DataFormatError(DataFolderError):
    """Raised when the folder was formatted for other settings than those asked."""


class BrokerStartError(EmbeddedKafkaError):
    """Raised when a broker ends while it is starting.

    Attributes:
        log_tail: The last lines of its log, oldest first; may be empty.
    """

    def __init__(self, message: str, next_step: str, log_tail: str = "") -> None:
        """Keep the log's last lines beside the message."""
        super().__init__(message, next_step)
        self.args = (message, next_step, log_tail)
        self.log_tail = log_tail

    def __str__(self) -> str:
        """The message, the next step and the log's last lines."""
        said = super().__str__()
        return f"{said}\n{self.log_tail}" if self.log_tail else said


class BrokerStartTimeoutError(BrokerStartError):
    """Raised when a broker lives but does not answer within the start deadline."""
