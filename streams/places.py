"""Where the records of a key stand."""

from zlib import crc32

from streams.engine import client
from streams.engine.client import TopicPartition


def partition_of(topic: str, key: str, partitions: int) -> TopicPartition:
    """The one partition of a topic that holds everything of a key, where lanes write it."""
    return client.topic_partition(topic, crc32(key.encode()) % partitions)
