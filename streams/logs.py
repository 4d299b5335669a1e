"""Structured logs: one JSON object a line, with agent, lane and offsets; never a payload."""

import logging
import sys
from typing import TextIO

import structlog

_EXTRA = ("agent", "lane", "offsets")
_NOISY = {
    "aiokafka": logging.WARNING,
    "aiokafka.producer.sender": logging.ERROR,
    "aiokafka.consumer.group_coordinator": logging.ERROR,
}
"""The sender warns at each retry while a transaction's markers are written: harmless, and hundreds a second."""


_SILENT = logging.CRITICAL + 1


def configure(*, level: int = logging.INFO, stream: TextIO = sys.stderr, clients_words: bool = True) -> None:
    """Sends every logger's records to a stream as JSON lines.

    Without `clients_words` the Kafka client says nothing: in an outage it has 35 lines a second. For processes that say
    themselves when the broker is away.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(allow=_EXTRA),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.EventRenamer("message"),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _NOISY.items():
        logging.getLogger(name).setLevel(max(least, level) if clients_words else _SILENT)
