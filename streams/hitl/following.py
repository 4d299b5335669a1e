"""What the process knows of the log while it runs: statuses, the policy, and a client for decisions."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from schemas import topics
from streams.agents.naming import Naming
from streams.approvals import ApprovalClient
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.errors import StreamsError
from streams.following import Follower
from streams.hitl.policy import Office
from streams.hitl.statuses import Statuses


@dataclass(frozen=True, slots=True)
class Followed:
    """What is followed. `failure` raises what keeps it from being followed any further, once something does."""

    statuses: Statuses
    policy: Office
    client: ApprovalClient
    failure: asyncio.Future[None]

    def fail(self, error: StreamsError) -> None:
        """It is of no use any more: everything is to be followed anew."""
        if not self.failure.done():
            self.failure.set_exception(error)


@asynccontextmanager
async def following(settings: EngineSettings) -> AsyncGenerator[Followed, None]:
    """Follows the topics of statuses and policies from their start. All that was there before has been read on entry.

    Raises:
        InstallationError: a topic is missing.
        BrokerError: the broker cannot be reached or refuses.
    """
    naming = Naming(settings.prefix)
    status, control = naming.topic(topics.DELIBERATION_STATUS), naming.topic(topics.CONTROL)
    statuses, policy = Statuses(), Office()
    failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    followed = Followed(statuses, policy, ApprovalClient(settings), failure)

    def take(record: Record) -> None:
        (policy.take if record.topic == control else statuses.take)(record)

    async with AsyncExitStack() as entered:
        entered.callback(_let_go, failure)
        follower = Follower(settings, [status, control], take, followed.fail, whole=frozenset({status, control}))
        entered.push_async_callback(follower.stop)
        await follower.start()
        await entered.enter_async_context(followed.client)
        await _first(follower.caught_up, failure)
        yield followed


async def _first(caught_up: asyncio.Event, failure: asyncio.Future[None]) -> None:
    waiting: asyncio.Future[Any] = asyncio.create_task(caught_up.wait())
    either: list[asyncio.Future[Any]] = [waiting, failure]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if failure.done():
        failure.result()


def _let_go(failure: asyncio.Future[None]) -> None:
    """Else a failure that nobody has asked for is complained about."""
    if not failure.cancel() and not failure.cancelled():
        failure.exception()
