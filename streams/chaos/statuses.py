"""What was ordered of late, and how it stands."""

from pydantic import ValidationError

from schemas import topics
from schemas.chaos import EVERYTHING, ChaosState, ChaosStatus, EmergencyStop
from streams.agents.naming import Naming
from streams.broker import records_of, require_topics
from streams.engine.client import EngineSettings
from streams.engine.records import Record


class Statuses:
    """The newest status of each scenario, as records of `chaos` come."""

    def __init__(self) -> None:
        self._known: dict[str, ChaosStatus] = {}

    def take(self, record: Record) -> ChaosStatus | EmergencyStop | None:
        """Takes a record, and returns what it says; None where a scenario is forgotten, or for another version's."""
        key = (record.key or b"").decode(errors="replace")
        said = None if record.value is None else _parse(key, record.value)
        if isinstance(said, ChaosStatus):
            self._known[key] = said
        elif record.value is None:
            self._known.pop(key, None)
        return said

    def find(self, scenario_id: str) -> ChaosStatus | None:
        """How a scenario stands."""
        return self._known.get(scenario_id)

    def every(self) -> list[ChaosStatus]:
        """All that are known, the newest first."""
        return sorted(self._known.values(), key=lambda status: -status.started_ms)


async def statuses(settings: EngineSettings) -> list[ChaosStatus]:
    """Every scenario in force, and those that ended within the last hour, the newest first.

    Raises:
        InstallationError: there is no topic of chaos.
        BrokerError: the broker cannot be reached or refuses.
    """
    topic = Naming(settings.prefix).topic(topics.CHAOS)
    partitions = (await require_topics(settings, [topic]))[topic]
    found = Statuses()
    async for record in records_of(settings, topic, range(partitions)):
        found.take(record)
    return found.every()


def is_in_force(status: ChaosStatus, now_ms: float) -> bool:
    """Whether it is in force anywhere: from its end on it is not, though the chaos agent may not have said so yet."""
    return status.state is ChaosState.IN_FORCE and now_ms < status.until_ms


def _parse(key: str, value: bytes) -> ChaosStatus | EmergencyStop | None:
    contract = EmergencyStop if key == EVERYTHING else ChaosStatus
    try:
        return contract.model_validate_json(value)
    except ValidationError:
        return None
