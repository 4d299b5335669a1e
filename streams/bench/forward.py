"""`acgs bench forward`: read, validate, write unchanged, exactly once, through lanes with the trail on.

The work of every peer in the comparison: JSON messages of about 430 bytes, each validated with one pydantic model, its
bytes written to the sink.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace

from prometheus_client import CollectorRegistry
from pydantic import BaseModel, ConfigDict

from streams.bench.result import Result
from streams.engine import client
from streams.engine.admin import Admin, NewTopic
from streams.engine.agent import Agent, Topics, View
from streams.engine.client import EngineSettings
from streams.engine.metrics import EngineMetrics
from streams.engine.records import Emit, Record
from streams.engine.state import NEW_KEY
from streams.engine.worker import Worker, settle_garbage

_HASH = "cdd01ef066bc6cf2"


class PeerMessage(BaseModel):
    """The message that every peer validates."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    message_id: str
    seq: int
    from_agent: str
    to_agent: str
    message_type: str
    priority: int
    constitutional_hash: str
    content: str
    tenant_id: str
    created_at: str


async def run(settings: EngineSettings, *, source: str, sink: str, messages: int, timeout_s: float) -> Result:
    """Forwards `messages` records from source to sink and gives the rate from the first handled to the last committed.

    Raises:
        TimeoutError: the source did not hold so many records, or they took longer than the timeout.
    """
    settings = replace(settings, prefix=f"bench-{uuid.uuid4().hex[:8]}.")
    own = await _own_topics(settings, source)
    meter = _Meter(messages)
    agent = Agent(
        name="forward",
        inbox=(source,),
        outputs=(sink,),
        topics=own,
        handler=_Forward(sink),
        decision_version=1,
        measure=meter.committed,
    )
    worker = Worker([agent], settings, EngineMetrics(CollectorRegistry()), lanes_topic=f"{settings.prefix}lanes")
    settle_garbage()
    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(timeout_s):
            await meter.done.wait()
    finally:
        worker.stop()
        await running
    return Result("forward", meter.rate, "messages/s")


class _Forward:
    """The handler: validates, and writes the bytes unchanged."""

    def __init__(self, sink: str) -> None:
        self._sink = sink
        self._validate = PeerMessage.__pydantic_validator__.validate_json

    def __call__(self, view: View[None, None], record: Record) -> Sequence[Emit]:
        del view
        if self._validate(record.value or b"").constitutional_hash != _HASH:
            raise ValueError("wrong hash")
        return (Emit(self._sink, record.key, record.value, (), 1),)


class _Meter:
    """Counts committed records; its clock starts with the first commit's records and stops with the last."""

    def __init__(self, messages: int) -> None:
        self._messages, self._count = messages, 0
        self._began = time.perf_counter()
        self._ended = self._began
        self.done = asyncio.Event()

    def committed(self, measures: Sequence[object]) -> None:
        """A turn has committed so many records."""
        if not self._count:
            self._began = time.perf_counter()
        self._count += len(measures)
        if self._count >= self._messages and not self.done.is_set():
            self._ended = time.perf_counter()
            self.done.set()

    @property
    def rate(self) -> float:
        """Records a second."""
        return self._count / (self._ended - self._began)


async def _own_topics(settings: EngineSettings, source: str) -> Topics:
    own = Topics(f"{settings.prefix}changelog", f"{settings.prefix}dead-letters", f"{settings.prefix}audit")
    names = (own.changelog, own.dead_letters, own.audit, f"{settings.prefix}lanes")
    async with Admin(settings) as admin:
        partitions = (await admin.topics())[source]
        await admin.create([NewTopic(name, partitions, 1, {}) for name in names])
        await admin.wait_for(names)
    producer = client.plain_producer(settings, "bench")
    await producer.start()
    for partition in range(partitions):
        await producer.send_and_wait(own.changelog, b"{}", NEW_KEY, partition)
    await producer.stop()
    return own
