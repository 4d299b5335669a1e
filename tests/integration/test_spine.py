"""Messages through gateway and triage on a real broker."""

import hashlib
from collections import Counter

import pytest

from schemas import envelope, score, topics
from schemas.deliberation import DeliberationItem, item_id
from schemas.policy import published
from schemas.reasons import Reason
from streams import control
from streams.agents.naming import Naming
from streams.engine import dead_letters
from streams.engine.admin import Admin
from streams.engine.client import EngineSettings
from streams.engine.dead_letters import Kind
from streams.engine.records import Record
from streams.engine.status import State
from streams.errors import InstallationError
from streams.installation import Installation
from streams.named import Named
from tests.support.eventually import eventually
from tests.support.kafka import header, read_topic, read_topics, write
from tests.support.product import (
    HASH,
    NEXT_HASH,
    PARTITIONS,
    SAFE_TOOL,
    UNKNOWN_TOOL,
    encoded,
    install_product,
    policy,
    spine,
)
from tests.support.trail import verify_lane
from tests.support.workers import RunningWorker, running

AGENTS = (topics.GATEWAY_MESSAGES, topics.TRIAGE)


async def outcomes(settings: EngineSettings, naming: Naming, count: int) -> dict[bytes | None, tuple[str, Record]]:
    """Where each input ended, by source position, once that many have."""
    ends = {name: naming.topic(name) for name in (topics.DELIVERIES, topics.DELIBERATION, topics.REJECTED)}

    async def all_of_them() -> list[tuple[str, Record]]:
        found = await read_topics(settings, ends.values())
        flat = [(name, r) for name, topic in ends.items() for records in found[topic].values() for r in records]
        return flat if len(flat) >= count else []

    found = await eventually(all_of_them)
    by_source = {header(record, envelope.SOURCE): (name, record) for name, record in found}
    assert len(by_source) == len(found) == count
    return by_source


async def send(settings: EngineSettings, naming: Naming, *values: bytes | None) -> list[bytes]:
    """Writes to in.messages; returns the source positions."""
    public = naming.topic(topics.IN_MESSAGES)
    placed = await write(settings, [(public, n % PARTITIONS, b"", value, ()) for n, value in enumerate(values)])
    return [f"{public}/{partition}/{offset}".encode() for partition, offset in placed]


