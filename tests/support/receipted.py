"""Messages that were delivered, held, released, denied and refused on lanes in memory, and their receipts."""

from collections.abc import Sequence

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas import envelope, registry, topics
from schemas.checkpoint import FIRST_PREVIOUS, Checkpoint, parse, signed_bytes
from schemas.decision import Decision
from schemas.deliberation import DeliberationItem
from schemas.policy import Policy
from schemas.receipt import Receipt
from streams import keys
from streams.audit.log import MemoryLog, Place
from streams.engine.records import Record
from streams.keys import SigningKey
from streams.notary.trees import TrailTrees
from streams.receipts.anchoring import anchored
from streams.receipts.collecting import collect
from streams.receipts.finding import find
from tests.support.product import message
from tests.support.recorded import NAMING, PARTITIONS, Recorder, installed
from tests.support.signing import key

AGENTS = (topics.GATEWAY_MESSAGES, topics.TRIAGE, topics.GATEWAY_DECISIONS, topics.DELIBERATOR)
NOTARY = key("notary")


def id_of(number: int) -> str:
    return str(message(number)["message_id"])


def lanes_under(policy: Policy) -> Recorder:
    lanes = Recorder(*AGENTS)
    lanes.publish(policy)
    return lanes


def item_of(lanes: Recorder, number: int, generation: int = 0) -> DeliberationItem:
    """What a message is held as."""
    for log in lanes.topics[NAMING.topic(topics.DELIBERATION)].values():
        for record in log:
            said = next((content for name, content in record.headers if name == envelope.ITEM), None)
            item = None if said is None else DeliberationItem.model_validate_json(said)
            if item is not None and (item.message_id, item.generation) == (id_of(number), generation):
                return item
    raise AssertionError(f"message {number} is not held")


def vote(lanes: Recorder, *decisions: Decision) -> None:
    lanes.send(topics.IN_DECISIONS, *map(keys.encode, decisions))
    lanes.run()


async def receipt_of(lanes: Recorder, number: int, begins: dict[Place, int] | None = None) -> Receipt:
    log = MemoryLog(lanes.topics, begins or {})
    return await collect(log, installed(), id_of(number), await find(log, installed(), id_of(number)))


async def anchored_receipt(lanes: Recorder, number: int, *checkpoints: Checkpoint) -> Receipt:
    made = await receipt_of(lanes, number)
    return await anchored(made, MemoryLog(lanes.topics, {}), installed(), checkpoints or [checkpoint(lanes)])


def checkpoint(
    lanes: Recorder,
    number: int = 1,
    sizes: Sequence[int] = (),
    signer: SigningKey = NOTARY,
    previous: str = FIRST_PREVIOUS,
) -> Checkpoint:
    """Signed by the notary, over all audit records, or over the first of each partition."""
    every = lanes.topics[NAMING.topic(topics.AUDIT)]
    trails = [every[partition][: sizes[partition] if sizes else None] for partition in range(PARTITIONS)]
    return checkpoint_over(trails, NAMING.prefix, number, signer, previous)


def checkpoint_over(
    trails: Sequence[Sequence[Record]],
    prefix: str,
    number: int = 1,
    signer: SigningKey = NOTARY,
    previous: str = FIRST_PREVIOUS,
) -> Checkpoint:
    """Signed by the notary, over these partitions of `audit`."""
    seen = TrailTrees(len(trails))
    for partition, trail in enumerate(trails):
        for record in trail:
            seen.add(partition, record.key, record.value)
    said = {
        "v": 1,
        "number": number,
        "signed_at": "2026-05-03T14:00:00Z",
        "prefix": prefix,
        "cluster_id": "memory",
        "previous": previous,
        "trees": [tree.model_dump() for tree in seen.trees()],
        "heads": [],
        "key_id": signer.id,
    }
    return parse(orjson.dumps({**said, "signature": signer.sign(signed_bytes(said))}, option=orjson.OPT_SORT_KEYS))


def public_keys(*signers: SigningKey) -> dict[str, bytes]:
    return {one.id: registry.raw_key(one.public_key) for one in signers or (NOTARY,)}


def stranger() -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(b"s" * 32))
