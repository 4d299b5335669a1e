"""How workflows stand, as the topic of statuses says: followed from now on, and looked up where that began too late."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from pydantic import ValidationError

from schemas import topics
from schemas.workflow import WorkflowStatus
from streams.agents.naming import Naming
from streams.broker import records_of, require_topics
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.errors import StreamsError
from streams.following import Follower
from streams.places import partition_of
from streams.workflows.errors import WorkflowUnknownError


class Watch:
    """The newest status of one workflow that has been seen.

    `is_complete` says that none was written before what has been seen, `is_missing` that there was none at all.
    """

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = workflow_id
        self.latest: WorkflowStatus | None = None
        self.is_complete = self.is_missing = False
        self._offset = -1
        self._waiting: list[asyncio.Future[None]] = []
        self._failure: StreamsError | None = None

    def take(self, record: Record) -> None:
        """Takes a status; one that is older than what has been seen changes nothing. A tombstone ends the workflow."""
        if record.offset <= self._offset:
            return
        try:
            latest = None if record.value is None else WorkflowStatus.model_validate_json(record.value)
        except ValidationError:
            return  # of another version of this program
        self._offset, self.latest, self.is_complete, self.is_missing = record.offset, latest, True, latest is None
        self._wake()

    def expect(self) -> None:
        """A workflow of this id has begun: its first status is on its way, if it is not here."""
        self.is_complete, self.is_missing = True, False

    def look_ended(self) -> None:
        """Everything that was written before the watch began has been taken."""
        if not self.is_complete:
            self.is_complete = self.is_missing = True
            self._wake()

    def fail(self, failure: StreamsError) -> None:
        """Nothing more will come: all who wait, now or later, are told."""
        self._failure = failure
        self._wake()

    async def until(self, wanted: Callable[[WorkflowStatus], bool]) -> WorkflowStatus:
        """The first newest status that is wanted, at once if it is there.

        Raises:
            WorkflowUnknownError: there is no such workflow, or it has been forgotten meanwhile.
            BrokerError: nothing more can be read.
        """
        while True:
            if self.latest is not None and wanted(self.latest):
                return self.latest
            if self._failure is not None:
                raise self._failure
            if self.is_missing:
                raise WorkflowUnknownError(self.workflow_id)
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    def _wake(self) -> None:
        woken, self._waiting = self._waiting, []
        for waiting in woken:
            if not waiting.done():
                waiting.set_result(None)


class Watches:
    """Every watch that somebody still holds. Statuses of other workflows cost a look into a dictionary."""

    def __init__(self, settings: EngineSettings, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self._watches: WeakValueDictionary[bytes, Watch] = WeakValueDictionary()
        self._wanted: dict[bytes, Watch] = {}
        self._looking = asyncio.Lock()
        self._failure: StreamsError | None = None

    def of(self, workflow_id: str) -> Watch:
        """The watch of a workflow, which is told of what comes from now on, for as long as somebody holds it."""
        key = workflow_id.encode()
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = Watch(workflow_id)
            if self._failure is not None:
                watch.fail(self._failure)
        return watch

    def take(self, record: Record) -> None:
        """Takes a record of the topic."""
        watch = None if record.key is None else self._watches.get(record.key)
        if watch is not None:
            watch.take(record)

    def fail(self, failure: StreamsError) -> None:
        """Nothing more will come."""
        self._failure = failure
        for watch in list(self._watches.values()):
            watch.fail(failure)

    async def complete(self, watch: Watch) -> None:
        """Looks up what was written before the watch began, once. All who ask at the same time share one reading.

        Raises:
            BrokerError: the broker cannot be reached or refuses.
        """
        if watch.is_complete:
            return
        self._wanted[watch.workflow_id.encode()] = watch
        async with self._looking:
            if not watch.is_complete:
                await self._look({watch.workflow_id.encode(): watch, **self._wanted})

    async def _look(self, wanted: dict[bytes, Watch]) -> None:
        self._wanted = {}
        partitions = (await require_topics(self._settings, [self._topic]))[self._topic]
        places = {partition_of(self._topic, watch.workflow_id, partitions).partition for watch in wanted.values()}
        async for record in records_of(self._settings, self._topic, sorted(places)):
            watch = None if record.key is None else wanted.get(record.key)
            if watch is not None:
                watch.take(record)
        for watch in wanted.values():
            watch.look_ended()


@asynccontextmanager
async def watching(settings: EngineSettings, workflow_id: str) -> AsyncGenerator[Watch, None]:
    """A watch that is kept up to date within the block, for those who only look.

    Raises:
        WorkflowUnknownError: there is no workflow of this id.
        InstallationError: there is no topic of statuses.
        BrokerError: the broker cannot be reached or refuses.
    """
    topic = Naming(settings.prefix).topic(topics.WORKFLOW_STATUS)
    watches = Watches(settings, topic)
    watch = watches.of(workflow_id)
    follower = Follower(settings, [topic], watches.take, watches.fail)
    try:
        await follower.start()
        await watches.complete(watch)
        await watch.until(lambda _: True)
        yield watch
    finally:
        await follower.stop()
