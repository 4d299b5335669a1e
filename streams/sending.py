"""Publishing lines as messages: each line's bytes unchanged, none skipped in silence."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import cast

import orjson
from aiokafka.errors import KafkaError

from schemas import envelope
from schemas.topics import MIB
from streams.broker import SILENT_S, producing, require_topics, told_errors
from streams.engine.admin import Admin
from streams.engine.client import Delivered, EngineSettings, Producer
from streams.keys import SigningKey
from streams.lines import Line

_IN_FLIGHT = 5_000
_IN_FLIGHT_BYTES = 16 * 1024 * 1024
_OVERHEAD_BYTES = 128
"""What a batch and a record add to key and value, at most."""
_TELL_EVERY = 200
_DEFAULT_LIMIT = 4 * MIB


@dataclass(frozen=True, slots=True)
class Unsent:
    """A line that was not published, and why."""

    number: int
    why: str


@dataclass(slots=True)
class Sent:
    """How far a sending has come: lines acknowledged by the broker, and lines refused.

    `stopped_at` is the first line that was never tried, because the broker stopped taking records or somebody
    interrupted; None where all were.
    """

    sent: int = 0
    failed: int = 0
    read: int = 0
    stopped_at: int | None = None


async def send(
    settings: EngineSettings,
    topic: str,
    lines: AsyncIterator[Line],
    *,
    rate: float | None,
    on_unsent: Callable[[Unsent], None],
    on_progress: Callable[[Sent], None],
    progress: Sent,
    key: SigningKey | None = None,
) -> None:
    """Publishes lines in order, each under its conversation_id if it has one, and signed with `key` if there is one.

    `progress` counts what has become of them, and is right however this ends: what had been handed over when it is
    cancelled is waited for. A line that the topic cannot take is reported and the rest goes on; when the broker stops
    taking records, the sending ends at `progress.stopped_at`.

    Raises:
        InstallationError: there is no such topic.
        BrokerError: the broker cannot be reached or refuses.
    """
    await require_topics(settings, [topic])
    limit = await _limit(settings, topic)
    async with producing(settings, "send") as producer:
        sending = _Sending(producer, topic, limit, on_unsent, progress, signs=key)
        pace = _Pace(rate)
        try:
            async for line in lines:
                progress.stopped_at = line.number
                await pace.wait()
                if not await sending.take(line):
                    return
                if line.number % _TELL_EVERY == 0 or rate is not None:
                    on_progress(progress)
        finally:
            await sending.settle()
            on_progress(progress)


async def _limit(settings: EngineSettings, topic: str) -> int:
    """The largest batch that the topic takes; the catalogue's default where the broker does not say it to producers."""
    with told_errors(settings):
        async with Admin(settings) as admin:
            configured = await admin.configurations([topic])
    return int(configured.get(topic, {}).get("max.message.bytes", _DEFAULT_LIMIT))


class _Sending:
    """Records on their way: a bounded number, acknowledged in the order in which they were sent."""

    def __init__(
        self,
        producer: Producer,
        topic: str,
        limit: int,
        on_unsent: Callable[[Unsent], None],
        progress: Sent,
        *,
        signs: SigningKey | None,
    ) -> None:
        self._producer, self._topic, self._limit = producer, topic, limit
        self._on_unsent, self._progress, self._signs = on_unsent, progress, signs
        self._waiting: deque[tuple[Line, asyncio.Future[Delivered]]] = deque()
        self._bytes = 0
        self._broken = False

    async def take(self, line: Line) -> bool:
        """Sends a line once there is room; False where the broker no longer takes records."""
        key = _key(line.value)
        headers = [] if self._signs is None else [(envelope.SIGNATURE, self._signs.message_signature(line.value))]
        in_headers = sum(len(name) + len(content) for name, content in headers)
        if len(line.value) + len(key or b"") + in_headers + _OVERHEAD_BYTES > self._limit:
            self._progress.stopped_at = None
            self._fail(line, f"{len(line.value)} bytes; a record of {self._topic} may have {self._limit}")
            return True
        while len(self._waiting) >= _IN_FLIGHT or (self._waiting and self._bytes + len(line.value) > _IN_FLIGHT_BYTES):
            await self._wait_for_oldest()
        if self._broken:
            return False
        try:
            async with asyncio.timeout(SILENT_S):
                delivery = await self._producer.send(self._topic, line.value, key, headers=headers)
        except (KafkaError, TimeoutError, AssertionError) as error:
            self._broken = True
            self._progress.stopped_at = None
            self._fail(line, _words(error))
            return True
        self._progress.stopped_at = None
        self._waiting.append((line, asyncio.ensure_future(delivery)))
        self._bytes += len(line.value)
        self._progress.read = line.read
        self._conclude()
        return True

    async def settle(self) -> None:
        """Waits for what is on its way."""
        while self._waiting:
            await self._wait_for_oldest()

    async def _wait_for_oldest(self) -> None:
        """A producer tries for ever: when nothing is acknowledged for SILENT_S, nothing more is sent.

        The delivery itself is not awaited, as it would be cancelled with us.
        """
        await asyncio.wait([self._waiting[0][1]], timeout=SILENT_S)
        if self._waiting[0][1].done():
            self._conclude()
            return
        self._broken = True
        while self._waiting:
            line, _ = self._waiting.popleft()
            self._fail(line, f"not acknowledged within {SILENT_S:.0f} s; it may have been published nevertheless")

    def _conclude(self) -> None:
        """Counts what has been answered, in the order in which it was sent."""
        while self._waiting and self._waiting[0][1].done():
            line, delivery = self._waiting.popleft()
            self._bytes -= len(line.value)
            error = delivery.exception()
            if error is None:
                self._progress.sent += 1
            else:
                self._broken = True  # the client's sequence numbers do not recover from a lost record
                self._fail(line, _words(error))

    def _fail(self, line: Line, why: str) -> None:
        self._progress.failed += 1
        self._on_unsent(Unsent(line.number, why))


class _Pace:
    """At most so many a second, evenly."""

    def __init__(self, rate: float | None) -> None:
        self._interval = None if rate is None else 1 / rate
        self._next = time.monotonic()

    async def wait(self) -> None:
        """Returns when the next one may go."""
        if self._interval is None:
            return
        self._next += self._interval
        late = self._next - time.monotonic()
        if late > 0:
            await asyncio.sleep(late)


def _key(value: bytes) -> bytes | None:
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    conversation = cast("dict[str, object]", document).get("conversation_id")
    return conversation.encode() if isinstance(conversation, str) else None


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
