"""What nobody should send: lanes go on, and every record is accounted for."""

from collections.abc import Sequence

import pytest
from aiokafka.errors import KafkaError

from schemas import envelope, topics
from schemas.reasons import Reason
from streams.agents.naming import Naming
from streams.engine import dead_letters
from streams.engine.client import EngineSettings
from streams.engine.dead_letters import Kind
from streams.engine.records import Headers, Record
from tests.support.eventually import eventually
from tests.support.kafka import MIB, header, read_topic, read_topics, write
from tests.support.product import PARTITIONS, encoded, install_product, spine
from tests.support.raw import write_raw
from tests.support.trail import verify_lane
from tests.support.workers import running

GZIP, ZSTD = 1, 4


async def at_least(settings: EngineSettings, topic: str, count: int) -> list[Record]:
    async def enough() -> list[Record]:
        records = await read_topic(settings, topic)
        return records if len(records) >= count else []

    found: list[Record] = await eventually(enough)
    assert len(found) == count, [(header(r, envelope.SOURCE), r.key, r.value) for r in found]
    return found


def reasons(records: Sequence[Record]) -> list[str]:
    return [(header(record, envelope.REASON) or b"").decode() for record in records]


async def test_null_values_and_too_many_headers_are_rejected_with_their_reasons(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    many: Headers = [(f"h{n}", b"1") for n in range(65)]
    wide: Headers = [("h", b"x" * 17_000)]
    reserved: Headers = [("ACGS-source", b"in.messages/0/0")]
    async with running(spine(settings), settings):
        sent: list[tuple[bytes | None, Headers]] = [
            (None, ()),
            (encoded(1), many),
            (encoded(2), wide),
            (encoded(3), reserved),
            (encoded(4), [("lane-timer", b"1")]),
            (encoded(5), many[:64]),
        ]
        public = naming.topic(topics.IN_MESSAGES)
        await write_raw(settings, public, 0, [(None, value, [(n.encode(), c) for n, c in h]) for value, h in sent])
        rejected = await at_least(settings, naming.topic(topics.REJECTED), 5)
        (delivered,) = await at_least(settings, naming.topic(topics.DELIVERIES), 1)
    assert reasons(rejected) == ["null_value", "too_many_headers", "headers_too_large", *["reserved_header"] * 2]
    assert header(rejected[0], envelope.NULL_VALUE) == b"true"
    assert [record.value for record in rejected] == [value for value, _ in sent[:5]]
    assert delivered.value == encoded(5)


async def test_messages_at_the_size_limit_pass_and_one_byte_more_is_rejected_whole(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    frame = len(encoded(1, metadata={"fill": ""}))
    exact = encoded(1, metadata={"fill": "x" * (MIB - frame)})
    over = encoded(1, metadata={"fill": "x" * (MIB - frame + 1)})
    largest = b"x" * (4 * MIB - 200)
    assert (len(exact), len(over)) == (MIB, MIB + 1)
    async with running(spine(settings), settings):
        public = naming.topic(topics.IN_MESSAGES)
        for value in (exact, over, largest, exact):
            await write(settings, [(public, 0, None, value, ())])
        delivered = await at_least(settings, naming.topic(topics.DELIVERIES), 2)
        rejected = await at_least(settings, naming.topic(topics.REJECTED), 2)
    assert [record.value for record in delivered] == [exact, exact]
    assert [record.value for record in rejected] == [over, largest]
    assert reasons(rejected) == [Reason.TOO_LARGE] * 2


@pytest.mark.parametrize("codec", [GZIP, ZSTD])
async def test_the_broker_refuses_a_compressed_bomb_and_lanes_go_on(settings: EngineSettings, codec: int) -> None:
    pytest.importorskip("cramjam") if codec == ZSTD else None
    naming = await install_product(settings)
    public = naming.topic(topics.IN_MESSAGES)
    async with running(spine(settings), settings):
        with pytest.raises(KafkaError):
            await write_raw(settings, public, 0, [(None, b"\0" * (64 * MIB), ())], codec=codec)
        await write_raw(settings, public, 0, [(None, encoded(n), ()) for n in range(50)], codec=codec)
        assert len(await at_least(settings, naming.topic(topics.DELIVERIES), 50)) == 50


async def test_a_header_name_that_is_not_utf_8_makes_a_dead_letter_and_stops_nothing(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    public = naming.topic(topics.IN_MESSAGES)
    values = [encoded(n) for n in range(6)]
    async with running(spine(settings), settings):
        await write(settings, [(public, 0, None, values[0], ())])
        bad = [(b"k", values[2], [(b"fine", b"1"), (b"bad\xff\xfe", b"2"), (b"none", None)])]
        first = await write_raw(settings, public, 0, [(None, values[1], ()), *bad, (None, values[3], ())])
        await write(settings, [(public, 0, None, values[4], ()), (public, 1, None, values[5], ())])
        (record,) = await at_least(settings, naming.own(topics.GATEWAY_MESSAGES).dead_letters, 1)
        delivered = await at_least(settings, naming.topic(topics.DELIVERIES), 5)
        read = await read_topics(settings, [naming.topic(topic.name) for topic in topics.catalogue()])
    letter = dead_letters.read(record)
    assert (letter.kind, letter.topic, letter.partition, letter.offset) == (Kind.UNREADABLE, public, 0, first + 1)
    assert (letter.key, letter.value) == (b"k", values[2])
    assert letter.headers == (("fine", b"1"), ("bad\\xff\\xfe", b"2"), ("none", None))
    assert {r.value for r in delivered} == {values[n] for n in (0, 1, 3, 4, 5)}
    for lane in range(PARTITIONS):
        verify_lane(read, Naming(settings.prefix).topic(topics.AUDIT), topics.GATEWAY_MESSAGES, lane)


async def test_a_batch_with_unreadable_records_loses_none_of_the_others(settings: EngineSettings) -> None:
    naming = await install_product(settings)
    batch = [(None, encoded(n), [(b"\xc3\x28", b"x")] if n % 4 == 0 else []) for n in range(40)]
    async with running(spine(settings), settings):
        await write_raw(settings, naming.topic(topics.IN_MESSAGES), 0, batch)
        letters = await at_least(settings, naming.own(topics.GATEWAY_MESSAGES).dead_letters, 10)
        await at_least(settings, naming.topic(topics.DELIVERIES), 30)
    assert [dead_letters.read(record).offset for record in letters] == list(range(0, 40, 4))
