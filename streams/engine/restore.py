"""Reading a lane's changelog: all of it at a start, its tail after a turn whose end is not known."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic

from streams.engine import client, fingerprint
from streams.engine.agent import Agent, Control
from streams.engine.client import Consumer, EngineSettings, TopicPartition
from streams.engine.errors import ConfigurationError, PositionLostError, PositionOvertakenError
from streams.engine.records import Record, Row
from streams.engine.state import (
    ACCEPTED_KEY,
    CONTROL_KEY,
    NEW_KEY,
    POSITION_KEY,
    LaneState,
    Position,
    StoredRow,
    decode_accepted,
    decode_position,
    decode_row_headers,
    decode_row_key,
    is_row,
    row_key,
)

_POLL_MS = 200


@dataclass(frozen=True, slots=True)
class Restored(Generic[Row, Control]):
    """A lane's state as its changelog has it, and the changelog offset after which nothing has been read."""

    state: LaneState[Row, Control]
    next_offset: int


async def restore(
    agent: Agent[Row, Control], partition: int, settings: EngineSettings, on_progress: Callable[[], None]
) -> Restored[Row, Control]:
    """Rebuilds a lane's state and decides where it stands.

    Call it after the lane's producer has started: only then has every earlier turn either committed or ended.
    `on_progress` is called at each batch read.

    Raises:
        PositionLostError: the changelog has no position and no mark that the lane is new.
        PositionOvertakenError: an input's log begins after the lane's position, or ends before it.
    """
    changelog = client.topic_partition(agent.topics.changelog, partition)
    consumer = client.reader(settings)
    try:
        await _within(settings.turn_timeout, consumer.start())
        state: LaneState[Row, Control] = LaneState()
        async for records in read(consumer, changelog, None):
            for record in records:
                _take(agent, state, record)
            on_progress()
            await asyncio.sleep(0)
        next_offset = await consumer.position(changelog)
        state.position = await _position(agent, partition, state, consumer)
    finally:
        await client.close(consumer, settings.turn_timeout)
    return Restored(state, next_offset)


async def last_position(
    agent: Agent[Row, Control], partition: int, settings: EngineSettings, since: int
) -> tuple[Position | None, int]:
    """The last position row written at or after a changelog offset, if any, and the offset to read from next time."""
    changelog = client.topic_partition(agent.topics.changelog, partition)
    consumer = client.reader(settings)
    found: Position | None = None
    try:
        await _within(settings.turn_timeout, consumer.start())
        async for records in read(consumer, changelog, since):
            for record in records:
                if record.key == POSITION_KEY and record.value is not None:
                    found = decode_position(record.value)
        return found, await consumer.position(changelog)
    finally:
        await client.close(consumer, settings.turn_timeout)


async def has_open_transaction(agent: Agent[Row, Control], partition: int, settings: EngineSettings) -> bool:
    """Whether a lane's changelog ends in records that are neither committed nor aborted."""
    changelog = client.topic_partition(agent.topics.changelog, partition)
    ends: list[int] = []
    for uncommitted in (False, True):
        consumer = client.reader(settings, uncommitted=uncommitted)
        try:
            await _within(settings.turn_timeout, consumer.start())
            ends.append((await consumer.end_offsets([changelog]))[changelog])
        finally:
            await client.close(consumer, settings.turn_timeout)
    return ends[0] < ends[1]


async def read(consumer: Consumer, partition: TopicPartition, since: int | None) -> AsyncIterator[list[Record]]:
    """The committed records of a partition from an offset (None: its start) to its end as it was at the call."""
    consumer.assign([partition])
    begin = (await consumer.beginning_offsets([partition]))[partition]
    end = (await consumer.end_offsets([partition]))[partition]
    consumer.seek(partition, begin if since is None else max(begin, since))
    while await consumer.position(partition) < end:
        yield (await consumer.getmany(partition, timeout_ms=_POLL_MS)).get(partition, [])


def _take(agent: Agent[Row, Control], state: LaneState[Row, Control], record: Record) -> None:
    key, value = record.key, record.value
    if is_row(record) and key is not None:
        _take_row(agent, state, decode_row_key(key), record)
    elif key == POSITION_KEY and value is not None:
        state.position = decode_position(value)
    elif key == NEW_KEY:
        state.is_new = value is not None
    elif key == ACCEPTED_KEY:
        state.accepted = None if value is None else decode_accepted(value)
    elif key == CONTROL_KEY and value is not None and agent.control is not None:
        state.control_document, state.control = value, agent.control.follow(value, None)


def _take_row(agent: Agent[Row, Control], state: LaneState[Row, Control], key: str, record: Record) -> None:
    if record.value is None:
        state.put(key, None)
        return
    if agent.rows is None:
        raise ConfigurationError(f"the changelog of {agent.name} has rows, but the agent names no codec for them")
    due_ms, version = decode_row_headers(record.headers)
    hashed = fingerprint.row_hash(row_key(key), record.value, record.headers)
    state.put(key, StoredRow(agent.rows.decode(record.value), due_ms, version, hashed))


async def _position(
    agent: Agent[Row, Control], partition: int, state: LaneState[Row, Control], consumer: Consumer
) -> Position:
    inputs = {topic: client.topic_partition(topic, partition) for topic in agent.inputs}
    begins = await consumer.beginning_offsets(list(inputs.values()))
    ends = await consumer.end_offsets(list(inputs.values()))
    known = _known_position(agent, partition, state)
    offsets = {topic: known.offsets.get(topic, begins[tp]) for topic, tp in inputs.items()}
    for topic, tp in inputs.items():
        if not begins[tp] <= offsets[topic] <= ends[tp]:
            raise PositionOvertakenError(
                f"lane {agent.name}/{partition} stands at {topic}/{partition}/{offsets[topic]}, but the log has "
                f"{begins[tp]} to {ends[tp]}: {_gap(offsets[topic], begins[tp], ends[tp])}"
            )
    return Position(offsets, known.seq, known.head, known.clock_ms)


def _known_position(agent: Agent[Row, Control], partition: int, state: LaneState[Row, Control]) -> Position:
    position = state.position
    if state.accepted is not None:
        if state.accepted.after_seq == (position.seq if position else 0):
            before = position or Position({})
            return Position({**before.offsets, **state.accepted.offsets}, before.seq, before.head, before.clock_ms)
        state.accepted = None
    if position is not None:
        return position
    if state.is_new:
        return Position({})
    raise PositionLostError(
        f"the changelog of lane {agent.name}/{partition} has no position, and no mark that the lane is new: it was "
        "deleted, or not made by an installation; starting over could handle records twice"
    )


def _gap(offset: int, begin: int, end: int) -> str:
    if offset < begin:
        return f"{begin - offset} offsets were deleted by retention before this lane read them"
    return f"the log ends {offset - end} offsets before the position: the topic was made anew or lost records"


async def _within(deadline: timedelta, doing: Awaitable[None]) -> None:
    async with asyncio.timeout(deadline.total_seconds()):
        await doing
