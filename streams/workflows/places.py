"""Where a workflow's records stand."""

from zlib import crc32

from streams.engine import client
from streams.engine.client import TopicPartition


def partition_of(topic: str, workflow_id: str, partitions: int) -> TopicPartition:
    """The one partition of a topic that holds everything of a workflow, where lanes write it."""
    return client.topic_partition(topic, crc32(workflow_id.encode()) % partitions)