async def test_messages_are_delivered_held_or_rejected_with_their_bytes(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    delivered, held, refused = encoded(1), encoded(2, tool=UNKNOWN_TOOL), encoded(3, constitutional_hash="f" * 16)
    async with running(spine(settings), settings):
        sources = await send(settings, naming, delivered, held, refused, b"{", None)
        found = await outcomes(settings, naming, 5)
    ended = [(found[source][0], found[source][1].value) for source in sources]
    assert ended == [
        (topics.DELIVERIES, delivered),
        (topics.DELIBERATION, held),
        (topics.REJECTED, refused),
        (topics.REJECTED, b"{"),
        (topics.REJECTED, None),
    ]


async def test_a_delivery_says_how_it_was_decided(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    async with running(spine(settings), settings):
        plain, acting = await send(settings, naming, encoded(1), encoded(2, tool=SAFE_TOOL))
        found = await outcomes(settings, naming, 2)
    _, record = found[plain]
    assert record.key == b"executor"
    assert header(record, envelope.VERSION) == b"1"
    assert header(record, envelope.POLICY) == published(policy().canonical()).reference.encode()
    assert header(record, envelope.EXECUTABLE) == b"false"
    assert header(record, envelope.SENDER_VERIFIED) == b"false"
    assert header(record, envelope.DELIVERY_ID) == hashlib.sha256(plain).hexdigest().encode()
    assert score.decode_card(header(record, envelope.CARD) or b"").tool is None
    card = score.decode_card(header(found[acting][1], envelope.CARD) or b"")
    assert (card.tool, card.verb) == (SAFE_TOOL, "read")
    assert header(found[acting][1], envelope.EXECUTABLE) == b"true"


async def test_a_held_message_says_what_releases_it(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    value = encoded(2, tool=UNKNOWN_TOOL, expires_at="2099-01-01T00:00:00Z")
    async with running(spine(settings), settings):
        sources = await send(settings, naming, value, value)
        found = await outcomes(settings, naming, 2)
    items = []
    for source in sources:
        name, record = found[source]
        item = DeliberationItem.model_validate_json(header(record, envelope.ITEM) or b"")
        assert name == topics.DELIBERATION
        assert record.value == value
        assert item.digest == hashlib.sha256(value).hexdigest()
        assert item.item_id == item_id(item.message_id, item.digest, 0)
        assert record.key == item.item_id.encode()
        assert (item.tier, item.approvals, item.roles, item.deadline_s) == ("high", 1, ("security",), 24 * 3600)
        items.append(item)
    assert items[0].nonce != items[1].nonce


async def test_a_rejection_says_why_and_keeps_key_and_headers(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    public = naming.topic(topics.IN_MESSAGES)
    async with running(spine(settings), settings):
        await write(settings, [(public, 0, b"some key", b"\xff\xfe", (("trace", b"\x00"), ("trace", None)))])
        found = await outcomes(settings, naming, 1)
    ((name, record),) = found.values()
    assert (name, record.key, record.value) == (topics.REJECTED, b"some key", b"\xff\xfe")
    assert header(record, envelope.REASON) == Reason.NOT_UTF8.value.encode()
    assert header(record, envelope.DETAIL) == b"byte 0 is not UTF-8"
    assert header(record, envelope.NULL_VALUE) == b"false"
    assert tuple(record.headers)[-2:] == (("trace", b"\x00"), ("trace", None))


async def test_a_new_epoch_counts_while_messages_flow(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    old, new = encoded(1), encoded(2, constitutional_hash=NEXT_HASH)
    async with running(spine(settings), settings) as worker:
        before = await send(settings, naming, old, new)
        await outcomes(settings, naming, 2)
        await control.publish(settings, policy(2, (NEXT_HASH,)))
        in_force = [worker.position(agent, p, naming.topic(topics.CONTROL)) for agent in AGENTS for p in range(2)]
        await eventually(lambda: _moved_beyond(worker, naming, in_force))
        after = await send(settings, naming, old, new)
        found = await outcomes(settings, naming, 4)
    assert [found[source][0] for source in (*before, *after)] == [
        topics.DELIVERIES,
        topics.REJECTED,
        topics.REJECTED,
        topics.DELIVERIES,
    ]
    epochs = [(header(found[source][1], envelope.POLICY) or b"").split(b":")[0] for source in (*before, *after)]
    assert epochs == [b"1", b"1", b"2", b"2"]


async def test_a_tenant_that_a_policy_sets_apart_has_its_deliveries_from_then_on(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    own = naming.topic(topics.deliveries_of("globex"))
    async with running(spine(settings), settings):
        await send(settings, naming, encoded(1, tenant_id="globex"))
        await outcomes(settings, naming, 1)
        apart = policy(2, tenant_topics=("globex",))
        with pytest.raises(InstallationError, match="acgs topics create --tenant globex"):
            await control.publish(settings, apart)
        await Installation(settings, partitions=PARTITIONS, replication=1).create(Named(tenants=("globex",)))
        await control.publish(settings, apart)
        await eventually(lambda: _sent_until_in(settings, naming, own))
    async with Admin(settings) as admin:
        existing = await admin.topics()
    letters = [name for name in existing if name.startswith(settings.prefix) and name.endswith("dead-letters")]
    assert [await read_topic(settings, name) for name in letters] == [[] for _ in letters]


async def _sent_until_in(settings: EngineSettings, naming: Naming, topic: str) -> bool:
    await send(settings, naming, encoded(2, tenant_id="globex"))
    return bool(await read_topic(settings, topic))


async def test_a_lane_decides_nothing_under_a_policy_whose_topics_are_missing(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    apart = policy(2, tenant_topics=("globex",)).canonical()
    async with running(spine(settings), settings) as worker:
        before = [worker.position(topics.TRIAGE, p, naming.topic(topics.CONTROL)) for p in range(PARTITIONS)]
        await write(settings, [(naming.topic(topics.CONTROL), p, control.KEY, apart, ()) for p in range(PARTITIONS)])
        await eventually(lambda: _triage_read_control(worker, naming, before))
        (source,) = await send(settings, naming, encoded(1))
        await eventually(lambda: _says_what_is_missing(worker, naming.topic(topics.deliveries_of("globex"))))
        assert await read_topic(settings, naming.topic(topics.DELIVERIES)) == []
        await Installation(settings, partitions=PARTITIONS, replication=1).create(Named(tenants=("globex",)))
        found = await outcomes(settings, naming, 1)
    assert found[source][0] == topics.DELIVERIES


def _triage_read_control(worker: RunningWorker, naming: Naming, before: list[int]) -> bool:
    now = [worker.position(topics.TRIAGE, p, naming.topic(topics.CONTROL)) for p in range(PARTITIONS)]
    return all(position > earlier for position, earlier in zip(now, before, strict=True))


def _says_what_is_missing(worker: RunningWorker, topic: str) -> bool:
    errors = [status.last_error or "" for status in worker.lanes() if status.agent == topics.TRIAGE]
    return any("topics are missing" in error and topic in error for error in errors)


def _moved_beyond(worker: RunningWorker, naming: Naming, before: list[int]) -> bool:
    topic = naming.topic(topics.CONTROL)
    now = [worker.position(agent, p, topic) for agent in AGENTS for p in range(PARTITIONS)]
    return all(position > earlier for position, earlier in zip(now, before, strict=True))


async def test_a_policy_of_the_wrong_epoch_is_a_dead_letter_and_harms_nothing(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    topic = naming.topic(topics.CONTROL)
    async with running(spine(settings), settings) as worker:
        wrong = policy(7, (NEXT_HASH,)).canonical()
        await write(settings, [(topic, p, control.KEY, wrong, ()) for p in range(PARTITIONS)])
        letters = await eventually(lambda: _letters(settings, naming, len(AGENTS) * PARTITIONS))
        (source,) = await send(settings, naming, encoded(1))
        found = await outcomes(settings, naming, 1)
        assert len(worker.lanes(State.RUNNING)) == len(AGENTS) * PARTITIONS
    assert {(letter.kind, letter.value) for letter in letters} == {(Kind.CONTROL_REFUSED, wrong)}
    assert found[source][0] == topics.DELIVERIES


async def _letters(settings: EngineSettings, naming: Naming, count: int) -> list[dead_letters.DeadLetter]:
    records = [r for agent in AGENTS for r in await read_topic(settings, naming.own(agent).dead_letters)]
    return [dead_letters.read(record) for record in records] if len(records) >= count else []


async def test_without_a_policy_nothing_is_decided(settings: EngineSettings) -> None:
    await Installation(settings, partitions=PARTITIONS, replication=1).create()
    naming = Naming(settings.prefix)
    async with running(spine(settings), settings) as worker:
        await send(settings, naming, encoded(1), encoded(2))
        await worker.until(State.WAITING, len(AGENTS) * PARTITIONS)
        await eventually(lambda: sum(lane.oldest_ms is not None for lane in worker.lanes()) == PARTITIONS)
        assert all(lane.seq == 0 for lane in worker.lanes())
        await control.publish(settings, policy())
        await outcomes(settings, naming, 2)


async def test_order_of_a_conversation_is_kept_and_the_trail_accounts_for_all(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    tools = [UNKNOWN_TOOL if n % 10 == 5 else SAFE_TOOL for n in range(400)]
    values = [b"not JSON" if n % 20 == 0 else encoded(n, tool=tool) for n, tool in enumerate(tools)]
    async with running(spine(settings), settings):
        sources = await send(settings, naming, *values)
        found = await outcomes(settings, naming, len(values))
    assert set(found) == set(sources)
    assert Counter(name for name, _ in found.values()) == {
        topics.REJECTED: 20,
        topics.DELIBERATION: 40,
        topics.DELIVERIES: 340,
    }
    assert all(found[source][1].value == value for source, value in zip(sources, values, strict=True))
    everything = [naming.topic(topic.name) for topic in topics.catalogue()]
    read = await read_topics(settings, everything)
    passed = [record for records in read[naming.topic(topics.MESSAGES)].values() for record in records]
    inside = {header(record, envelope.SOURCE): record.partition for record in passed}
    for lane in range(PARTITIONS):
        audit = naming.topic(topics.AUDIT)
        own = [naming.topic(topics.MESSAGES), naming.topic(topics.REJECTED)]
        verify_lane(read, audit, topics.GATEWAY_MESSAGES, lane, outputs=own)
        verify_lane(
            read,
            audit,
            topics.TRIAGE,
            lane,
            lane_of=lambda record: inside[header(record, envelope.SOURCE)],
            outputs=[naming.topic(topics.DELIVERIES), naming.topic(topics.DELIBERATION)],
        )
    for partition, records in read[naming.topic(topics.DELIVERIES)].items():
        by_lane: dict[tuple[bytes, int], list[int]] = {}
        for record in records:
            source = envelope.decode_source(header(record, envelope.SOURCE) or b"")
            conversation = record.value[record.value.index(b"conversation_id") :][:60] if record.value else b""
            by_lane.setdefault((conversation, source.partition), []).append(source.offset)
        assert all(offsets == sorted(offsets) for offsets in by_lane.values()), partition
    assert HASH.encode() not in b"".join(header(r, envelope.DETAIL) or b"" for _, r in found.values())
