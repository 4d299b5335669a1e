"""The health table: a view that folds breaker events into a row a service, on Faust.

It is no lane: nothing is decided here. Rows remember the place of the last event that they have seen, so events may
come twice; the table's changelog is the compacted topic `health` itself, so that what is restored is what readers read.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import faust
from faust.exceptions import NotReady
from faust.types.transports import ProducerT
from pydantic import ValidationError

from handlers.health import Place
from schemas import envelope, topics
from schemas.breaker import BreakerEvent
from schemas.health import SystemHealth
from streams.agents.naming import Naming
from streams.engine.client import EngineSettings
from streams.engine.worker import Health
from streams.errors import StreamsError
from streams.health.committed import CommittedTransport
from streams.health.rows import MAX_SERVICES, Folded, Rows
from streams.metrics import HealthMeasures

_log = logging.getLogger(__name__)

_APP = "fold"
"""Ends the name of the app, and so of its consumer group: `{prefix}health-table.fold`."""
_TICK = "acgs-tick"
"""The header of a tick's record."""
_TICK_EVERY_S = 1.0
_SYSTEM_KEY = b"system"
_MAX_ROW_BYTES = 4 * topics.MIB
"""What `health` takes. The largest row, 500 breakers with the longest names and reasons, has 3.1 MB as JSON."""
_LINGER_S = 0.015
_STOP_S = 15.0


