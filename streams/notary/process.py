"""The notary's process: follows `audit`, and signs what is new every so many seconds.

`python -m streams.notary.process`: a Supervisor starts it; it ends when its parent does.
"""

import argparse
import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from prometheus_client import CollectorRegistry

from schemas import topics
from streams import logs
from streams.agents.naming import Naming
from streams.broker import reading, require_topics, told_errors
from streams.engine import client
from streams.engine.admin import Admin
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.engine.worker import Health
from streams.errors import BrokerError, StreamsError
from streams.following import Follower
from streams.metrics import NotaryMeasures
from streams.notary import settings as notary_settings
from streams.notary.chain import by_id
from streams.notary.checkpoint_file import CheckpointFile
from streams.notary.contact import Contact
from streams.notary.delivery import Delivery
from streams.notary.errors import FileRefusedError, HistoryRefusedError, RefusedError, UnusableFileError
from streams.notary.settings import NotarySettings
from streams.notary.signing import Notary, Origin
from streams.serving import serve
from streams.settings import Settings, load

_log = logging.getLogger(__name__)

REFUSED: Final = 3
"""The exit status of a notary that refuses: starting it again does not help."""

UNUSABLE: Final = 4
"""The exit status of a notary whose file can never be used: starting it again does not help."""

_LOOK_S: Final = 0.5
_ASK_EVERY_S: Final = 2.0


class NotaryProcess:
    """A notary with its file, its webhook and the topic it follows. It writes nothing to Kafka and has no group."""

    def __init__(self, settings: EngineSettings, own: NotarySettings, registry: CollectorRegistry) -> None:
        """Reads the key.

        Raises:
            SettingsError: no key or no file is set.
            KeyFileError: the key cannot be read.
        """
        self._settings, self._own, self._measures = settings, own, NotaryMeasures(registry)
        self._key, self._path = own.key(), own.checkpoints()
        self._topic = Naming(settings.prefix).topic(topics.AUDIT)
        self._notary: Notary | None = None
        self._delivery: Delivery | None = None
        self._failure: StreamsError | None = None
        self._is_ready, self._is_held_up = False, False
        self._contact = Contact(settings.turn_timeout)
        self._stopping, self._told = asyncio.Event(), asyncio.Event()
        self._looked = time.monotonic()
        self._measures.watch(
            lambda: self._notary.unsigned if self._notary else 0,
            lambda: self._delivery.waiting if self._delivery else 0,
            lambda: self._notary.last.number if self._notary and self._notary.last else 0,
        )

    async def run(self) -> None:
        """Signs until stop(), and what is new then.

        Raises:
            FileRefusedError: the file is not what was signed.
            HistoryRefusedError: the trail is not. Until `linger_s` has passed or it is stopped, it can still be asked
                for its metrics.
            UnusableFileError: the file can never be used.
            StreamsError: the file, the broker or the topic does not let it go on.
        """
        try:
            async with AsyncExitStack() as entered:
                file = await self._opened(entered)
                await self._follow(entered, file)
        except FileRefusedError as error:
            _log.critical("%s", error)
            raise
        except HistoryRefusedError as error:
            self._failure = error
            self._measures.refused()
            _log.critical("%s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._own.linger_s)
            raise

    def stop(self) -> None:
        """Ends run()."""
        self._stopping.set()
        self._told.set()

    def liveness(self) -> Health:
        """Fails when it refuses, or has not looked for what is new for `stall_after` beyond its time."""
        if isinstance(self._failure, RefusedError):
            return Health(ok=False, why=(str(self._failure),))
        silent = time.monotonic() - self._looked
        if self._is_ready and silent > self._own.every_s + self._settings.stall_after.total_seconds():
            return Health(ok=False, why=(f"it has not looked for what is new for {silent:.0f} s",))
        return Health(ok=True, why=())

    def readiness(self) -> Health:
        """Fails until all that was on the topic at the start has been read and is what was signed.

        And while the broker has not answered, or not given what it has, for `turn_timeout`.
        """
        if self._failure is not None:
            return Health(ok=False, why=(str(self._failure),))
        if not self._is_ready:
            return Health(ok=False, why=("the trail is being read, and held to what was signed",))
        if self._contact.is_lost:
            return Health(ok=False, why=(self._contact.words,))
        return Health(ok=True, why=())

    # The parts

    async def _opened(self, entered: AsyncExitStack) -> CheckpointFile:
        """The file, verified; what is in it that the webhook has not taken will be delivered."""
        keys = by_id([self._key.public_key, *self._own.public_keys])
        if self._own.webhook_url is None:
            file = CheckpointFile(self._path, keys)
        else:
            self._delivery = Delivery(self._own.webhook_url, self._own.webhook_token, self._path, self._measures)
            file = CheckpointFile(self._path, keys, self._delivery.note)
        await asyncio.to_thread(file.__enter__)
        entered.push(file)
        if self._delivery is not None:
            self._delivery.require_all()
            await entered.enter_async_context(_beside(self._delivery.run(), _tell_end))
        _log.info("checkpoints go to %s, by key %s", self._path, self._key.id)
        return file

    async def _follow(self, entered: AsyncExitStack, file: CheckpointFile) -> None:
        counts = await require_topics(self._settings, [self._topic])
        origin = Origin(self._settings.prefix, await self._cluster_id())
        notary = self._notary = Notary(self._key, origin, counts[self._topic], file.last)
        await self._require_beginning()
        follower = Follower(self._settings, [self._topic], self._take, self._fail, whole=frozenset({self._topic}))
        entered.push_async_callback(follower.stop)
        await follower.start()
        self._contact = Contact(self._settings.turn_timeout)  # the file may have taken long, and was no outage
        await entered.enter_async_context(_beside(self._stay_in_contact(follower)))
        await self._first_of(follower.caught_up)
        if not self._told.is_set():
            notary.require_all()
            self._is_ready = True
            _log.info("the trail is what was signed: %d records, %d of them new", notary.trees.size, notary.unsigned)
        while not self._told.is_set():
            await self._sign(notary, file)
            self._looked = time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), self._own.every_s)
        if self._failure is not None:
            raise self._failure
        if self._is_ready:
            await self._sign(notary, file)

    async def _sign(self, notary: Notary, file: CheckpointFile) -> None:
        if not notary.unsigned or not await self._has_beginning():
            return
        made = notary.next()
        if made is None or self._failure is not None:
            return
        end = await asyncio.to_thread(file.append, made)
        notary.keep(made)
        self._measures.signed()
        if self._delivery is not None:
            self._delivery.note(made, end)

    def _take(self, record: Record) -> None:
        """The next record of the topic. It must not raise: its caller has nobody to tell."""
        if self._notary is None or self._failure is not None:
            return
        try:
            seen = self._notary.read(record.partition, record.key, record.value)
        except HistoryRefusedError as error:
            self._fail(error)
            return
        if seen is None or not seen.continues:
            self._measures.broken()
            place = record.topic, record.partition, record.offset
            _log.error("the record at %s/%d/%d continues no lane's chain", *place)

    def _fail(self, error: StreamsError) -> None:
        self._failure = self._failure or error
        self._told.set()

    async def _first_of(self, event: asyncio.Event) -> None:
        """Waits for an event, or for the end."""
        while not event.is_set() and not self._told.is_set():
            self._looked = time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), _LOOK_S)

    # What the broker is asked

    async def _stay_in_contact(self, follower: Follower) -> None:
        """Asks again and again, whether there is something to sign or not."""
        within = self._settings.turn_timeout.total_seconds()
        while True:
            try:
                async with asyncio.timeout(within):
                    await (follower.seen() if follower.caught_up.is_set() else follower.ends())
            except TimeoutError:
                self._contact.missed()
            except BrokerError as error:
                self._contact.missed(str(error))
            else:
                self._contact.heard()
            await asyncio.sleep(_ASK_EVERY_S)

    async def _cluster_id(self) -> str:
        with told_errors(self._settings):
            async with asyncio.timeout(self._settings.turn_timeout.total_seconds()), Admin(self._settings) as admin:
                return await admin.cluster_id()

    async def _has_beginning(self) -> bool:
        """Whether the topic still begins where it did; False, too, while the broker does not say.

        Raises:
            HistoryRefusedError: it does not.
        """
        try:
            await self._require_beginning()
        except BrokerError as error:
            if not self._is_held_up:
                _log.warning("nothing is signed for now: %s", error)
            self._is_held_up = True
            return False
        self._is_held_up = False
        return True

    async def _require_beginning(self) -> None:
        """That nothing was deleted: the trail is kept for ever.

        Raises:
            HistoryRefusedError: records were deleted.
            BrokerError: the broker cannot be asked.
        """
        partitions = self._notary.trees.partitions if self._notary else 0
        asked = [client.topic_partition(self._topic, number) for number in range(partitions)]
        async with reading(self._settings) as consumer, asyncio.timeout(self._settings.turn_timeout.total_seconds()):
            begins = await consumer.beginning_offsets(asked)
        for place, begin in sorted(begins.items()):
            if begin:
                raise HistoryRefusedError(
                    f"{place.topic}/{place.partition} begins at offset {begin}: records of the trail were deleted, "
                    "which is to be kept for ever (retention.ms=-1). Nothing more is signed. If that was meant, begin "
                    "another installation: what is gone can never be proven again"
                )


