"""The traffic of the pipeline benches: messages of about 500 bytes, 85% harmless, 10% to be held, 5% bad."""

import random
import uuid
from collections.abc import Iterator

import orjson

from streams.engine import client
from streams.engine.client import EngineSettings

_HASH = "cdd01ef066bc6cf2"
_CONVERSATIONS = 1_000
_HELD_OF_20 = 2
_BAD_OF_20 = 1


def messages(count: int, *, seed: int = 1) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values; the same for the same seed."""
    random_ = random.Random(seed)  # noqa: S311  # traffic, no secret
    conversations = [_uuid(random_) for _ in range(_CONVERSATIONS)]
    for number in range(count):
        conversation = conversations[number % _CONVERSATIONS]
        kind = number % 20
        message = _message(random_, conversation, number, held=kind < _HELD_OF_20)
        if kind >= 20 - _BAD_OF_20:
            message["constitutional_hash"] = "0123456789abcdef"
        yield conversation.encode(), orjson.dumps(message)


def is_delivered(number: int) -> bool:
    """Whether the message of that number goes on at once."""
    return _HELD_OF_20 <= number % 20 < 20 - _BAD_OF_20


async def load(settings: EngineSettings, topic: str, partitions: int, count: int) -> None:
    """Writes `count` messages to the topic, spread evenly over its partitions."""
    producer = client.plain_producer(settings, "load")
    await producer.start()
    batches = {partition: producer.create_batch() for partition in range(partitions)}
    for number, (key, value) in enumerate(messages(count)):
        partition = number % _CONVERSATIONS % partitions
        if batches[partition].append(timestamp=None, key=key, value=value, headers=[]) is None:
            await producer.send_batch(batches[partition], topic, partition=partition)
            batches[partition] = producer.create_batch()
            batches[partition].append(timestamp=None, key=key, value=value, headers=[])
    for partition, batch in batches.items():
        await producer.send_batch(batch, topic, partition=partition)
    await producer.stop()


def _message(random_: random.Random, conversation: str, number: int, *, held: bool) -> dict[str, object]:
    action = (
        {"tool": "issue_refund", "arguments": {"order_id": f"A-{number}", "amount": 9_500_000, "reason": "duplicate"}}
        if held
        else {"tool": "lookup_order", "arguments": {"order_id": f"A-{number}", "fields": ["status", "items", "total"]}}
    )
    return {
        "message_id": _uuid(random_),
        "conversation_id": conversation,
        "content": {"text": f"customer asks about order A-{number}"},
        "from_agent": f"support-{number % 50}",
        "to_agent": f"desk-{number % 8}",
        "message_type": "command",
        "priority": 1,
        "constitutional_hash": _HASH,
        "tenant_id": "acme",
        "created_at": "2026-11-23T09:30:00Z",
        "payload": {"action": action, "task": {"description": "answer the customer"}},
    }


def _uuid(random_: random.Random) -> str:
    return str(uuid.UUID(int=random_.getrandbits(128), version=4))
