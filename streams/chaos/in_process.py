"""Chaos within one process, without Kafka: for a service's own tests, by the same scenarios and with the same ends."""

import asyncio
import time
import uuid
from typing import Final, Self

from prometheus_client import CollectorRegistry

from compensation.errors import ConstitutionalError
from schemas.chaos import MAX_DURATION, ChaosState, ChaosStatus, ChaosType, check_parameters
from streams.chaos.board import ChaosBoard
from streams.chaos.chance import Chance, probability
from streams.chaos.errors import InjectedError
from streams.chaos.exhaustion import Exhaustion
from streams.chaos.scenario import ChaosScenario
from streams.metrics import ChaosMeasures

_FOR_EVER_S: Final = MAX_DURATION.total_seconds()
_HERE: Final = "service:this-process"
_RAISED: Final[dict[ChaosType, tuple[type[Exception], str]]] = {
    ChaosType.NETWORK_PARTITION: (ConnectionError, "cannot be reached"),
    ChaosType.CIRCUIT_BREAKER: (InjectedError, "has its breaker open"),
    ChaosType.ERROR: (InjectedError, "fails"),
}


class ChaosRunner:
    """Brings scenarios into force in this process. Enter it before use; leaving it ends all of them.

    `constitutional_hash` is the policy generation in force here: who begins a scenario must name the same. A scenario
    ends at its duration, by itself. Belongs to one event loop.
    """

    def __init__(self, constitutional_hash: str, *, chance: Chance | None = None) -> None:
        self._hash, self._chance = constitutional_hash, chance or Chance()
        self._board = ChaosBoard()
        self._exhaustion = Exhaustion(self._board, ChaosMeasures(CollectorRegistry()), (_HERE,))
        self._exhausting: asyncio.Task[None] | None = None
        self._is_entered = False

    async def __aenter__(self) -> Self:
        self._board.became_whole()
        self._is_entered = True
        self._exhausting = asyncio.create_task(self._exhaustion.run())
        return self

    async def __aexit__(self, *about: object) -> None:
        self.emergency_stop()
        self._is_entered = False
        if self._exhausting is not None:
            self._exhausting.cancel()
            await asyncio.wait([self._exhausting])

    @property
    def in_force(self) -> list[str]:
        """The ids of the scenarios in force."""
        return [status.scenario_id for status in self._board.in_force()]

    def begin(self, scenario: ChaosScenario, constitutional_hash: str) -> str:
        """Brings a scenario into force, and returns its id.

        Raises:
            ConstitutionalError: the hash is not the one in force here.
            ValueError: the scenario's names are too long, or its parameters are not its type's.
            RuntimeError: it has not been entered, or has been left.
        """
        if not self._is_entered:
            raise RuntimeError("enter the runner first; once it is left, no chaos is begun")
        if constitutional_hash != self._hash:
            raise ConstitutionalError("the constitutional hash is not the one in force: no chaos is begun")
        check_parameters(scenario.chaos_type, scenario.parameters)
        status = _begun(scenario, constitutional_hash)
        self._board.put(status)
        return status.scenario_id

    def stop(self, scenario_id: str) -> None:
        """Ends a scenario; nothing if it is not in force."""
        self._board.drop(scenario_id)

    def emergency_stop(self) -> None:
        """Ends all of them."""
        for status in self._board.in_force():
            self._board.drop(status.scenario_id)

    async def reach(self, target: str) -> None:
        """Call it where the target is about to be reached: waits or raises as what is in force says.

        Raises:
            InjectedError: error or circuit_breaker is in force.
            ConnectionError: network_partition is.
            TimeoutError: timeout is, and has held the call up to its end.
        """
        late = self._met(ChaosType.LATENCY, target)
        if late is not None:
            await self._board.hold(late, (late.parameters.latency_ms or 0) / 1_000)
        stuck = self._met(ChaosType.TIMEOUT, target)
        if stuck is not None:
            await self._board.hold(stuck, _FOR_EVER_S)
            raise TimeoutError(f"chaos {stuck.name!a}: {target} does not answer")
        for chaos_type, (error, words) in _RAISED.items():
            status = self._met(chaos_type, target)
            if status is not None:
                raise error(f"chaos {status.name!a}: {target} {words}")

    def _met(self, chaos_type: ChaosType, target: str) -> ChaosStatus | None:
        status = self._board.find(chaos_type, (_named(target),))
        return status if status is not None and self._chance.has(probability(status)) else None


def _named(target: str) -> str:
    """A target with its kind: what names none is a service."""
    return target if ":" in target else f"service:{target}"


def _begun(scenario: ChaosScenario, constitutional_hash: str) -> ChaosStatus:
    now_ms = int(time.time() * 1_000)
    is_all_of_it = scenario.chaos_type is ChaosType.RESOURCE_EXHAUSTION
    radius = (_HERE,) if is_all_of_it else tuple(sorted(map(_named, scenario.blast_radius)))
    fields = {
        "scenario_id": str(uuid.uuid4()),
        "name": scenario.name,
        "chaos_type": scenario.chaos_type,
        "target": _HERE if is_all_of_it else _named(scenario.target),
        "duration_ms": scenario.duration_ms,
        "blast_radius": radius,
        "parameters": scenario.parameters,
        "requested_by": "this process",
        "reason": "a test in this process",
        "constitutional_hash": constitutional_hash,
        "state": ChaosState.IN_FORCE,
        "started_ms": now_ms,
        "until_ms": now_ms + scenario.duration_ms,
    }
    return ChaosStatus.model_validate(fields)