@asynccontextmanager
async def _beside(
    doing: Coroutine[Any, Any, None], ended: Callable[["asyncio.Task[None]"], object] = lambda _: None
) -> AsyncGenerator[None, None]:
    """Does something in the background until the block ends; `ended` is told if it ends before."""
    task = asyncio.create_task(doing)
    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _tell_end(delivering: "asyncio.Task[None]") -> None:
    """Says why nothing is delivered any more: signing goes on, and a restart delivers the rest."""
    if not delivering.cancelled() and (error := delivering.exception()) is not None:
        _log.error("nothing is delivered to the webhook until the next start: %s", error)


async def _run(options: argparse.Namespace, settings: Settings, own: NotarySettings) -> None:
    registry = CollectorRegistry()
    client_id = f"{settings.worker_id or socket.gethostname()}-notary"
    await serve(
        NotaryProcess(settings.engine(client_id=client_id), own, registry),
        registry,
        name="notary",
        metrics=(settings.metrics_host, settings.metrics_port),
        with_parent=options.with_parent,
        clients_words=False,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM, SIGINT or the end of the parent; returns REFUSED, UNUSABLE, 1 or 0."""
    parser = argparse.ArgumentParser(prog="python -m streams.notary.process", description=__doc__)
    parser.add_argument("--with-parent", action="store_true", help="end when standard input does")
    options = parser.parse_args(arguments)
    logs.configure(clients_words=False)
    try:
        asyncio.run(_run(options, load(), notary_settings.load()))
    except RefusedError:
        return REFUSED
    except UnusableFileError as error:
        _log.critical("%s", error)
        return UNUSABLE
    except StreamsError as error:
        _log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
