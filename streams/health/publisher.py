"""`BreakerPublisher`: tells Kafka what a process's circuit breakers do, without their callers noticing."""

import asyncio
import atexit
import logging
import os
import socket
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self
from zlib import crc32

import orjson

from schemas import topics
from schemas.breaker import BreakerEvent, BreakerEventKind, BreakerState
from streams.agents.naming import Naming
from streams.engine import client
from streams.engine.client import EngineSettings, Producer
from streams.health.aggregator import DONE, Done
from streams.health.listening import Heard, name_of, understood
from streams.health.outgoing import Counts, Outgoing, Told

_log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.02
"""How long a change may wait before it is sent. A caller that woke the sender would pay for a system call."""
_AT_ONCE: Final = 1_000
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 15.0
_BEATS_PER_TTL: Final = 3


class BreakerPublisher:
    """Publishes every change of every breaker that it is told of, and signs of life in between, to `in.breakers`.

    Calls may come from any thread, with or without an event loop, from a signal handler and in a forked child; they
    never raise and wait for nothing, whether Kafka is there or not. A thread of its own sends, at least once. While
    Kafka is away at most `most_waiting` changes are kept one by one; beyond that, those of one breaker are told
    together, with how many they were. No change is lost while the process lives.

    `service` is what the breakers guard calls to. What is said holds for `ttl`; signs of life come three times as
    often. Use it as a context manager, or close() it: its breakers then say good-bye, so that nobody waits for them. At
    the end of the interpreter that happens by itself.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        service: str,
        constitutional_hash: str,
        ttl: timedelta = timedelta(seconds=30),
        most_waiting: int = 10_000,
    ) -> None:
        """Sends nothing yet.

        Raises:
            ValueError: the service's name or `ttl` is not as the contract of breaker events says.
        """
        self._settings, self._service, self._hash = settings, service, constitutional_hash
        self._ttl_s = max(1, int(ttl.total_seconds()))
        self._instance = _instance()
        self._topic = Naming(settings.prefix).topic(topics.IN_BREAKERS)
        self._outgoing = Outgoing(most_waiting)
        self._unsent: Sequence[Told] = ()
        self._often: list[Callable[[], None]] = [self._outgoing.sort]
        self._published = 0
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        sample = Told("sample", BreakerEventKind.HEARTBEAT, BreakerState.CLOSED, 0, 0.0)
        BreakerEvent.model_validate_json(self._encoded(sample))

    def __enter__(self) -> Self:
        """Starts to send. Returns at once: Kafka may come later."""
        self._begin()
        atexit.register(self.close)
        own: weakref.ref[BreakerPublisher] = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _begin_anew(own))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self, within: timedelta = timedelta(seconds=5)) -> None:
        """Lets the breakers say good-bye and ends. What cannot be sent in time is given up, and logged."""
        atexit.unregister(self.close)
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._outgoing.retire_all()
        self._closing.set()
        thread.join(within.total_seconds())
        if thread.is_alive():
            _log.warning("breakers of %s could not say good-bye: Kafka does not take it", self._service)

    def on_circuit_state_change(self, circuit_name: str, new_state: str, *, reason: str | None = None) -> Done:
        """Notes a breaker's state, to be sent; `await` of what it returns is over at once.

        It never raises: what is no state of a breaker, or no name, is logged once and counted in `refused`.
        """
        try:
            self.tell(understood(circuit_name, new_state, reason, time.time()))
        except Exception as error:  # noqa: BLE001  # it is called in the middle of somebody's call, with anything
            if self._outgoing.refuse():
                _log.warning("a change of a circuit was not understood: %s; further ones are counted", error)
        return DONE

    def tell(self, heard: Heard) -> None:
        """Notes a breaker's state that was understood already, to be sent."""
        self._outgoing.change(heard)

    def often(self, work: Callable[[], None]) -> None:
        """Does some more in its thread, every 20 ms, until it is closed. `work` must not raise."""
        self._often.append(work)

    def remove(self, circuit_name: str) -> None:
        """A breaker is no more: it says good-bye."""
        name = name_of(circuit_name)
        if name is not None:
            self._outgoing.retire(name)

    @property
    def counts(self) -> Counts:
        """What has become of events so far."""
        return self._outgoing.counts(self._published)

    def _begin(self) -> None:
        self._closing.clear()
        self._thread = threading.Thread(target=self._run, name=f"breakers of {self._service}", daemon=True)
        self._thread.start()

    def begin_anew(self) -> None:
        """In a child that was forked: it is a process of its own, and tells of its breakers by itself."""
        if self._thread is not None:
            self._instance, self._closing, self._unsent = _instance(), threading.Event(), ()
            self._outgoing.tell_all()
            self._begin()

    # In the thread that sends

    def _run(self) -> None:
        asyncio.run(self._send_until_closed())

    async def _send_until_closed(self) -> None:
        pause_s = _FIRST_PAUSE_S
        beside = [asyncio.create_task(self._beat()), asyncio.create_task(self._sort())]
        try:
            while True:
                try:
                    await self._connected()
                except Exception as error:  # noqa: BLE001  # the client raises assertions and bare errors as well
                    _log.warning("breaker events of %s wait: %r", self._service, error)
                    if self._closing.is_set():
                        return
                    await self._pause(pause_s)
                    pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
                else:
                    return
        finally:
            for task in beside:
                task.cancel()

    async def _connected(self) -> None:
        """Sends until everything is sent and it closes, or the connection fails."""
        producer = client.plain_producer(self._settings, "breakers")
        try:
            async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
                await producer.start()
            while True:
                is_closing = self._closing.is_set()
                await self._send_unsent(producer)
                self._unsent = self._outgoing.take()
                await self._send_unsent(producer)
                if is_closing:
                    return
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            await client.abandon(producer)

    async def _send_unsent(self, producer: Producer) -> None:
        while self._unsent:
            await self._send(producer, self._unsent[:_AT_ONCE])
            self._unsent = self._unsent[_AT_ONCE:]

    async def _send(self, producer: Producer, told: Sequence[Told]) -> None:
        """Sends events, and returns once the broker has them. Sent again, they are the same: their sequence says so."""
        key = self._service.encode()
        partition = crc32(key) % len(await producer.partitions_for(self._topic))
        async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
            sent = [await producer.send(self._topic, self._encoded(one), key, partition) for one in told]
            for delivery in sent:
                await delivery
        self._published += len(told)

    def _encoded(self, told: Told) -> bytes:
        return orjson.dumps(
            {
                "v": 1,
                "event_id": str(uuid.uuid4()),
                "kind": told.kind,
                "service": self._service,
                "breaker": told.breaker,
                "instance": self._instance,
                "sequence": told.sequence,
                "state": told.state,
                "reason": told.reason or None,
                "at": datetime.fromtimestamp(told.at_s, UTC).isoformat(timespec="milliseconds"),
                "ttl_s": self._ttl_s,
                "changes": told.changes,
                "constitutional_hash": self._hash,
            }
        )

    async def _beat(self) -> None:
        every_s = self._ttl_s / _BEATS_PER_TTL
        while True:
            await asyncio.sleep(every_s)
            self._outgoing.signs_of_life(every_s / 2)

    async def _sort(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for work in self._often:
                work()

    async def _pause(self, seconds: float) -> None:
        for _ in range(int(seconds / _LOOK_EVERY_S)):
            if self._closing.is_set():
                return
            await asyncio.sleep(_LOOK_EVERY_S)


def _instance() -> str:
    """A name that no start of any process has had."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _begin_anew(own: "weakref.ref[BreakerPublisher]") -> None:
    publisher = own()
    if publisher is not None:
        publisher.begin_anew()
