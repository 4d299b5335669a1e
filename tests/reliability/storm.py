"""An installation under steady load while everything fails in turn, and the proof that it lost and doubled nothing."""

import asyncio
import os
import random
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

from schemas import envelope, topics
from streams import control
from streams.agents.naming import Naming
from streams.audit.findings import Open
from streams.embedded import EmbeddedKafka, EmbeddedSettings
from streams.engine.admin import Admin
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.engine.restore import restore
from streams.engine.turn import TIMER
from tests.support.audited import assert_audited
from tests.support.broker import Broker, engine_settings
from tests.support.eventually import eventually
from tests.support.groups import delete_group
from tests.support.kafka import header, install, producer, read_topics
from tests.support.ledger import Ledger, source_of
from tests.support.lifetime import Lifetime, accounted
from tests.support.processes import Machine, ending, of_a_worker
from tests.support.product import UNKNOWN_TOOL, encoded, install_product, policy
from tests.support.raw import write_raw
from tests.support.trail import in_order, position_of, source_partition, turns, verify_lane
from tests.support.windowed_counter import HUGE, NAME, POISON, Names, fold, said_counts, windowed_counter
from tests.support.windowed_counter import rules as rules_of

PREFIX = "storm."
WINDOW_MS = 5_000
KEYS = 20
LOW_LIMIT = "2500"
LARGE = "x" * 4_000
PRODUCT_AGENTS = (topics.GATEWAY_MESSAGES, topics.TRIAGE)
BAD = (b"{", b"\xff\xfe", b"[]", encoded(0, constitutional_hash="f" * 16), encoded(0, nonsense=1), b"")
PARTITIONS = 3
REFUSED = "a failed turn is settled: never_happened"
"""What a lane says of a turn that the broker refused; a zombie's late turn is `superseded`."""
IN_DOUBT = ("lane is renewing", "a turn is still open")
PATIENCE = timedelta(seconds=120)
_PACE_S = 0.05


