"""Lanes and activity workers as processes, a client, and the world that the activities change."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

from schemas import topics
from schemas.workflow import WorkflowEvent, WorkflowState, WorkflowStatus
from streams.agents.naming import Naming
from streams.engine.client import EngineSettings
from streams.workflows import WorkflowClient, WorkflowHandle
from tests.support.eventually import eventually
from tests.support.kafka import read_topic
from tests.support.lifetime import accounted
from tests.support.processes import Process, of_a_worker
from tests.support.product import PARTITIONS
from tests.support.saga import definition, node
from tests.support.scenario_activities import NAMES, SHIP
from tests.support.storm_activities import FOLDER_VARIABLE, World
from tests.support.workflows import client_of, install

_ACTIVITIES = "tests.support.scenario_activities"


class Scene:
    """What one scenario has: nothing runs before it is started."""

    def __init__(self, settings: EngineSettings, folder: Path, client: WorkflowClient) -> None:
        self.settings, self.client, self.folder = settings, client, folder
        self.naming = Naming(settings.prefix)
        self.world = World(folder / "world")
        self._processes: list[Process] = []

    def lanes(self, name: str = "lanes") -> Process:
        agents = (topics.GATEWAY_WORKFLOWS, topics.ORCHESTRATOR)
        return self._process(name, ["-m", "streams.worker_process", "--with-parent", *agents])

    def worker(self, name: str = "worker", activities: str = _ACTIVITIES) -> Process:
        return self._process(
            name, ["-m", "streams.cli.main", "worker", activities, "--drain-timeout", "1", "--with-parent"]
        )

    def worker_of(self, listed: str, name: str) -> Process:
        """One that serves a list of the module's only."""
        return self.worker(name, f"{_ACTIVITIES}:{listed}")

    async def until_commands_are_read(self) -> None:
        """Returns when lanes and workers have run a workflow in each partition."""
        ids = {crc32(id_.encode()) % PARTITIONS: id_ for id_ in map(str, range(20))}
        for id_ in ids.values():
            shipping = definition(node("ship", activity=SHIP, undo=False))
            handle = await self.client.start(shipping, {}, workflow_id=id_)
            await self.until(handle, state=WorkflowState.COMPLETED)

    async def until_told(self, workflow_id: str, what: str) -> None:
        """Returns when the world has been told that of a workflow, as its story says it."""
        await eventually(
            lambda: any(line.startswith(what) for line in self.world.story(workflow_id)), account=self.account
        )

    async def until(self, handle: WorkflowHandle, **fields: Any) -> WorkflowStatus:  # noqa: ANN401
        """The first status that has those values."""

        async def found() -> WorkflowStatus | None:
            status = await handle.status()
            return status if all(getattr(status, name) == value for name, value in fields.items()) else None

        status: WorkflowStatus = await eventually(found, account=self.account)
        return status

    async def events(self, workflow_id: str) -> list[WorkflowEvent]:
        """What has happened to a workflow so far."""
        records = await read_topic(self.settings, self.naming.topic(topics.WORKFLOW_EVENTS))
        own = [record for record in records if record.key == workflow_id.encode()]
        return [WorkflowEvent.model_validate_json(record.value or b"") for record in own]

    async def until_event(self, workflow_id: str, **fields: Any) -> WorkflowEvent:  # noqa: ANN401
        """The first event that has those values."""

        async def found() -> WorkflowEvent | None:
            told = await self.events(workflow_id)
            return next((e for e in told if all(getattr(e, name) == value for name, value in fields.items())), None)

        event: WorkflowEvent = await eventually(found, account=self.account)
        return event

    def standing(self) -> list[tuple[str, str]]:
        """Effects that have happened and were not undone: workflow and node."""
        assert self.world.wrongs() == []
        return sorted((effect.workflow, effect.node) for effect in self.world.effects() if effect.stands)

    def account(self) -> str:
        return "\n".join(
            f"{process.log.name}, code {process.code}: {process.last_words()}" for process in self._processes
        )

    def end(self) -> None:
        for process in self._processes:
            process.kill()
        self.world.close()

    def _process(self, name: str, arguments: Sequence[str]) -> Process:
        environment = of_a_worker(self.settings.bootstrap_servers, self.settings.prefix, name)
        environment[FOLDER_VARIABLE] = str(self.folder / "world")
        process = Process(arguments, environment, self.folder / f"{name}.log")
        self._processes.append(process)
        return process


@asynccontextmanager
async def scene(settings: EngineSettings, folder: Path) -> AsyncIterator[Scene]:
    """One whose processes are all gone in the end."""
    await install(settings, *NAMES)
    async with client_of(settings) as client:
        made = Scene(settings, folder, client)
        made.world.make()
        try:
            with accounted(made.account):
                yield made
        finally:
            made.end()
