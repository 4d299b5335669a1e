"""Commands for chaos: made, checked and signed before anything is sent."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pydantic import ValidationError

from schemas import envelope
from schemas.chaos import EVERYTHING, ChaosCommand, ChaosOrder
from streams.chaos.errors import ChaosError
from streams.chaos.scenario import ChaosScenario
from streams.keys import SigningKey

_VALID_FOR = timedelta(minutes=2)
"""How long a command may be on its way; what leaves room for clocks that differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who orders chaos, with which key, and the policy generation that they accept."""

    name: str
    key: SigningKey
    constitutional_hash: str


class Prepared(NamedTuple):
    """A command, its bytes and headers as they are sent, and the key on `chaos` under which it is answered."""

    command: ChaosCommand
    value: bytes
    headers: list[tuple[str, bytes | None]]

    @property
    def answered_under(self) -> str:
        """The key of the record on `chaos` that shows that it was taken."""
        return (self.command.scenario_id or EVERYTHING).lower()


def run(operator: Operator, scenario: ChaosScenario, reason: str, scenario_id: str) -> Prepared:
    """The command that brings a scenario into force.

    Raises:
        ChaosError: the scenario is not as the contract says.
    """
    fields = {
        "scenario_id": scenario_id,
        "name": scenario.name,
        "chaos_type": scenario.chaos_type,
        "target": scenario.target,
        "duration_ms": scenario.duration_ms,
        "blast_radius": tuple(sorted(scenario.blast_radius)),
        "parameters": scenario.parameters,
    }
    return _prepared(operator, ChaosOrder.RUN, reason, fields)


def stop(operator: Operator, scenario_id: str, reason: str) -> Prepared:
    """The command that ends a scenario.

    Raises:
        ChaosError: the id is no UUID, or the reason too long.
    """
    return _prepared(operator, ChaosOrder.STOP, reason, {"scenario_id": scenario_id})


def stop_all(operator: Operator, reason: str) -> Prepared:
    """The emergency stop.

    Raises:
        ChaosError: the reason is too long.
    """
    return _prepared(operator, ChaosOrder.STOP_ALL, reason, {})


def _prepared(operator: Operator, order: ChaosOrder, reason: str, fields: dict[str, Any]) -> Prepared:
    now = datetime.now(UTC)
    said = {
        "command": order,
        "command_id": str(uuid.uuid4()),
        "requested_by": operator.name,
        "reason": reason,
        "constitutional_hash": operator.constitutional_hash,
        "created_at": now,
        "expires_at": now + _VALID_FOR,
    }
    try:
        command = ChaosCommand.model_validate({**said, **fields})
    except ValidationError as error:
        raise ChaosError(_places(error)) from None
    value = command.model_dump_json(exclude_none=True).encode()
    return Prepared(command, value, [(envelope.SIGNATURE, operator.key.message_signature(value))])


def _places(error: ValidationError) -> str:
    places = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(_place(".".join(map(str, place["loc"])), place["msg"]) for place in places)


def _place(where: str, words: str) -> str:
    said = words.removeprefix("Value error, ")
    return f"{where}: {said}" if where else said