class Storm(Lifetime):
    """The installation: a broker of its own, machines, load, and a ledger. An async context manager."""

    def __init__(self, folder: Path, *, rate: int, seed: int = 1) -> None:
        self._folder, self._rate = folder, rate
        self.kafka = EmbeddedKafka(EmbeddedSettings(folder / "kafka"))
        self.random = random.Random(seed)  # noqa: S311  # chooses faults
        self.settings: EngineSettings
        self.naming, self.names = Naming(PREFIX), Names(PREFIX)
        self.machines: dict[str, Machine] = {}
        self.ledger: Ledger
        self.sent = 0
        self._epoch = 1

    @asynccontextmanager
    async def _running(self) -> AsyncIterator["Storm"]:
        await asyncio.to_thread(self.kafka.start)
        try:
            self.settings = engine_settings(Broker(self.kafka.bootstrap_servers), PREFIX, "storm")
            await install_product(self.settings, PARTITIONS)
            await install(self.settings, windowed_counter(PREFIX), PARTITIONS)
            await self._publish_rules()
            self.machines = {name: self._machine(name) for name in ("a", "b", "c")}
            with ending(list(self.machines.values())):
                async with Ledger(self.settings, **self._topics) as self.ledger:
                    load = asyncio.create_task(self._load())
                    try:
                        with accounted(self.account):
                            yield self
                    finally:
                        load.cancel()
                        await asyncio.wait([load])
        finally:
            await asyncio.to_thread(self.kafka.stop)

    # Faults

    async def start(self, *names: str) -> None:
        """Starts machines and returns when everything flows."""
        for name in names:
            self.machines[name].start()
        await self.flows()

    async def flows(self) -> None:
        """Returns when records written from now on have all been decided on."""
        await self.ledger.caught_up()
        ended = [machine.account() for machine in self.machines.values()]
        assert not any(ended), "\n".join(ended)

    async def crash(self, name: str) -> None:
        """SIGKILL, and a new start at once."""
        self.machines[name].kill()
        self.machines[name].start()
        await self.flows()

    async def make_a_zombie(self, name: str) -> None:
        """Stops a machine until the others have taken over all of its lanes, and lets it go on."""
        self.machines[name].freeze()
        await self.flows()
        self.machines[name].thaw()
        await self.flows()

    async def crash_the_broker(self) -> None:
        await asyncio.to_thread(self.kafka.kill)
        await asyncio.to_thread(self.kafka.restart)
        await self.flows()

    async def freeze_the_broker(self) -> None:
        """Stops the broker where it stands until turns have failed, and lets it finish what it had begun.

        What a producer had asked for when it gave up, a commit among it, happens after the lane went to ask what became
        of its turn.
        """
        before = self._turns_in_doubt()
        brokers = [process.process.pid for process in self.kafka._started().processes.values()]  # noqa: SLF001
        for pid in brokers:
            os.kill(pid, signal.SIGSTOP)
        try:
            await eventually(lambda: self._turns_in_doubt() >= before + 3, PATIENCE)
        finally:
            for pid in brokers:
                os.kill(pid, signal.SIGCONT)
        await self.flows()

    async def rebalance(self, name: str) -> None:
        """Another machine joins in the middle of the load, and leaves again."""
        joining = self.machines[name]
        joining.start()
        await eventually(lambda: joining.has_said("lane is running"), PATIENCE, joining.account)
        await self.flows()
        await asyncio.to_thread(joining.stop)
        await self.flows()

    async def refuse_outputs(self) -> int:
        """Lowers the limit of deliveries below what some messages need, until one is buried for it.

        Each lane that meets the new limit fails one turn: another producer forgets what the last one stumbled over.
        A lane that has looked up the limit since it was lowered fails none. Returns how many turns failed.
        """
        (topic,) = [one for one in topics.catalogue() if one.name == topics.DELIVERIES]
        buried = self.naming.own(topics.TRIAGE).dead_letters
        before = self.ledger.by_topic[buried]
        refused_before = self._times_said(REFUSED)
        async with Admin(self.settings) as admin:
            as_declared = topic.configuration(1)
            full = self.naming.topic(topic.name)
            await admin.set_configuration(full, {**as_declared, "max.message.bytes": LOW_LIMIT})
            await eventually(lambda: self.ledger.by_topic[buried] > before, PATIENCE, self.ledger.account)
            await self.flows()
            await admin.set_configuration(full, as_declared)
        refused = self._times_said(REFUSED) - refused_before
        assert refused <= PARTITIONS, f"{refused} turns failed: a refused output costs each lane one, no more"
        return refused

    async def change_the_policy(self) -> None:
        self._epoch += 1
        await control.publish(self.settings, policy(self._epoch))
        await self._publish_rules()
        await self.flows()

    async def send_the_unreadable(self) -> None:
        """A record that Kafka's client cannot read, in the middle of others."""
        batch = [(None, encoded(n), [(b"\xff", b"1")] if n == 1 else []) for n in range(3)]
        await write_raw(self.settings, self.naming.topic(topics.IN_MESSAGES), 0, batch)
        await self.flows()

    async def stop_everything_and_forget_the_groups(self, *start_again: str) -> None:
        """All workers end in good order, group offsets are deleted, and others start."""
        running = [machine for machine in self.machines.values() if machine.runs]
        await asyncio.gather(*(asyncio.to_thread(machine.stop) for machine in running))
        await self.state_equals_the_fold()
        for agent in (*PRODUCT_AGENTS, NAME):
            await delete_group(self.settings, self.settings.group(agent))
        await self.start(*start_again)

    def _turns_in_doubt(self) -> int:
        return sum(map(self._times_said, IN_DOUBT))

    def _times_said(self, words: str) -> int:
        return sum(machine.times_said(words) for machine in self.machines.values())

    # Proof

    async def end(self) -> None:
        """Stops the load, lets everything drain and every window close, and ends the workers in good order."""
        self._rate = 0
        await self.ledger.ended_everything()
        echoes = self.names.echoes
        await eventually(lambda: self.ledger.counted == self.ledger.by_topic[echoes], PATIENCE, self.ledger.account)
        for machine in self.machines.values():
            await asyncio.to_thread(machine.stop)

    async def state_equals_the_fold(self) -> None:
        """The example agent's rows are what a fold over its inbox, computed apart, comes to, less what was closed."""
        agent = windowed_counter(PREFIX, WINDOW_MS)
        audit = self.names.own.audit
        read = await read_topics(self.settings, [*agent.inputs, self.names.counts, audit])
        for lane in range(PARTITIONS):
            state = (await restore(agent, lane, self.settings, lambda: None)).state
            trail = turns(read, audit, NAME, lane)
            assert state.position is not None
            assert state.position.offsets == position_of(trail)
            said = said_counts(read[self.names.counts][lane])
            open_windows = fold(in_order(read, trail, lane), WINDOW_MS).counts
            for window, count in said:
                assert open_windows.pop(window) == count, f"window {window} of lane {lane}"
            stored = {(s.row.key, s.row.opens_ms): s.row.count for s in state.rows.values()}
            assert stored == dict(open_windows)

    async def prove(self) -> Counter[str]:
        """Reads everything back and proves it; returns how many inputs ended on each topic."""
        read = await read_topics(self.settings, self._every_topic())
        ended = self._each_input_ended_once(read)
        self._order_is_kept(read)
        self._the_trail_accounts_for_all(read)
        await self.state_equals_the_fold()
        lowered = {Open.OTHER_LIMITS}  # see refuse_outputs()
        await assert_audited(self.settings, windowed_counter(PREFIX, WINDOW_MS), may_say=lowered)
        return ended

    def account(self) -> str:
        """The state of things, for a failed storm."""
        ended = [machine.account() for machine in self.machines.values()]
        tails = [f"{m.name}: {p.last_words()}" for m in self.machines.values() for p in m.processes]
        return "\n".join([self.ledger.account(), *filter(None, ended), *tails])

    def _each_input_ended_once(self, read: dict[str, dict[int, list[Record]]]) -> Counter[str]:
        inputs = Counter(
            f"{topic}/{r.partition}/{r.offset}"
            for topic in self._topics["inputs"]
            for records in read[topic].values()
            for r in records
            if not any(name == TIMER for name, _ in r.headers)
        )
        ends: Counter[str] = Counter()
        by_topic: Counter[str] = Counter()
        for topic in self._topics["ends"]:
            for records in read[topic].values():
                found = [source_of(record) or "nowhere" for record in records]
                ends.update(found)
                by_topic[topic.removeprefix(PREFIX)] += len(found)
        missing, doubled = list((inputs - ends).elements()), list((ends - inputs).elements())
        assert not missing, f"{len(missing)} inputs are missing: {missing[:10]}"
        assert not doubled, f"{len(doubled)} outcomes too many: {doubled[:10]}"
        return by_topic

    def _order_is_kept(self, read: dict[str, dict[int, list[Record]]]) -> None:
        """Within a partition, what was sent of one conversation stands in the order sent; so do echoes of one key."""
        for topic in (topics.DELIVERIES, topics.DELIBERATION):
            for records in read[self.naming.topic(topic)].values():
                by_conversation: dict[bytes | None, list[int]] = defaultdict(list)
                for record in records:
                    source = envelope.decode_source(header(record, envelope.SOURCE) or b"")
                    by_conversation[header(record, "conversation")].append(source.offset)
                by_conversation.pop(None, None)  # was not sent by the load
                assert all(offsets == sorted(offsets) for offsets in by_conversation.values()), topic
        by_counter_key: dict[bytes | None, list[int]] = defaultdict(list)
        for records in read[self.names.echoes].values():
            for record in records:
                by_counter_key[record.key].append(int(record.value or b""))
        assert all(values == sorted(values) for values in by_counter_key.values())

    def _the_trail_accounts_for_all(self, read: dict[str, dict[int, list[Record]]]) -> None:
        audit, messages = self.naming.topic(topics.AUDIT), self.naming.topic(topics.MESSAGES)
        inside = {header(r, envelope.SOURCE): r.partition for records in read[messages].values() for r in records}

        def lane_of_triage(record: Record) -> int:
            return inside[header(record, envelope.SOURCE)]

        outputs = {
            topics.GATEWAY_MESSAGES: [messages, self.naming.topic(topics.REJECTED)],
            topics.TRIAGE: [self.naming.topic(topics.DELIVERIES), self.naming.topic(topics.DELIBERATION)],
            NAME: [self.names.echoes, self.names.counts],
        }
        inboxes = {
            topics.GATEWAY_MESSAGES: self.naming.topic(topics.IN_MESSAGES),
            topics.TRIAGE: messages,
            NAME: self.names.inbox,
        }
        for agent, written in outputs.items():
            own = self.naming.own(agent).dead_letters
            for lane in range(PARTITIONS):
                trail = verify_lane(
                    read,
                    audit,
                    agent,
                    lane,
                    outputs=[*written, own],
                    inbox_timers=self.names.inbox,
                    lane_of=lane_of_triage if agent == topics.TRIAGE else source_partition,
                    changelog=self.names.own.changelog if agent == NAME else None,
                )
                inbox = inboxes[agent]
                last = read[inbox][lane][-1].offset
                assert position_of(trail)[inbox] > last, f"{agent}/{lane} has not handled all of {inbox}"
                epochs = [turn.epoch or 0 for turn in trail]
                assert epochs == sorted(epochs)

    # The installation

    @property
    def _topics(self) -> dict[str, Any]:
        ends = [
            *(self.naming.topic(name) for name in (topics.DELIVERIES, topics.DELIBERATION, topics.REJECTED)),
            *(self.naming.own(agent).dead_letters for agent in PRODUCT_AGENTS),
            self.names.echoes,
            self.names.own.dead_letters,
        ]
        inputs = [self.naming.topic(topics.IN_MESSAGES), self.names.inbox]
        return {"inputs": inputs, "ends": ends, "counts": self.names.counts}

    def _every_topic(self) -> set[str]:
        agent = windowed_counter(PREFIX)
        catalogue = {self.naming.topic(topic.name) for topic in topics.catalogue()}
        return catalogue | {*agent.inputs, *agent.written} - {self.naming.topic(topics.LANES)}

    def _machine(self, name: str) -> Machine:
        servers = self.kafka.bootstrap_servers
        product = of_a_worker(servers, PREFIX, name)
        commands = [
            (["-m", "streams.worker_process", "--with-parent", *PRODUCT_AGENTS], product),
            (["-m", "tests.support.counter_process", servers, PREFIX, name, str(WINDOW_MS)], {}),
        ]
        return Machine(name, commands, self._folder)

    async def _publish_rules(self) -> None:
        async with producer(self.settings) as made:
            for partition in range(PARTITIONS):
                await made.send_and_wait(self.names.rules, rules_of(self._epoch), b"rules", partition)

    async def _load(self) -> None:
        """Writes good and bad records at a steady pace, as a producer that gives the broker two minutes."""
        async with producer(self.settings, enable_idempotence=True, request_timeout_ms=120_000) as made:
            while True:
                for _ in range(int(self._rate * _PACE_S)):
                    await self._send_one(made)
                await asyncio.sleep(_PACE_S)

    async def _send_one(self, made: Any) -> None:  # noqa: ANN401
        number = self.sent
        self.sent += 1
        conversation = str(number % 7)
        value = self._message(number, conversation)
        public = self.naming.topic(topics.IN_MESSAGES)
        headers = [("conversation", conversation.encode())]
        await made.send(public, value, b"", number % 7 % PARTITIONS, headers=headers)
        value = POISON if number % 37 == 5 else HUGE if number % 211 == 7 else str(number).encode()
        key = f"k{number % KEYS}".encode()
        await made.send(self.names.inbox, value, key, crc32(key) % PARTITIONS)  # where what is said of the key goes too

    def _message(self, number: int, conversation: str) -> bytes | None:
        if number % 17 == 3:
            return BAD[number // 17 % len(BAD)] or None
        extra: dict[str, Any] = {"metadata": {"fill": LARGE}} if number % 40 == 11 else {}
        if number % 10 == 5:
            extra["tool"] = UNKNOWN_TOOL
        return encoded(number, from_agent=f"agent {conversation}", **extra)