class HealthTable:
    """Runs the fold until stop(). Its partitions are shared with the other processes that run it.

    Every second it appends a tick to each of its partitions of `breakers`: the log's own time, in the order of the log,
    at which rows whose breakers have fallen silent are written anew. So there is always something to read, and a
    partition of which nothing is read hangs.

    `is_critical` says what the policy in force says of a service. `on_tick` is called with the log's time at each tick
    of the first partition: whoever owns that writes the system's row, with write_system().
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        partitions: int,
        folder: Path,
        is_critical: Callable[[str], bool],
        on_tick: Callable[[int], None],
        measures: HealthMeasures,
    ) -> None:
        naming = Naming(settings.prefix)
        self._settings, self._partitions, self._on_tick, self._measures = settings, partitions, on_tick, measures
        self._breakers = naming.topic(topics.BREAKERS)
        monitor = _Unsent(self._not_sent)
        app: Any = _app(settings, f"{naming.topic(topics.HEALTH_TABLE)}.{_APP}", partitions, folder, monitor)
        self._app = app
        app.transport = CommittedTransport(app.conf.broker_consumer, app, self._begin_at)
        self._source = _raw_topic(app, self._breakers, partitions, acks=False)  # rows say where it stands
        self._system = _raw_topic(app, naming.topic(topics.SYSTEM_HEALTH), 1)
        changelog = _raw_topic(app, naming.topic(topics.HEALTH), partitions, acks=False, internal=True)
        table: Any = app.Table(
            topics.HEALTH,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            changelog_topic=changelog,
        )
        self._rows = Rows(table, is_critical)
        self._stale: set[str] = set()
        self._unsent: BaseException | None = None
        self._has_left_out = False
        self._read_at: dict[int, float] = {}
        self._rebalancing_since: float | None = None
        self._beat = time.monotonic()
        self._stopping = asyncio.Event()
        self._is_ending = False
        app.agent(self._source, name="fold")(self._fold)
        app.on_partitions_revoked.connect(self._revoked)
        app.on_partitions_assigned.connect(self._assigned)

    async def run(self) -> None:
        """Runs until stop(). On return it has left its group.

        Raises:
            TableStuckError: Faust neither starts nor stops within its deadline: only the end of the process helps.
            StreamsError: Faust has given up, or makes no progress: the process is to be started anew.
        """
        self._app.finalize()
        watching: asyncio.Task[None] | None = None
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await _within(self._settings.stall_after.total_seconds(), self._app.start(), "start")
            watching = asyncio.create_task(self._watch())
            await asyncio.wait([watching, stopping], return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
        finally:
            self._is_ending = True
            for task in (watching, stopping):
                if task is not None:
                    task.cancel()
            await _within(_STOP_S, self._app.stop(), "stop")

    def stop(self) -> None:
        """Ends run()."""
        self._stopping.set()

    def liveness(self) -> Health:
        """Fails when nothing is read of a partition, a rebalance does not end, or the event loop stands still."""
        why, now = list[str](), time.monotonic()
        limit = self._settings.stall_after.total_seconds()
        why += [
            f"partition {partition} of {self._breakers} has not been read for {now - at:.0f} s"
            for partition, at in self._read_at.items()
            if now - at > limit
        ]
        if self._rebalancing_since is not None and now - self._rebalancing_since > limit:
            why.append(f"a rebalance, or the recovery after it, goes on for {now - self._rebalancing_since:.0f} s")
        if now - self._beat > limit:
            why.append(f"the event loop has not run for {now - self._beat:.0f} s")
        return Health(not why, tuple(why))

    def readiness(self) -> Health:
        """Fails until it has its partitions, with their rows."""
        is_ready = self._rebalancing_since is None and self._app.started and not self._app.rebalancing
        return Health(ok=is_ready, why=() if is_ready else ("the table is being restored",))

    @property
    def writes_system(self) -> bool:
        """Whether the system's row is this process's to write: it owns the first partition."""
        return 0 in self._read_at and self._rebalancing_since is None and not self._is_ending

    async def write_system(self, row: SystemHealth) -> None:
        """Writes the system's row, unless the table ends meanwhile."""
        try:
            await self._system.send(key=_SYSTEM_KEY, value=row.model_dump_json().encode(), partition=0)
        except NotReady:
            if not self._is_ending:
                raise

    def is_stale(self, service: str) -> None:
        """The topic has an older row of the service after its last one: that is written again with the next tick."""
        self._stale.add(service)

    # What is read

    async def _fold(self, stream: Any) -> None:  # noqa: ANN401  # a StreamT, whose events have no types
        async for event in stream.events():
            message = event.message
            place, now_ms = Place(message.partition, message.offset), round(message.timestamp * 1_000)
            headers: Mapping[str, bytes] = dict(message.headers or ())
            if place.partition in self._read_at:
                self._read_at[place.partition] = time.monotonic()
            try:
                if envelope.SOURCE in headers:
                    self._take(event.value, place, now_ms)
                elif _TICK in headers:
                    await self._tick(place.partition, now_ms)
                else:
                    self._unreadable(place, "it has passed no gateway")
            except ValidationError as error:
                self._unreadable(place, str(error))
            except Exception:  # noqa: BLE001  # an agent that raises skips the event without a word, in Faust
                _log.exception("%s/%d/%d could not be folded", self._breakers, place.partition, place.offset)
                self._measures.unreadable()

    def _take(self, value: bytes | None, place: Place, now_ms: int) -> None:
        folded = self._rows.fold(BreakerEvent.model_validate_json(value or b""), place, now_ms)
        self._measures.folded(folded)
        if folded is Folded.LEFT_OUT and not self._has_left_out:
            self._has_left_out = True
            _log.error("%d services are known: further ones are counted, not taken", MAX_SERVICES)

    async def _tick(self, partition: int, now_ms: int) -> None:
        if not self._rows.has_index(partition):
            for _ in self._rows.index(partition):
                await asyncio.sleep(0)
        for service in [one for one in self._stale if self._is_in(partition, one)]:
            self._stale.discard(service)
            self._rows.write_again(service)
        self._measures.aged(self._rows.age(partition, now_ms))
        if partition == 0:
            self._on_tick(now_ms)

    def _is_in(self, partition: int, service: str) -> bool:
        return self._rows.partition_of(service) in {partition, None}

    def _unreadable(self, place: Place, why: str) -> None:
        """It stays where it is on `breakers`, for whoever looks."""
        _log.error("%s/%d/%d is no breaker event: %s", self._breakers, place.partition, place.offset, why)
        self._measures.unreadable()

    def _not_sent(self, error: BaseException) -> None:
        self._unsent = self._unsent or error

    # Its partitions

    def _begin_at(self, topic: str, partition: int) -> int | None:
        """What rows have seen need not be read again; nothing is committed."""
        if topic != self._breakers:
            return None
        self._rows.forget_index()
        return self._rows.next_offset(partition)

    async def _revoked(self, *_: object, **__: object) -> None:
        self._rebalancing_since = self._rebalancing_since or time.monotonic()
        self._read_at.clear()

    async def _assigned(self, *_: object, **__: object) -> None:
        self._rebalancing_since = self._rebalancing_since or time.monotonic()

    # Its sign of life

    async def _watch(self) -> None:
        """Once a second: a tick for each partition, and whether Faust still runs.

        Raises:
            StreamsError: it does not, or makes no progress.
        """
        while True:
            self._beat = time.monotonic()
            if self._unsent is not None:
                raise StreamsError(f"a row could not be written: {self._unsent!r}") from self._unsent
            if self._app.crashed:
                raise StreamsError(f"the health table ended: {self._app.crash_reason!r}") from self._app.crash_reason
            health = self.liveness()
            if not health.ok:
                raise StreamsError(f"the health table makes no progress: {'; '.join(health.why)}")
            await self._send_ticks()
            await asyncio.sleep(_TICK_EVERY_S)

    async def _send_ticks(self) -> None:
        if self._app.rebalancing or self._app.tables.recovery.in_recovery:
            return
        self._rebalancing_since = None
        owned = {one.partition for one in self._app.consumer.assignment() if one.topic == self._breakers}
        for partition in owned:
            self._read_at.setdefault(partition, time.monotonic())
            await self._source.send(key=None, value=b"{}", partition=partition, headers={_TICK: b"1"})


