"""Sagas by the thousand while everything under them fails in turn."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from schemas import topics
from schemas.workflow import WorkflowState
from streams import control
from streams.agents.naming import Naming
from streams.embedded import EmbeddedKafka, EmbeddedSettings
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.errors import StreamsError
from streams.installation import Installation
from tests.reliability.saga_board import Board
from tests.reliability.saga_proof import Proof
from tests.support.audited import assert_audited
from tests.support.broker import Broker, engine_settings
from tests.support.eventually import eventually
from tests.support.kafka import producer, read_topics
from tests.support.lifetime import Lifetime, accounted
from tests.support.orchestrated import workflow_policy
from tests.support.processes import Machine, ending, of_a_worker
from tests.support.saga_shapes import Saga, sagas
from tests.support.storm_activities import DO, FOLDER_VARIABLE, UNDO, World, nobody_writes
from tests.support.workflows import client_of

PREFIX = "sagas."
PARTITIONS = 3
AGENTS = (topics.GATEWAY_WORKFLOWS, topics.ORCHESTRATOR)
PATIENCE = timedelta(seconds=180)
_ECHOED = 0.1
"""The part of all answers that comes a second time, as from an outbox that never heard of the first."""
_ECHO_WITHIN_S = 3.0
_IN_MID_AIR = 5
_AGAIN_S = 0.2
_LONGER_THAN_A_COMMIT_S = 1.5


class SagaStorm(Lifetime):
    """An installation with lanes `a` and `b`, activity workers `x` and `y`, and customers. An async context manager.

    At most `at_once` sagas are open at a time. `portion` of them are admitted whenever something is waited for, so that
    few last for all faults; without it all are from the start.
    """

    def __init__(
        self, folder: Path, *, failing: int, succeeding: int, at_once: int, portion: int | None = None, seed: int = 1
    ) -> None:
        self._folder, self._at_once, self._portion = folder, at_once, portion
        self.sagas = sagas(failing, succeeding, seed)
        self.random = random.Random(seed)  # noqa: S311  # chooses faults
        self.kafka = EmbeddedKafka(EmbeddedSettings(folder / "kafka"))
        self.world = World(folder / "world")
        self.settings: EngineSettings
        self.board: Board
        self.lanes: dict[str, Machine] = {}
        self.workers: dict[str, Machine] = {}
        self._waiting = iter(self.sagas)
        self._begun = 0
        self._admitted = asyncio.Semaphore(0)
        self._left_to_admit = len(self.sagas)
        self._wrong: list[str] = []
        self._retried: list[str] = []
        self._client: Any = None
        self._echoes: asyncio.Queue[Record] = asyncio.Queue()
        self._echoing: set[asyncio.Task[None]] = set()
        self._echoed = self._heard = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._told = 0

    @asynccontextmanager
    async def _running(self) -> AsyncIterator["SagaStorm"]:
        await asyncio.to_thread(self.kafka.start)
        try:
            self.world.make()
            self.settings = engine_settings(Broker(self.kafka.bootstrap_servers), PREFIX, "storm")
            await Installation(self.settings, partitions=PARTITIONS, replication=1).create()
            await control.publish(self.settings, workflow_policy(1, DO, UNDO))
            self.lanes = {name: self._machine(name, self._lanes_command()) for name in "ab"}
            self.workers = {name: self._machine(name, self._worker_command()) for name in "xy"}
            with ending(self._machines):
                async with (
                    Board(self.settings, PARTITIONS, self._echoes.put_nowait) as self.board,
                    client_of(self.settings) as self._client,
                    producer(self.settings, enable_idempotence=True, request_timeout_ms=120_000) as echoing,
                ):
                    self._tasks = [asyncio.create_task(self._customer()) for _ in range(self._at_once)]
                    self._tasks.append(asyncio.create_task(self._echo(echoing)))
                    try:
                        with accounted(self.account):
                            yield self
                    finally:
                        for task in (*self._tasks, *self._echoing):
                            task.cancel()
                        await asyncio.wait([*self._tasks, *self._echoing])
        finally:
            self.world.close()
            await asyncio.to_thread(self.kafka.stop)

    # Load

    def _admit(self, count: int | None = None) -> None:
        """Lets so many more sagas begin; all that are left, if no number is given."""
        more = min(self._left_to_admit, self._left_to_admit if count is None else count)
        self._left_to_admit -= more
        for _ in range(more):
            self._admitted.release()

    @property
    def is_over(self) -> bool:
        """Whether every saga is closed, and its customer knows."""
        self._raise_if_ended()
        return self._told == len(self.sagas) and not self.board.open

    # Faults

    async def start(self) -> None:
        """Starts everything, and returns when sagas get ahead."""
        for machine in self._machines:
            machine.start()
        await self.flows()

    async def flows(self) -> None:
        """Returns when in every partition a saga that begins from now on gets ahead, or all admitted are closed."""
        first = self._begun
        self._admit(self._portion)
        await eventually(lambda: self._has_come_to(first), PATIENCE, self.account)

    async def crash(self, *machines: Machine) -> None:
        """SIGKILL, and a new start at once."""
        await self._mid_air()
        for machine in machines:
            machine.kill()
        for machine in machines:
            machine.start()
        await self.flows()

    async def crash_in_an_activity(self, worker: Machine) -> None:
        """The same to a worker that has been at something for longer than it takes to commit."""
        await eventually(lambda: self._is_long_at_something(worker) or self._is_idle, PATIENCE, self.account)
        await self.crash(worker)

    async def make_zombies(self, *machines: Machine) -> None:
        """Stops them until the others have taken over what they had, and lets them go on."""
        await self._mid_air()
        await asyncio.to_thread(self._freeze, machines)
        await self.flows()
        for machine in machines:
            machine.thaw()
        await self.flows()

    def _freeze(self, machines: Sequence[Machine]) -> None:
        with nobody_writes(self._folder / "world"):
            for machine in machines:
                machine.freeze()
            for process in (process for machine in machines for process in machine.processes):
                os.waitid(os.P_PID, process._process.pid, os.WSTOPPED)  # noqa: SLF001  # its threads go on for a moment

    async def crash_the_broker(self) -> None:
        await self._mid_air()
        await asyncio.to_thread(self.kafka.kill)
        await asyncio.to_thread(self.kafka.restart)
        await self.flows()

    async def _mid_air(self) -> None:
        """Returns when some sagas are on their way, or none is left to be."""
        await eventually(lambda: len(self.board.open) >= _IN_MID_AIR or self._is_idle, PATIENCE, self.account)

    def _is_long_at_something(self, worker: Machine) -> bool:
        long = self.board.unanswered_for(_LONGER_THAN_A_COMMIT_S)
        return any(self.world.last_tried_by(one.saga, one.node) == worker.name for one in long)

    def _has_come_to(self, first: int) -> bool:
        self._raise_if_ended()
        return all(newest >= first for newest in self.board.newest_answered) or self._is_idle

    def _raise_if_ended(self) -> None:
        """Raises if anything ended by itself."""
        self.board.raise_if_ended()
        for task in self._tasks:
            if task.done():
                task.result()
        ended = [machine.account() for machine in self._machines]
        assert not any(ended), "\n".join(ended)

    @property
    def _is_idle(self) -> bool:
        """Whether every saga that was admitted is closed."""
        return self.board.closed == len(self.sagas) - self._left_to_admit

    # Proof

    async def end(self) -> None:
        """Lets every saga come to its end, and the processes stop in good order."""
        self._admit()
        await eventually(lambda: self.is_over, PATIENCE * 10, self.account)
        await eventually(lambda: self._has_echoed_all and self.board.is_quiet, PATIENCE, self.account)
        await asyncio.gather(*(asyncio.to_thread(machine.stop) for machine in self._machines))

    @property
    def _has_echoed_all(self) -> bool:
        """Whether every answer that is to come a second time has come."""
        return self._echoes.empty() and not self._echoing and self._heard >= self._echoed

    async def prove(self) -> Mapping[str, int]:
        """Reads everything back and proves it; returns how much there was of what."""
        naming = Naming(PREFIX)
        read = await read_topics(self.settings, [naming.topic(topic.name) for topic in topics.catalogue()])
        proof = Proof(read, naming, PARTITIONS, self.world, {saga.workflow_id: saga for saga in self.sagas})
        wrong = [*self._wrong, *proof.wrongs()]
        shown = "\n".join(wrong[:30])
        assert not wrong, f"{len(wrong)} things are wrong:\n{shown}\n{proof.stories(wrong)}"
        await assert_audited(self.settings)
        return proof.figures()

    def account(self) -> str:
        """The state of things, for a failed storm."""
        ended = [machine.account() for machine in self._machines]
        said = [f"{m.name}: {p.last_words()}" for m in self._machines for p in m.processes]
        wrongs = [*self._wrong, *self.world.wrongs()][:10]
        return "\n".join(
            [self.board.account(), f"customers: {self._retried[-5:]}", *wrongs, *filter(None, ended), *said]
        )

    # The installation

    @property
    def _machines(self) -> list[Machine]:
        return [*self.lanes.values(), *self.workers.values()]

    def _machine(self, name: str, arguments: list[str]) -> Machine:
        environment = of_a_worker(self.kafka.bootstrap_servers, PREFIX, name)
        environment[FOLDER_VARIABLE] = str(self._folder / "world")
        return Machine(name, [(arguments, environment)], self._folder)

    def _lanes_command(self) -> list[str]:
        return ["-m", "streams.worker_process", "--with-parent", *AGENTS]

    def _worker_command(self) -> list[str]:
        return ["-m", "streams.cli.main", "worker", "tests.support.storm_activities", "--with-parent"]

    async def _customer(self) -> None:
        """Begins one saga after the other and waits for its end."""
        while True:
            await self._admitted.acquire()
            saga = next(self._waiting)
            self._begun = saga.number + 1
            state = await self._end_of(saga)
            self._told += 1
            if state is not saga.ends:
                self._wrong.append(f"{saga.workflow_id} is {state} to its customer, not {saga.ends}")

    async def _end_of(self, saga: Saga) -> WorkflowState:
        """What the client says. A start that may not have arrived is sent again: it is the same saga."""
        while True:
            try:
                handle = await self._client.start(saga.definition, saga.input, workflow_id=saga.workflow_id)
                state: WorkflowState = (await handle.result(PATIENCE * 10)).state
            except StreamsError as error:
                self._retried.append(f"{saga.workflow_id}: {error}")
                await asyncio.sleep(_AGAIN_S)
            else:
                return state

    async def _echo(self, made: Any) -> None:  # noqa: ANN401
        """Sends some answers once more a while after, byte for byte."""
        seen: set[bytes] = set()
        while True:
            record = await self._echoes.get()
            value = record.value or b""
            if value in seen:
                self._heard += 1
            elif self.random.random() < _ECHOED:
                seen.add(value)
                self._echoed += 1
                task = asyncio.create_task(self._send_later(made, record, self.random.uniform(0, _ECHO_WITHIN_S)))
                self._echoing.add(task)
                task.add_done_callback(self._echoing.discard)

    async def _send_later(self, made: Any, record: Record, seconds: float) -> None:  # noqa: ANN401
        await asyncio.sleep(seconds)
        await made.send_and_wait(record.topic, record.value, record.key, record.partition)
