"""What every client of agents stands on: records go to public topics, and answers and refusals come back on others."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

from schemas import envelope, topics
from schemas.effects import Headers
from streams.agents.naming import Naming
from streams.broker import told_errors
from streams.engine import client
from streams.engine.client import EngineSettings, Producer
from streams.engine.records import Record
from streams.errors import StreamsError
from streams.following import Follower
from streams.refusals import Refusals

ANSWER_WITHIN = timedelta(seconds=30)
"""How long clients wait for agents, where they are not told otherwise."""

Answer = TypeVar("Answer")


class UnansweredError(Exception):
    """Nobody has answered in time. `written` says whether the broker has acknowledged the record."""

    def __init__(self, *, written: bool) -> None:
        super().__init__()
        self.written = written


class Line:
    """One connection for any number of questions at a time. Enter it before use; it belongs to one event loop.

    `hears` says who takes the records of which topic, from now on, or from their start for those in `whole`. `failed`
    is told once if nothing more can be heard; `failure` says why. Leaving it closes every connection.
    """

    def __init__(
        self,
        settings: EngineSettings,
        name: str,
        *,
        refusals: Sequence[Refusals],
        hears: Mapping[str, Callable[[Record], None]],
        failed: Callable[[StreamsError], None],
        whole: Collection[str] = (),
    ) -> None:
        self._settings, self._name, self._failed, self._whole = settings, name, failed, whole
        self._refusals = {one.topic: one for one in refusals}
        self._take_from = {**hears, Naming(settings.prefix).topic(topics.REJECTED): self._take_refused}
        self._producer: Producer | None = None
        self._follower: Follower | None = None
        self._entered = AsyncExitStack()
        self.failure: StreamsError | None = None

    async def __aenter__(self) -> Self:
        """Connects.

        Raises:
            InstallationError: a topic is missing.
            BrokerError: the broker cannot be reached or refuses.
        """
        async with AsyncExitStack() as entering:
            follower = Follower(self._settings, list(self._take_from), self._take, self.fail, whole=self._whole)
            entering.push_async_callback(follower.stop)
            producer = client.plain_producer(self._settings, self._name)
            entering.push_async_callback(client.abandon, producer)
            with told_errors(self._settings):
                async with asyncio.timeout(self._settings.turn_timeout.total_seconds()):
                    await producer.start()
            await follower.start()
            self._producer, self._follower, self._entered = producer, follower, entering.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._entered.aclose()

    @property
    def has_caught_up(self) -> bool:
        """Whether all has been heard that was on the topics in `whole`."""
        return self._opened(self._follower).caught_up.is_set()

    def raise_failure(self) -> None:
        """Raises what keeps it from hearing anything more, if something does."""
        if self.failure is not None:
            raise self.failure

    def fail(self, failure: StreamsError) -> None:
        """From now on it is of no use."""
        self.failure = failure
        self._failed(failure)

    async def ask(
        self,
        topic: str,
        key: bytes,
        value: bytes,
        answer: "asyncio.Future[Answer]",
        *,
        headers: Headers = (),
        within: timedelta,
    ) -> Answer:
        """Publishes a record on a topic that is listened to for refusals, and waits for what `answer` is told.

        Records of one key keep their order.

        Raises:
            UnansweredError: nobody has in that time.
            StreamsError: the record was refused, or what the answer was told instead.
            BrokerError: the broker cannot be reached or refuses.
        """
        self.raise_failure()
        producer, written = self._opened(self._producer), None
        try:
            async with asyncio.timeout(within.total_seconds()):
                with told_errors(self._settings):
                    written = await producer.send_and_wait(topic, value, key, headers=list(headers) or None)
                source = envelope.encode_source(topic, written.partition, written.offset)
                with self._refusals[topic].expecting(source, answer):
                    return await answer
        except TimeoutError:
            raise UnansweredError(written=written is not None) from None

    def _opened(self, part: Answer | None) -> Answer:
        if part is None:
            raise RuntimeError("the client is not open: async with ... as client")
        return part

    def _take(self, record: Record) -> None:
        self._take_from[record.topic](record)

    def _take_refused(self, record: Record) -> None:
        for refusals in self._refusals.values():
            refusals.take(record)


def end(answer: "asyncio.Future[Answer]") -> None:
    """Nobody waits for it any more: an error that came too late is not complained about."""
    if not answer.cancel() and not answer.cancelled():
        answer.exception()
