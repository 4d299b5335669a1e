"""The client of operators who order chaos."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Generator
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from handlers.chaos.admitting import KEY
from schemas import topics
from schemas.chaos import EVERYTHING, ChaosState, ChaosStatus, EmergencyStop
from streams.agents.naming import Naming
from streams.asking import ANSWER_WITHIN, Line, UnansweredError, end
from streams.chaos import commands
from streams.chaos.commands import Operator, Prepared
from streams.chaos.errors import ChaosError, ChaosRefusedError, not_recorded, not_taken, not_written
from streams.chaos.scenario import ChaosScenario
from streams.chaos.statuses import Statuses
from streams.engine.client import EngineSettings
from streams.engine.records import Record
from streams.errors import StreamsError
from streams.refusals import Refusals

_Answer = asyncio.Future[Any]


class ChaosClient:
    """Brings scenarios into force, and ends them. Enter it before use.

    Every command is signed by `operator`. One that nobody takes in `answer_within` raises ChaosTimeoutError.

    Belongs to one event loop. It follows the topics of chaos and of refusals, in no consumer group. Leaving it closes
    every connection; what is in force stays so until its end.
    """

    def __init__(
        self, settings: EngineSettings, operator: Operator, *, answer_within: timedelta = ANSWER_WITHIN
    ) -> None:
        naming = Naming(settings.prefix)
        self._settings, self._operator, self._answer_within = settings, operator, answer_within
        self._inbox, self._chaos = naming.topic(topics.IN_CHAOS), naming.topic(topics.CHAOS)
        self._statuses = Statuses()
        self._waiting: dict[tuple[str, str], _Answer] = {}
        self._changed = asyncio.Event()
        self._line = Line(
            settings,
            "chaos",
            refusals=[Refusals(self._inbox, ChaosRefusedError)],
            hears={self._chaos: self._take_status},
            failed=self._fail,
            whole=frozenset({self._chaos}),
        )

    async def __aenter__(self) -> Self:
        """Connects.

        Raises:
            InstallationError: a topic is missing.
            BrokerError: the broker cannot be reached or refuses.
        """
        await self._line.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.fail(ChaosError("the client of chaos is closed; what is in force ends by itself"))
        await self._line.__aexit__(kind, error, trace)

    async def run(self, scenario: ChaosScenario, reason: str, *, scenario_id: str | None = None) -> ChaosStatus:
        """Brings a scenario into force, and returns once it is. Without an id, a new one is its id.

        Raises:
            ChaosError: the scenario is not as the contract says.
            ChaosRefusedError: it was refused, with the reason.
            ChaosTimeoutError: nobody has taken or refused it in `answer_within`.
            BrokerError: the broker cannot be reached or refuses.
        """
        id_ = scenario_id or str(uuid.uuid4())
        said = await self._ask(commands.run(self._operator, scenario, reason, id_), f"the order to run scenario {id_}")
        return ChaosStatus.model_validate(said)

    async def stop(self, scenario_id: str, reason: str) -> ChaosStatus:
        """Ends a scenario, and returns once it has; raises as run()."""
        prepared = commands.stop(self._operator, scenario_id, reason)
        return ChaosStatus.model_validate(await self._ask(prepared, f"the order to stop scenario {scenario_id}"))

    async def stop_all(self, reason: str) -> EmergencyStop:
        """Ends whatever is in force, and returns once it has; raises as run()."""
        prepared = commands.stop_all(self._operator, reason)
        return EmergencyStop.model_validate(await self._ask(prepared, "the emergency stop"))

    async def ended(self, scenario_id: str) -> ChaosStatus:
        """Waits until a scenario that this client has seen in force has ended, and returns how.

        Raises:
            ChaosError: it is not known here.
            ChaosTimeoutError: its time has been over for `answer_within`, and the chaos agent has not said so.
            BrokerError: nothing more can be read.
        """
        while True:
            changed = self._changed
            status = self._statuses.find(scenario_id.lower())
            if status is None:
                raise ChaosError(f"no scenario {scenario_id} is known: 'acgs chaos list --all' shows those there are")
            if status.state is not ChaosState.IN_FORCE:
                return status
            self._line.raise_failure()
            left_s = (status.until_ms - time.time() * 1_000) / 1_000 + self._answer_within.total_seconds()
            if left_s <= 0:
                raise not_recorded(scenario_id)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await changed.wait()

    # One command

    async def _ask(self, prepared: Prepared, what: str) -> ChaosStatus | EmergencyStop:
        waited = self._answer_within
        with self._expecting(prepared) as answer:
            try:
                said: ChaosStatus | EmergencyStop = await self._line.ask(
                    self._inbox, KEY.encode(), prepared.value, answer, headers=tuple(prepared.headers), within=waited
                )
            except UnansweredError as error:
                raise (not_taken if error.written else not_written)(what, waited) from None
            return said

    @contextlib.contextmanager
    def _expecting(self, prepared: Prepared) -> Generator[_Answer, None, None]:
        key = prepared.answered_under, prepared.command.command_id
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._waiting[key] = answer
        try:
            yield answer
        finally:
            end(answer)
            del self._waiting[key]

    # What comes

    def _take_status(self, record: Record) -> None:
        said = self._statuses.take(record)
        self._tell()
        if said is None or said.command_id is None:
            return
        key = EVERYTHING if isinstance(said, EmergencyStop) else said.scenario_id
        answer = self._waiting.get((key, said.command_id))
        if answer is not None and not answer.done():
            answer.set_result(said)

    def _fail(self, failure: StreamsError) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(failure)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
