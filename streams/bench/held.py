"""What the benches of deliberation stand on: a policy with two approvers, items that wait, and signed decisions."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import orjson

from schemas import envelope, topics
from schemas.decision import Vote
from schemas.deliberation import DeliberationItem
from schemas.policy import Policy
from schemas.registry import Approver, PublicKey
from streams import control, keys
from streams.bench import product
from streams.bench.product import PARTITIONS
from streams.broker import require_topics
from streams.engine import client
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.installation import Installation
from streams.keys import Signer, SigningKey
from streams.policies import default_policy

AGENTS = (topics.GATEWAY_DECISIONS, topics.DELIBERATOR)
HOLDING = (topics.GATEWAY_MESSAGES, topics.TRIAGE)

_HASH = "cdd01ef066bc6cf2"
_ROLES = ("security", "compliance")
_SENDERS = 50
_POLL_MS = 100


@dataclass(frozen=True, slots=True)
class Panel:
    """The two who decide on everything, and the policy that says so."""

    signers: tuple[Signer, ...]
    policy: Policy


def panel(at_most: int, deadline_s: int) -> Panel:
    """Two approvers with new keys; a sender may have so many items waiting, each for so long."""
    signers = tuple(
        Signer(approver=f"approver-{role}", key=SigningKey.generate(), constitutional_hash=_HASH) for role in _ROLES
    )
    approvers = tuple(
        Approver(id=signer.approver, roles=(role,), keys=(PublicKey(public_key=signer.key.public_key),))
        for signer, role in zip(signers, _ROLES, strict=True)
    )
    base = default_policy()
    tiers = [{**tier.model_dump(mode="json"), "deadline": f"PT{deadline_s}S"} for tier in base.tiers]
    changed = base.model_copy(
        update={"approvers": approvers, "max_held_per_sender": at_most, "max_held_unverified": at_most}
    )
    document = {**orjson.loads(changed.canonical()), "tiers": tiers}
    return Panel(signers, Policy.model_validate_json(orjson.dumps(document)))


async def install(settings: EngineSettings, policy: Policy) -> None:
    """Makes the topics and publishes the policy."""
    await Installation(settings, partitions=PARTITIONS, replication=1).create()
    await control.publish(settings, policy)


async def hold(settings: EngineSettings, count: int, *, expires_at: str | None = None, seed: int = 1) -> None:
    """Has gateway and triage hold so many messages of about 500 bytes; returns once they are on `deliberation`."""
    async with product.running(settings, metrics_port=0, agents=HOLDING):
        await send(settings, [message(number, seed, expires_at) for number in range(count)])
        await _until_there(settings, count)


def message(number: int, seed: int, expires_at: str | None = None) -> tuple[bytes, bytes]:
    """The key and the bytes of a message that asks for what the catalogue does not have: two approve it."""
    conversation = str(uuid.uuid5(uuid.NAMESPACE_OID, f"conversation {number % 1_000}"))
    arguments = {"order_id": f"A-{number}", "amount": 9_500_000, "reason": "duplicate"}
    said: dict[str, object] = {
        "message_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{seed}/{number}")),
        "conversation_id": conversation,
        "content": {"text": f"customer asks about order A-{number}"},
        "from_agent": f"support-{number % _SENDERS}",
        "to_agent": f"desk-{number % 8}",
        "message_type": "command",
        "priority": 1,
        "constitutional_hash": _HASH,
        "tenant_id": "acme",
        "created_at": "2026-11-23T09:30:00Z",
        "payload": {"action": {"tool": "waive_fees", "arguments": arguments}},
    }
    if expires_at is not None:
        said["expires_at"] = expires_at
    return conversation.encode(), orjson.dumps(said)


async def send(settings: EngineSettings, messages: Sequence[tuple[bytes, bytes]]) -> None:
    """Publishes messages as fast as the broker takes them."""
    await write(settings, topics.IN_MESSAGES, messages)


async def write(settings: EngineSettings, topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
    """Writes keys and values, each key to its partition, in large batches."""
    name = f"{settings.prefix}{topic}"
    producer = client.plain_producer(settings, "load")
    await producer.start()
    try:
        batches = [producer.create_batch() for _ in range(PARTITIONS)]
        for key, value in records:
            partition = hash(key) % PARTITIONS
            if batches[partition].append(timestamp=None, key=key, value=value, headers=[]) is None:
                await producer.send_batch(batches[partition], name, partition=partition)
                batches[partition] = producer.create_batch()
                batches[partition].append(timestamp=None, key=key, value=value, headers=[])
        sent = [await producer.send_batch(batch, name, partition=n) for n, batch in enumerate(batches)]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def _until_there(settings: EngineSettings, count: int) -> None:
    topic = f"{settings.prefix}{topics.DELIBERATION}"
    seen = 0
    async for _ in following(settings, topic):
        seen += 1
        if seen == count:
            return


async def items(settings: EngineSettings, count: int) -> list[DeliberationItem]:
    """The first items on `deliberation`."""
    found: list[DeliberationItem] = []
    async for record in following(settings, f"{settings.prefix}{topics.DELIBERATION}"):
        if envelope.ITEM in dict(record.headers):
            found.append(item_of(record))
        if len(found) == count:
            break
    return found


async def following(settings: EngineSettings, *names: str) -> AsyncIterator[Record]:
    """The committed records of topics, from their starts on and without end."""
    counts = await require_topics(settings, names)
    partitions = [client.topic_partition(name, p) for name in names for p in range(counts[name])]
    consumer = client.reader(settings, follows=True)
    await consumer.start()
    try:
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, 0)
        while True:
            for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                for record in records:
                    yield record
    finally:
        await consumer.stop()


def decisions(waiting: Sequence[DeliberationItem], panel: Panel) -> list[tuple[bytes, bytes]]:
    """Key and bytes of an approval of each item by each of the two, an item's two beside each other."""
    return [
        (item.item_id.encode(), keys.encode(signer.decide(item, Vote.APPROVE)))
        for item in waiting
        for signer in panel.signers
    ]


def item_of(record: Record) -> DeliberationItem:
    """The item whose record, or delivery, this is.

    Raises:
        KeyError: it is none.
    """
    return DeliberationItem.model_validate_json(dict(record.headers)[envelope.ITEM] or b"")
