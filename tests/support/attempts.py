"""Attempts at activities without Kafka, and the commands for them."""

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any

from compensation.activity_set import collect
from schemas.activity import ActivityCommand, Direction
from schemas.policy import Policy, published
from streams.activities.attempt import Attempt
from streams.activities.calling import Answer, Surroundings
from streams.activities.disturbance import UNDISTURBED, CallDisturbance
from streams.activities.generations import Generations
from streams.claims import ClaimStore
from tests.support.product import HASH, policy

MINUTE_MS = 60_000


def command(activity: str, number: int = 0, **changes: Any) -> ActivityCommand:  # noqa: ANN401
    """A command as the orchestrator sends it, that may begin for a minute from now on."""
    given: dict[str, Any] = {
        "workflow_id": f"order-{number}",
        "run": uuid.uuid4().hex,
        "node": "node",
        "direction": Direction.DO,
        "round": 0,
        "attempt": 1,
        "token": uuid.uuid4().hex,
        "activity": activity,
        "queue": "default",
        "tenant_id": "acme",
        "constitutional_hash": HASH,
        "not_after": int(time.time() * 1000) + MINUTE_MS,
        "start_to_close_ms": MINUTE_MS,
        "idempotency_key": f"key-{number}",
        "effect_key": f"effect-{number}",
        "input": {"n": number},
        **changes,
    }
    return ActivityCommand(**given)


class Runner:
    """Runs attempts at some activities, and keeps what is said of them."""

    def __init__(
        self,
        *activities: object,
        document: Policy | None = None,
        claims: ClaimStore | None = None,
        disturbance: CallDisturbance = UNDISTURBED,
    ) -> None:
        self.answer: Answer | None = None
        self.is_answered, self.is_over = asyncio.Event(), asyncio.Event()
        self.heartbeats: list[bytes | None] = []
        self._surroundings = Surroundings(
            collect(*activities),
            Generations(published((document or policy()).canonical())),
            claims,
            lambda _, details: self.heartbeats.append(details),
            disturbance,
        )

    def start(self, wanted: ActivityCommand, *, may_have_begun: bool = False) -> Attempt:
        return Attempt(wanted, 0, self._surroundings, self, may_have_begun=may_have_begun)

    async def run(
        self,
        wanted: ActivityCommand,
        meanwhile: Callable[[Attempt], object] = lambda _: None,
        *,
        may_have_begun: bool = False,
    ) -> Answer | None:
        """The answer to a command."""
        meanwhile(self.start(wanted, may_have_begun=may_have_begun))
        async with asyncio.timeout(30):
            await self.is_over.wait()
        return self.answer

    def answered(self, attempt: Attempt, answer: Answer | None) -> None:
        del attempt
        assert not self.is_answered.is_set(), "answered twice"
        self.answer = answer
        self.is_answered.set()

    def ended(self, attempt: Attempt) -> None:
        del attempt
        assert self.is_answered.is_set(), "ended without a word"
        self.is_over.set()
