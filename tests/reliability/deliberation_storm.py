"""Items by the hundred, good and bad votes on them, and deadlines, while everything under them fails in turn."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

from schemas import envelope, topics
from schemas.decision import Decision, Vote
from schemas.deliberation import DeliberationItem, DeliberationState, DeliberationVerdict
from schemas.policy import Policy
from streams import control, keys
from streams.agents.naming import Naming
from streams.embedded import EmbeddedKafka, EmbeddedSettings
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.installation import Installation
from tests.reliability.deliberation_proof import Proof
from tests.support.audited import assert_audited
from tests.support.broker import Broker, engine_settings
from tests.support.deliberated import registry
from tests.support.eventually import eventually
from tests.support.follower import Follower
from tests.support.kafka import header, producer, read_topics
from tests.support.lifetime import Lifetime, accounted
from tests.support.processes import Machine, ending, of_a_worker
from tests.support.product import UNKNOWN_TOOL, encoded
from tests.support.signing import decide, signed_anew

PREFIX = "held."
PARTITIONS = 3
AGENTS = (topics.GATEWAY_MESSAGES, topics.GATEWAY_DECISIONS, topics.TRIAGE, topics.DELIBERATOR)
PATIENCE = timedelta(seconds=180)
_LIVES_S = (2.0, 12.0)
"""How long a message may wait, at least and at most: some end while everything is down."""
_ONE_TOO_LATE_IN = 50
_AT_ONCE = 10
_PAUSE_S = 0.05


class DeliberationStorm(Lifetime):
    """An installation with workers `a` and `b`, a fleet that sends dangerous messages, and people who decide on them.

    An async context manager. What is done with an item follows from the seed and its bytes. `portion` of the messages
    are sent whenever something is waited for, so that few are left for no fault.
    """

    def __init__(self, folder: Path, *, items: int, portion: int, seed: int = 1) -> None:
        self._folder, self.items, self._portion = folder, items, portion
        self._admitted = asyncio.Semaphore(0)
        self.random = random.Random(seed)  # noqa: S311  # chooses faults, messages and votes
        self.kafka = EmbeddedKafka(EmbeddedSettings(folder / "kafka"))
        self.settings: EngineSettings
        self.machines: dict[str, Machine] = {}
        self.verdicts: dict[str, DeliberationState] = {}
        self._held: set[str] = set()
        self._refused: set[bytes | None] = set()
        self._sent = 0
        self._decided: asyncio.Queue[tuple[float, Decision]] = asyncio.Queue()
        self._doing: set[asyncio.Task[None]] = set()
        self._follower: Follower
        self._made: Any = None
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def _running(self) -> AsyncIterator["DeliberationStorm"]:
        await asyncio.to_thread(self.kafka.start)
        try:
            self.settings = engine_settings(Broker(self.kafka.bootstrap_servers), PREFIX, "storm")
            await Installation(self.settings, partitions=PARTITIONS, replication=1).create()
            await control.publish(self.settings, self.policy())
            self.machines = {name: self._machine(name) for name in "ab"}
            naming = Naming(PREFIX)
            followed = [naming.topic(topic) for topic in (topics.DELIBERATION, topics.VERDICTS, topics.REJECTED)]
            with ending(list(self.machines.values())):
                async with (
                    producer(self.settings, enable_idempotence=True, request_timeout_ms=120_000) as self._made,
                    Follower(self.settings, followed, self._take) as self._follower,
                ):
                    self._tasks = [asyncio.create_task(self._fleet())]
                    try:
                        with accounted(self.account):
                            yield self
                    finally:
                        for task in (*self._tasks, *self._doing):
                            task.cancel()
                        await asyncio.wait([*self._tasks, *self._doing])
        finally:
            await asyncio.to_thread(self.kafka.stop)

    @staticmethod
    def policy() -> Policy:
        """Nobody is held back by their number of items."""
        return registry(max_held_per_sender=1_000_000)

    # The fleet, and those who decide

    async def _fleet(self) -> None:
        """Sends the messages that are admitted, a few at a time; each expires after some seconds."""
        topic = Naming(PREFIX).topic(topics.IN_MESSAGES)
        for number in range(self.items):
            await self._admitted.acquire()
            life_s = self.random.uniform(*_LIVES_S) if number % _ONE_TOO_LATE_IN else 0.0
            expires_at = datetime.now(UTC) + timedelta(seconds=life_s)
            value = encoded(number, tool=UNKNOWN_TOOL, expires_at=expires_at.isoformat())
            await self._made.send_and_wait(topic, value, partition=number % PARTITIONS)
            self._sent += 1
            if number % _AT_ONCE == 0:
                await asyncio.sleep(_PAUSE_S)

    def _take(self, topic: str, record: Record) -> None:
        if topic.endswith(topics.VERDICTS):
            said = DeliberationVerdict.model_validate_json(record.value or b"")
            self.verdicts[said.item.item_id] = said.state
            return
        if topic.endswith(topics.REJECTED):
            self._note_refused(record)
            return
        told = header(record, envelope.ITEM)
        if told is not None:
            item = DeliberationItem.model_validate_json(told)
            self._held.add(item.item_id)
            task = asyncio.create_task(self._decide(item))
            self._doing.add(task)
            task.add_done_callback(self._doing.discard)

    def _note_refused(self, record: Record) -> None:
        """A message whose time is over before the broker has it is never held; so may be one that a fault delays."""
        source = header(record, envelope.SOURCE) or b""
        if source.startswith(Naming(PREFIX).topic(topics.IN_MESSAGES).encode()):
            self._refused.add(source)

    async def _decide(self, item: DeliberationItem) -> None:
        """Sends the votes on an item, some of them no votes at all, at moments up to after its deadline."""
        chance = random.Random(item.item_id)  # noqa: S311
        for decision in plan(item, chance):
            await asyncio.sleep(chance.choice((0, 0, 0.2, 1, 3)))
            await self._publish(decision)
            if chance.random() < 0.1:
                await self._publish(decision)

    async def _publish(self, decision: Decision) -> None:
        topic, key = Naming(PREFIX).topic(topics.IN_DECISIONS), decision.item_id.encode()
        await self._made.send_and_wait(topic, keys.encode(decision), key, crc32(key) % PARTITIONS)

    # Faults

    async def start(self) -> None:
        """Starts everything, and returns when items come to their ends."""
        for machine in self.machines.values():
            machine.start()
        await self._are_up(*self.machines)
        await self.flows()

    async def flows(self, more: int = 10) -> None:
        """Lets a portion be sent, and returns when so many more items have ended, or all have."""
        self._admit(self._portion)
        wanted = min(self.items, self._ended + more)
        await eventually(lambda: self._sound() and self._ended >= wanted, PATIENCE, self.account)

    async def crash(self, *names: str) -> None:
        """SIGKILL, and a new start at once."""
        for name in names:
            self.machines[name].kill()
        for name in names:
            self.machines[name].start()
        await self.flows()
        await self._are_up(*names)

    async def _are_up(self, *names: str) -> None:
        """Returns when each has lanes: a process that finds no broker as it begins ends, and this storm starts none."""
        up = [self.machines[name] for name in names]
        await eventually(
            lambda: self._sound() and all(m.has_said("lane is running") for m in up), PATIENCE, self.account
        )

    def _admit(self, count: int) -> None:
        for _ in range(count):
            self._admitted.release()

    async def make_a_zombie(self, name: str) -> None:
        """Stops it until the other has taken over, and lets it go on."""
        self.machines[name].freeze()
        await self.flows()
        self.machines[name].thaw()
        await self.flows()

    async def crash_the_broker(self) -> None:
        await asyncio.to_thread(self.kafka.kill)
        await asyncio.to_thread(self.kafka.restart)
        await self.flows()

    @property
    def is_over(self) -> bool:
        return self._sound() and self._ended == self.items

    @property
    def _ended(self) -> int:
        return len(self.verdicts) + len(self._refused)

    def _sound(self) -> bool:
        self._follower.raise_if_ended()
        for task in self._tasks:
            if task.done():
                task.result()
        ended = [machine.account() for machine in self.machines.values()]
        assert not any(ended), "\n".join(ended)
        return True

    # Proof

    async def end(self) -> None:
        """Lets every item come to its end and every vote be sent, and the processes stop in good order."""
        self._admit(self.items)
        await eventually(lambda: self.is_over and not self._doing, PATIENCE, self.account)
        await eventually(self._is_read, PATIENCE, self.account)
        await asyncio.gather(*(asyncio.to_thread(machine.stop) for machine in self.machines.values()))

    async def _is_read(self) -> bool:
        """Whether every decision that was sent is accounted for."""
        return not (await self._proof()).open_decisions()

    async def prove(self) -> Mapping[str, int]:
        """Reads everything back and proves it; returns how much there was of what."""
        proof = await self._proof()
        wrong = [*proof.wrongs()]
        assert not wrong, f"{len(wrong)} things are wrong:\n" + "\n".join(wrong[:30])
        await assert_audited(self.settings)
        return proof.figures()

    async def _proof(self) -> Proof:
        naming = Naming(PREFIX)
        read = await read_topics(self.settings, [naming.topic(topic.name) for topic in topics.catalogue()])
        return Proof(read, naming, PARTITIONS, self.policy())

    def account(self) -> str:
        """The state of things, for a failed storm."""
        said = [f"{m.name}: {p.last_words()}" for m in self.machines.values() for p in m.processes]
        counts = (
            f"{self._sent} sent, {len(self._refused)} too late, {len(self._held)} held, {len(self.verdicts)} ended, "
            f"{len(self._doing)} deciding"
        )
        return "\n".join([counts, *said])

    def _machine(self, name: str) -> Machine:
        environment = of_a_worker(self.kafka.bootstrap_servers, PREFIX, name)
        return Machine(name, [(["-m", "streams.worker_process", "--with-parent", *AGENTS], environment)], self._folder)


def plan(item: DeliberationItem, chance: random.Random) -> Sequence[Decision]:
    """Who says what of an item, in which order: enough, too little, a veto, or only what does not count."""
    good = [decide("lee", item), decide("sam", item)]
    bad = [
        decide("ola", item),
        decide("cal", item),
        signed_anew("sue", decide("sue", item), digest="0" * 64),
        signed_anew("sue", decide("sue", item), nonce="0" * 32),
        decide("sue", item).model_copy(update={"vote": Vote.VETO}),
        decide("stranger", item),
        decide("sue", item, relay="nowhere"),
    ]
    chosen = chance.choice(
        (good, good, good, good[:1], [], [good[0], decide("sue", item, Vote.VETO)], [*good[:1], decide("sue", item)])
    )
    mixed = [*chosen, *chance.sample(bad, chance.randint(0, 3))]
    chance.shuffle(mixed)
    return mixed
