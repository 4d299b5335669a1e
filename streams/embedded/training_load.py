"""What a broker is trained with: this product's own use of Kafka, for some seconds.

Run as a script, `training_load.py <port> <seconds>`, in a process of its own, so that
the client's warnings and event loop stay out of the caller's.
"""
# aiokafka has no types; nothing of it leaves this script.
# mypy: disable-error-code="no-untyped-call"
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import os
import sys
import time
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

TOPIC: Final = "training"
PARTITIONS: Final = 4
RECORD_SIZE: Final = 400
RECORDS_PER_TRANSACTION: Final = 200


async def load(servers: str, seconds: float) -> None:
    """Write and read transactions until the time is over."""
    await create_topic(servers)
    producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=TOPIC)
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=servers, group_id=TOPIC, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    async with producer, consumer:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await write_transaction(producer)
            await consumer.getmany(timeout_ms=0)


async def create_topic(servers: str) -> None:
    """Create the topic that is written."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])
    finally:
        await admin.close()


async def write_transaction(producer: AIOKafkaProducer) -> None:
    """Write one transaction over all partitions."""
    async with producer.transaction():
        value = os.urandom(RECORD_SIZE)
        sent = [await producer.send(TOPIC, value) for _ in range(RECORDS_PER_TRANSACTION)]
        await asyncio.gather(*sent)


if __name__ == "__main__":
    asyncio.run(load(f"127.0.0.1:{sys.argv[1]}", float(sys.argv[2])))
