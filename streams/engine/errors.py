"""Errors of the engine.

EngineError
+-- ConfigurationError      what an agent or an operator set cannot work
+-- LaneHeldError           a lane must not go on until an operator decides
|   +-- PositionLostError     its changelog has no position although the lane ran before
|   +-- PositionOvertakenError  retention deleted records the lane has not read
+-- OutputTooLargeError     a handler's output does not fit its topic
+-- ControlRefusedError     a record on the control topic is not the next version
+-- UnreadableError         a record is not what Kafka's clients can read
"""


class EngineError(Exception):
    """Anything the engine raises on purpose."""


class ConfigurationError(EngineError):
    """What an agent or an operator set cannot work; the message says what to change."""


class LaneHeldError(EngineError):
    """A lane must not go on until an operator decides; the message says what was lost and how to accept it."""


class PositionLostError(LaneHeldError):
    """A lane's changelog has neither a position nor a mark that it is new."""


class PositionOvertakenError(LaneHeldError):
    """Retention deleted records that the lane has not read."""


class OutputTooLargeError(EngineError):
    """A handler's output does not fit its topic's limit."""


class ControlRefusedError(EngineError):
    """A record on the control topic cannot follow what is in force."""


class UnreadableError(EngineError):
    """A record is not what Kafka's clients can read; no handler has seen it."""
