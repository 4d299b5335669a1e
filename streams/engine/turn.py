"""A turn: from the records that have arrived to everything that one transaction writes. Pure."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, NoReturn
from zlib import crc32

import orjson

from streams.engine import dead_letters, digest, fingerprint
from streams.engine.agent import Agent, Control
from streams.engine.dead_letters import Kind
from streams.engine.errors import ConfigurationError, ControlRefusedError, OutputTooLargeError, UnreadableError
from streams.engine.records import Broadcast, Delete, Effect, Emit, Headers, Put, Record, Row
from streams.engine.state import (
    ACCEPTED_KEY,
    CONTROL_KEY,
    POSITION_KEY,
    LaneState,
    Position,
    StoredRow,
    row_headers,
    row_key,
)
from streams.engine.trail import STATE_DIGEST_EVERY, InputRange, TurnRecord, trail_key

TIMER = "lane-timer"
"""The header of a timer's record in its lane's own inbox; its key is the row's."""

DRAW_BYTES = 32
_BATCH_OVERHEAD = 128
"""What a batch and a record add, at most, to the bytes that are hashed (61 for the batch, varints for the record)."""

_MAX_PUTS = 1_000_000
"""More rows than one turn can write: row versions rise by it from turn to turn, so that none is ever used again."""

_MAX_DUE_MS = 2**53
"""About the year 287,000; JSON readers hold every integer below it exactly."""

Output = tuple[bytes | None, bytes | None, Headers, int]
"""Key, value, headers and about the size in bytes of a record to write."""


