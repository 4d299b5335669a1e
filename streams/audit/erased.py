"""Records that had to be erased and have left their hashes."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from schemas.audit import AuditRecord, ErasedRecord
from streams.audit.log import Log, Place
from streams.engine.records import Record
from streams.errors import StreamsError


class ErasedError(StreamsError):
    """The list of erased records cannot be read."""


@dataclass(frozen=True, slots=True)
class Erased:
    """Hashes of records by partition and offset: as an input's, and as an output's."""

    inputs: Mapping[Place, Mapping[int, bytes]] = field(default_factory=dict[Place, Mapping[int, bytes]])
    outputs: Mapping[Place, Mapping[int, bytes]] = field(default_factory=dict[Place, Mapping[int, bytes]])

    def read_by(self, turn: AuditRecord) -> int:
        """How many of the records that a turn read are erased."""
        return sum(
            1
            for part in turn.inputs
            for offset in self.inputs.get((part.topic, part.partition), {})
            if part.from_ <= offset < part.to
        )

    def has(self, place: Place, offset: int) -> bool:
        """Whether the record there is erased: what may be left of it does not count."""
        return offset in self.inputs.get(place, {}) or offset in self.outputs.get(place, {})

    def of(self, place: Place) -> set[int]:
        """The offsets of all that is erased there."""
        return {*self.inputs.get(place, {}), *self.outputs.get(place, {})}

    def but_for(self, *names: str) -> Self:
        """The same without what stands on topics of those names."""
        inputs, outputs = (
            {place: hashes for place, hashes in every.items() if place[0] not in names}
            for every in (self.inputs, self.outputs)
        )
        return type(self)(inputs, outputs)


NOTHING = Erased()


class WithoutErased:
    """A log in which erased records are not there, even if something is left in their places."""

    def __init__(self, log: Log, erased: Erased) -> None:
        self._log, self._erased = log, erased

    def begin(self, place: Place) -> int:
        """As the log's."""
        return self._log.begin(place)

    def settled(self, place: Place) -> int:
        """As the log's."""
        return self._log.settled(place)

    async def read(self, place: Place, since: int) -> AsyncGenerator[Sequence[Record], None]:
        """The records that are not erased."""
        async for records in self._log.read(place, since):
            yield [record for record in records if not self._erased.has(place, record.offset)]


def without(log: Log, erased: Erased) -> Log:
    """The log without what is erased."""
    return WithoutErased(log, erased) if erased.inputs or erased.outputs else log


def of_records(records: Iterable[ErasedRecord]) -> Erased:
    """The hashes by where the records stood."""
    inputs: dict[Place, dict[int, bytes]] = {}
    outputs: dict[Place, dict[int, bytes]] = {}
    for one in records:
        place = one.topic, one.partition
        if one.input_hash is not None:
            inputs.setdefault(place, {})[one.offset] = bytes.fromhex(one.input_hash)
        if one.output_hash is not None:
            outputs.setdefault(place, {})[one.offset] = bytes.fromhex(one.output_hash)
    return Erased(inputs, outputs)


def read_list(path: Path) -> Erased:
    """Reads a file with one erased record a line, as JSON.

    Raises:
        ErasedError: it cannot be read, or a line is no such record.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ErasedError(f"{path} is no text") from error
    except OSError as error:
        raise ErasedError(f"{path} cannot be read: {error}") from error
    found: list[ErasedRecord] = []
    for number, line in enumerate(lines, 1):
        try:
            found += [ErasedRecord.model_validate_json(line)] if line.strip() else []
        except ValidationError as error:
            wrong = error.errors()[0]
            where = ".".join(map(str, wrong["loc"])) or "it"
            raise ErasedError(
                f"line {number} of {path} is no erased record: {where}: {wrong['msg']}. A line is "
                '{"topic": ..., "partition": ..., "offset": ..., "input_hash": ..., "output_hash": ...}'
            ) from error
    return of_records(found)