class TableStuckError(StreamsError):
    """Faust does not do in time what it was told. Its threads may wait for ever: end the process."""


async def _within(seconds: float, doing: Awaitable[None], what: str) -> None:
    try:
        async with asyncio.timeout(seconds):
            await doing
    except TimeoutError as error:
        raise TableStuckError(f"the health table did not {what} within {seconds:.0f} s") from error


def _counted_by_nobody(*_: object, **__: object) -> None:
    """What Faust tells of each record, a tenth of what a row costs."""


class _Unsent(faust.Monitor):
    """Tells of a record that could not be written, which Faust only logs. Stands in for Faust's own statistics."""

    def __init__(self, told: Callable[[BaseException], None]) -> None:
        cast("Any", super()).__init__()
        self._told = told

    def on_send_error(self, producer: ProducerT, exc: BaseException, state: object) -> None:
        """Called by Faust."""
        del producer, state
        self._told(exc)

    on_message_in: Any = _counted_by_nobody
    on_message_out: Any = _counted_by_nobody
    on_stream_event_in: Any = _counted_by_nobody
    on_stream_event_out: Any = _counted_by_nobody
    on_table_get: Any = _counted_by_nobody
    on_table_set: Any = _counted_by_nobody
    on_table_del: Any = _counted_by_nobody
    on_send_initiated: Any = _counted_by_nobody
    on_send_completed: Any = _counted_by_nobody


def _app(settings: EngineSettings, name: str, partitions: int, folder: Path, monitor: faust.Monitor) -> faust.App:
    session_s = settings.session_timeout.total_seconds()
    return faust.App(
        name,
        broker=[f"kafka://{server}" for server in settings.bootstrap_servers.split(",")],
        broker_credentials=_credentials(settings.security),
        broker_client_id=f"{settings.client_id}-{topics.HEALTH_TABLE}",
        broker_session_timeout=session_s,
        broker_rebalance_timeout=session_s,
        broker_heartbeat_interval=settings.heartbeat.total_seconds(),
        consumer_auto_offset_reset="earliest",
        producer_linger=_LINGER_S,
        producer_max_request_size=_MAX_ROW_BYTES,
        stream_wait_empty=False,
        topic_partitions=partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
        datadir=str(folder),
        monitor=monitor,
    )


def _raw_topic(app: Any, name: str, partitions: int, **options: Any) -> Any:  # noqa: ANN401  # Faust's own are generic
    return app.topic(
        name,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        partitions=partitions,
        allow_empty=True,
        **options,
    )


def _credentials(security: Mapping[str, object]) -> Any:  # noqa: ANN401  # one of Faust's classes, or none
    """TLS and SASL as Faust takes them."""
    context, mechanism = cast("Any", security.get("ssl_context")), security.get("sasl_mechanism")
    if mechanism is not None:
        return faust.SASLCredentials(
            username=cast("str", security["sasl_plain_username"]),
            password=cast("str", security["sasl_plain_password"]),
            mechanism=cast("str", mechanism),
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)
