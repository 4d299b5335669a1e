"""What the chaos agent remembers: each scenario, from its start until long after its end, and which are in force."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from schemas.chaos import ChaosStatus
from schemas.model import Contract, Uuid

Row = bytes

IN_FORCE = "in-force"
"""The key of the row that lists what is in force."""


STOPPED_ALL = "stopped-all"
"""The key of the row that says when everything was stopped last, for as long as a command from before could pass."""


class ScenarioRow(Contract):
    """A scenario, and where the command that began it stands on `in.chaos`."""

    v: Literal[1] = 1
    row: Literal["scenario"] = "scenario"
    status: ChaosStatus
    source: str


class InForce(Contract):
    """The ids of what is in force, in the order in which it began."""

    v: Literal[1] = 1
    row: Literal["in_force"] = "in_force"
    ids: tuple[Uuid, ...] = ()


class CommandRow(Contract):
    """A command that has come, whatever was decided on it: it is not acted on again for as long as it could pass."""

    v: Literal[1] = 1
    row: Literal["command"] = "command"


class StoppedAll(Contract):
    """Everything was stopped at this time of the log's."""

    v: Literal[1] = 1
    row: Literal["stopped_all"] = "stopped_all"
    at: Annotated[int, Field(ge=0)]


Known = ScenarioRow | InForce | CommandRow | StoppedAll
_KNOWN: TypeAdapter[Known] = TypeAdapter(Annotated[Known, Field(discriminator="row")])


def scenario_key(scenario_id: str) -> str:
    """The key of a scenario's row."""
    return f"scenario/{scenario_id}"


def command_key(command_id: str) -> str:
    """The key of a command's row."""
    return f"command/{command_id.lower()}"


def encode(row: Known) -> Row:
    """A row as it is kept and written."""
    return row.model_dump_json().encode()


def decode(row: Row) -> Known:
    """Reads a row.

    Raises:
        pydantic.ValidationError: a later version of this program wrote it.
    """
    return _KNOWN.validate_json(row)
