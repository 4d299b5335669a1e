"""A real Apache Kafka run from packages: nothing else needs to be installed."""

from streams.embedded.background import (
    BrokerStatus,
    State,
    start_background,
    status,
    stop_background,
)
from streams.embedded.errors import EmbeddedKafkaError
from streams.embedded.kafka import EmbeddedKafka
from streams.embedded.progress import Phase, Progress
from streams.embedded.release import KAFKA_VERSION
from streams.embedded.settings import EmbeddedSettings

__all__ = [
    "KAFKA_VERSION",
    "BrokerStatus",
    "EmbeddedKafka",
    "EmbeddedKafkaError",
    "EmbeddedSettings",
    "Phase",
    "Progress",
    "State",
    "start_background",
    "status",
    "stop_background",
]
