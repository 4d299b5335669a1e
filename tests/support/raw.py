"""Records that no well-behaved producer sends."""

from collections.abc import Sequence
from typing import Any, Self

from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from streams.engine.client import EngineSettings
from tests.support.kafka import producer

RawHeaders = Sequence[tuple[bytes, bytes | None]]


class RawName(str):  # noqa: SLOT000  # carries its bytes
    """A header's name that is written as any bytes."""

    raw: bytes

    def __new__(cls, raw: bytes) -> Self:
        made = super().__new__(cls, "raw")
        made.raw = raw
        return made

    def encode(self, *_: str) -> bytes:
        return self.raw


async def write_raw(
    settings: EngineSettings,
    topic: str,
    partition: int,
    records: Sequence[tuple[bytes | None, bytes | None, RawHeaders]],
    *,
    codec: int = 0,
) -> int:
    """Writes records in one batch, compressed by the codec's number, and returns the offset of the first.

    Raises:
        KafkaError: the broker refuses the batch.
    """
    builder: Any = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, -1, 1 << 30)
    async with producer(settings, enable_idempotence=False) as made:
        batch = made.create_batch()
        for number, (key, value, headers) in enumerate(records):
            builder.append(number, 1, key, value, [(RawName(name), content) for name, content in headers])
            batch.append(timestamp=1, key=None, value=b"")
        batch.close()
        batch._builder = builder  # noqa: SLF001
        delivered = await (await made.send_batch(batch, topic, partition=partition))
    offset: int = delivered.offset
    return offset