def turn_of(row_version: int) -> int:
    """The number of the turn that wrote a row of that version."""
    return row_version // _MAX_PUTS


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the broker says of the topics a lane writes: the number of partitions and the largest batch, in bytes."""

    partitions: Mapping[str, int]
    max_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn(Generic[Row, Control]):
    """What one transaction writes, and the state that holds once it has committed.

    `batches` maps (topic, partition) to records in order, the changelog and the audit record among them. `changes` are
    the rows that differ, None where deleted, `fingerprint` that of all rows. `fired` are the timers whose records
    are among the outputs, `rearmed` those that came before their time, with the milliseconds that were missing.
    """

    batches: Mapping[tuple[str, int], Sequence[Output]]
    position: Position
    changes: Mapping[str, StoredRow[Row] | None]
    fingerprint: int
    control_document: bytes | None
    control: Control | None
    fired: Sequence[str]
    rearmed: Sequence[tuple[str, int]]
    measures: Sequence[object]
    records: int
    dead_letters: int

    def apply_to(self, state: LaneState[Row, Control]) -> None:
        """Makes the state what it is after this turn."""
        state.position = self.position
        state.control_document, state.control = self.control_document, self.control
        state.accepted, state.is_new = None, False
        state.fingerprint = self.fingerprint
        for key, stored in self.changes.items():
            if stored is None:
                state.rows.pop(key, None)
            else:
                state.rows[key] = stored


class _Group:
    """The outputs to one partition, in order, and their hashes."""

    __slots__ = ("hashes", "limit", "prefix", "records")

    def __init__(self, topic: str, partition: int, limit: int) -> None:
        self.limit = limit
        self.prefix = digest.partition_prefix(topic, partition)
        self.records: list[Output] = []
        self.hashes: list[bytes] = []


class TurnInProgress(Generic[Row, Control]):
    """Handles records one by one, then says what to write. Is itself the View that handlers see.

    `draw` is 32 random bytes, the only thing of a turn that its inputs and state do not determine.
    """

    def __init__(
        self,
        agent: Agent[Row, Control],
        partition: int,
        state: LaneState[Row, Control],
        bounds: Bounds,
        draw: bytes,
    ) -> None:
        position = state.position or Position({})
        self._agent, self._partition, self._state, self._bounds, self._draw = agent, partition, state, bounds, draw
        self._partitions = bounds.partitions
        self._offsets = dict(position.offsets)
        self.clock_ms = position.clock_ms
        self._control, self._control_document = state.control, state.control_document
        self._previous = position
        self._ranges: list[InputRange] = []
        self._input_hashes: list[bytes] = []
        self._groups: dict[tuple[str, int], _Group] = {}
        self._changes: dict[str, StoredRow[Row] | None] = {}
        self._row_values: dict[str, bytes | None] = {}
        self._fired: list[str] = []
        self._rearmed: list[tuple[str, int]] = []
        self._measures: list[object] = []
        self._dead_letters = 0
        self._puts = 0
        self._record: Record | None = None
        self._prefixes = {topic: digest.partition_prefix(topic, partition) for topic in agent.inputs}

    # What a handler may know

    @property
    def control(self) -> Control:
        """The version of the control document in force."""
        if self._control is None:
            raise ConfigurationError(f"agent {self._agent.name} has no control input, or none has arrived")
        return self._control

    def row(self, key: str) -> Row | None:
        """The row under that key, with the changes of this turn."""
        stored = self._stored(key)
        return None if stored is None else stored.row

    def entropy(self) -> bytes:
        """32 bytes derived from the turn's draw and the record's position."""
        if self._record is None:
            raise ConfigurationError("entropy belongs to a record; none is being handled")
        return hashlib.sha256(self._draw + dead_letters.source_of(self._record)).digest()

    # What a lane does

    def handle(self, topic: str, records: Sequence[Record], next_offset: int) -> None:
        """Handles consecutive records of one input, after which the lane stands at `next_offset`."""
        self._advance(topic, len(records), next_offset)
        prefix, hashes = self._prefixes[topic], self._input_hashes
        decide = self._decision(topic)
        for record in records:
            if record.timestamp > self.clock_ms:  # noqa: PLR1730  # max() is a call for each record
                self.clock_ms = record.timestamp
            self._record = record
            try:
                hashes.append(digest.input_hash(prefix, record))
            except UnicodeEncodeError:
                hashes.append(digest.unreadable_hash(prefix, record))
                self._bury(record, Kind.UNREADABLE, UnreadableError("a header's name is not UTF-8"))
                continue
            try:
                effects = decide(record)
                if len(effects) == 1 and type(effects[0]) is Emit:
                    self._emit(effects[0])
                else:
                    self._apply(effects)
            except OutputTooLargeError as error:
                self._bury(record, Kind.OUTPUT_TOO_LARGE, error)
            except ControlRefusedError as error:
                self._bury(record, Kind.CONTROL_REFUSED, error)
            except Exception as error:  # noqa: BLE001  # whatever a handler raises: kept with its bytes, the lane goes on
                self._bury(record, Kind.HANDLER_FAILED, error)
        self._record = None

    def fire(self, keys: Iterable[str]) -> None:
        """Appends the timers of those rows to the lane's inbox."""
        inbox = self._agent.inbox[0]
        for key in keys:
            stored = self._stored(key)
            if stored is not None and stored.due_ms is not None:
                value = orjson.dumps({"v": 1, "version": stored.version, "due": stored.due_ms})
                self._write(inbox, self._partition, key.encode(), value, ((TIMER, b"1"),))
                self._fired.append(key)

    @property
    def has_control(self) -> bool:
        """Whether inbox records may be handled: a lane decides nothing before its control document has arrived."""
        return self._agent.control is None or self._control is not None

    def written_to(self, topic: str, partition: int) -> int:
        """How many records there are to write to a partition so far."""
        group = self._groups.get((topic, partition))
        return 0 if group is None else len(group.records)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self._ranges and not self._fired and self._state.accepted is None

    def finish(self) -> Turn[Row, Control]:
        """Everything that the turn's transaction writes."""
        hashes = [one for group in self._groups.values() for one in group.hashes]
        rows = self._fingerprint()
        trail = self._trail(hashes, rows).encode()
        position = Position(self._offsets, self._previous.seq + 1, digest.of_bytes(trail), self.clock_ms)
        batches: dict[tuple[str, int], Sequence[Output]] = {
            at: group.records for at, group in self._groups.items() if group.records
        }
        batches[self._agent.topics.changelog, self._partition] = self._changelog(position)
        audit = self._agent.topics.audit
        at = audit, self._partition % self._bounds.partitions[audit]
        batches[at] = [_output(trail_key(self._agent.name, self._partition), trail)]
        return Turn(
            batches=batches,
            position=position,
            changes=self._changes,
            fingerprint=rows,
            control_document=self._control_document,
            control=self._control,
            fired=self._fired,
            rearmed=self._rearmed,
            measures=self._measures,
            records=len(self._input_hashes),
            dead_letters=self._dead_letters,
        )

    # One record

    def _decision(self, topic: str) -> Callable[[Record], Sequence[Effect[Row]]]:
        """What decides on the records of an input: the handler itself where no timers come."""
        if self._is_control(topic):
            return self._follow_control
        return self._handle if self._agent.on_timer else partial(self._agent.handler, self)

    def _handle(self, record: Record) -> Sequence[Effect[Row]]:
        headers = record.headers
        is_timer = headers and headers[0][0] == TIMER
        return self._handle_timer(record) if is_timer else self._agent.handler(self, record)

    def _follow_control(self, record: Record) -> Sequence[Effect[Row]]:
        control = self._agent.control
        if control is None or record.value is None:
            raise ControlRefusedError("the record has no value")
        limit = self._bounds.max_bytes[self._agent.topics.changelog]
        if len(record.value) + _BATCH_OVERHEAD > limit:
            raise OutputTooLargeError(f"the document does not fit the changelog, whose limit is {limit}")
        self._control = control.follow(record.value, self._control)
        self._control_document = record.value
        return ()

    def _handle_timer(self, record: Record) -> Sequence[Effect[Row]]:
        if self._agent.on_timer is None or record.key is None or record.value is None:
            raise ConfigurationError("a timer's record needs a key and a value")
        key, timer = record.key.decode(), orjson.loads(record.value)
        stored = self._stored(key)
        if stored is None or stored.version != timer["version"]:
            return ()
        if record.timestamp < timer["due"]:
            self._rearmed.append((key, timer["due"] - record.timestamp))
            return ()
        effects = self._agent.on_timer(self, key, stored.row)
        if not any(isinstance(effect, Put | Delete) and effect.key == key for effect in effects):
            effects = [*effects, Put(key, stored.row)]
        return effects

    def _emit(self, emit: Emit) -> None:
        topic, key, value, headers, measure = emit
        group, output, image_hash = self._place(topic, None, key, value, headers)
        group.records.append(output)
        group.hashes.append(image_hash)
        if measure is not None:
            self._measures.append(measure)

    def _apply(self, effects: Sequence[Effect[Row]]) -> None:
        """Takes over all effects of a record, or raises and takes none."""
        placed: list[tuple[_Group, Output, bytes]] = []
        rows: list[tuple[str, StoredRow[Row] | None, bytes | None]] = []
        measures: list[object] = []
        for effect in effects:
            if isinstance(effect, Emit):
                topic, key, value, headers, measure = effect
                placed.append(self._place(topic, None, key, value, headers))
                if measure is not None:
                    measures.append(measure)
            elif isinstance(effect, Broadcast):
                topic, key, value, headers = effect
                count = self._partitions.get(topic) or self._no_output(topic)
                placed += [self._place(topic, partition, key, value, headers) for partition in range(count)]
            elif isinstance(effect, Put):
                rows.append(self._encoded(effect))
            else:
                row_key(effect.key)  # a key that cannot be written fails here, as the record's fault
                rows.append((effect.key, None, None))
        for group, output, image_hash in placed:
            group.records.append(output)
            group.hashes.append(image_hash)
        for row, stored, encoded in rows:
            self._changes[row] = stored
            self._row_values[row] = encoded
        self._measures += measures

    def _bury(self, record: Record, kind: Kind, error: Exception) -> None:
        topic = self._agent.topics.dead_letters
        partition = self._partition % self._bounds.partitions[topic]
        full = dead_letters.letter(record, kind, error)
        try:
            self._write(topic, partition, *full)
        except OutputTooLargeError:
            self._write(topic, partition, *dead_letters.without_value(full))
        self._dead_letters += 1

    # Outputs and rows

    def _write(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        group, output, image_hash = self._place(topic, partition, key, value, headers)
        group.records.append(output)
        group.hashes.append(image_hash)

    def _place(
        self, topic: str, partition: int | None, key: bytes | None, value: bytes | None, headers: Headers
    ) -> tuple[_Group, Output, bytes]:
        """Where an output goes (partition None: by its key), the output, and its hash."""
        if partition is None:
            count = self._partitions.get(topic) or self._no_output(topic)
            partition = (self._partition if key is None else crc32(key)) % count
        group = self._groups.get((topic, partition)) or self._new_group(topic, partition)
        image = digest.output_image(group.prefix, key, headers, value)
        size = len(image)
        if size > group.limit:
            raise OutputTooLargeError(f"a record of {size} bytes does not fit {topic}, which takes {group.limit}")
        return group, (key, value, headers, size), hashlib.sha256(image).digest()

    def _new_group(self, topic: str, partition: int) -> _Group:
        group = _Group(topic, partition, self._bounds.max_bytes[topic] - _BATCH_OVERHEAD)
        self._groups[topic, partition] = group
        return group

    def _no_output(self, topic: str) -> NoReturn:
        raise ConfigurationError(f"agent {self._agent.name} emits to {topic}, which is not among its outputs")

    def _encoded(self, put: Put[Row]) -> tuple[str, StoredRow[Row], bytes]:
        if self._agent.rows is None:
            raise ConfigurationError(f"agent {self._agent.name} stores rows but names no codec for them")
        key, value = row_key(put.key), self._agent.rows.encode(put.row)
        if put.due_ms is not None and (type(put.due_ms) is not int or not 0 <= put.due_ms < _MAX_DUE_MS):
            raise ConfigurationError(f"a row is due at {put.due_ms!r}, which is no number of milliseconds since 1970")
        limit = self._bounds.max_bytes[self._agent.topics.changelog]
        if len(value) + len(key) + _BATCH_OVERHEAD > limit:
            raise OutputTooLargeError(f"a row of {len(value)} bytes does not fit the changelog, whose limit is {limit}")
        self._puts += 1
        version = self._seq * _MAX_PUTS + self._puts
        hashed = fingerprint.row_hash(key, value, row_headers(put.due_ms, version))
        return put.key, StoredRow(put.row, put.due_ms, version, hashed), value

    @property
    def _seq(self) -> int:
        return self._previous.seq + 1

    def _stored(self, key: str) -> StoredRow[Row] | None:
        return self._changes[key] if key in self._changes else self._state.rows.get(key)

    def _fingerprint(self) -> int:
        rows, before = self._state.fingerprint, self._state.rows
        for key, stored in self._changes.items():
            was = before.get(key)
            rows = fingerprint.changed(rows, None if was is None else was.hash, None if stored is None else stored.hash)
        return rows

    def _changelog(self, position: Position) -> list[Output]:
        records: list[Output] = []
        for key, stored in self._changes.items():
            headers = () if stored is None else row_headers(stored.due_ms, stored.version)
            records.append(_output(row_key(key), self._row_values[key], headers))
        if self._control_document is not self._state.control_document:
            records.append(_output(CONTROL_KEY, self._control_document))
        if self._state.accepted is not None:
            records.append(_output(ACCEPTED_KEY, None))
        records.append(_output(POSITION_KEY, position.encode()))
        return records

    # The trail

    def _is_control(self, topic: str) -> bool:
        return self._agent.control is not None and topic == self._agent.control.topic

    def _advance(self, topic: str, count: int, next_offset: int) -> None:
        first = self._offsets[topic]
        if self._ranges and self._ranges[-1].topic == topic:
            self._ranges[-1].next = next_offset
            self._ranges[-1].count += count
        else:
            self._ranges.append(InputRange(topic, first, next_offset, count))
        self._offsets[topic] = next_offset

    def _trail(self, output_hashes: list[bytes], rows: int) -> TurnRecord:
        control = self._agent.control
        has_digest = self._agent.rows is not None and self._seq % STATE_DIGEST_EVERY == 0
        return TurnRecord(
            agent=self._agent.name,
            lane=self._partition,
            seq=self._seq,
            previous=self._previous.head,
            inputs=self._ranges,
            input_digest=digest.of_hashes(self._input_hashes),
            outputs=[
                (topic, partition, len(group.records))
                for (topic, partition), group in self._groups.items()
                if group.records
            ],
            output_digest=digest.of_hashes(output_hashes),
            entropy=self._draw.hex(),
            state_digest=fingerprint.digest_of(rows) if has_digest else None,
            decision_version=self._agent.decision_version,
            epoch=control.epoch(self._control) if control and self._control is not None else None,
            clock=self.clock_ms,
            accepted=self._state.accepted,
        )


def _output(key: bytes, value: bytes | None, headers: Headers = ()) -> Output:
    return key, value, headers, len(key) + len(value or b"")
