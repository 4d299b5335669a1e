"""An audit of the trail that shares no code with the engine: hashes, digests, chain and ranges from the contract."""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from schemas.audit import AuditRecord
from streams.engine.records import Record

Topics = Mapping[str, Mapping[int, Sequence[Record]]]
"""Records by topic and partition, in log order."""


def record_hash(record: Record, *, with_offset: bool) -> bytes:
    """SHA-256 over topic, partition and, of an input, offset; names of headers; lengths of other fields, and these."""
    topic = record.topic.encode()
    image = len(topic).to_bytes(4, "big") + topic + record.partition.to_bytes(4, "big")
    image += record.offset.to_bytes(8, "big") if with_offset else b""
    return hashlib.sha256(image + _fields(record)).digest()


def _fields(record: Record) -> bytes:
    names = [name.encode("utf-8", "surrogateescape") for name, _ in record.headers]
    fields = [record.key, record.value, *(content for _, content in record.headers)]
    image = len(names).to_bytes(4, "big") + b"".join(len(name).to_bytes(4, "big") + name for name in names)
    image += b"".join((-1 if field is None else len(field)).to_bytes(4, "big", signed=True) for field in fields)
    return image + b"".join(field for field in fields if field is not None)


def digest(records: Iterable[Record], *, with_offset: bool) -> str:
    return hashlib.sha256(b"".join(record_hash(r, with_offset=with_offset) for r in records)).hexdigest()


def source_partition(record: Record) -> int:
    """The lane that wrote an output, by the source position that all of the product's headers and letters carry."""
    for name, content in record.headers:
        if name in {"lane-source", "acgs-source", "counter-source"} and content is not None:
            return int(content.rsplit(b"/", 2)[1])
    return record.partition


def turns(topics: Topics, audit: str, agent: str, lane: int) -> list[AuditRecord]:
    """The audit records of a lane; each keeps its contract and follows the one before it."""
    key = f"{agent}/{lane}".encode()
    found = [r for records in topics[audit].values() for r in records if r.key == key]
    head, read = "0" * 64, list[AuditRecord]()
    for record in found:
        turn = AuditRecord.model_validate_json(record.value or b"")
        assert turn.previous == head, f"{agent}/{lane} turn {turn.seq} does not follow the one before it"
        assert turn.seq == len(read) + 1
        assert (turn.agent, turn.lane) == (agent, lane)
        head = hashlib.sha256(record.value or b"").hexdigest()
        read.append(turn)
    return read


def verify_lane(
    topics: Topics,
    audit: str,
    agent: str,
    lane: int,
    *,
    lane_of: Callable[[Record], int] = source_partition,
    outputs: Iterable[str] = (),
    inbox_timers: str | None = None,
    changelog: str | None = None,
) -> list[AuditRecord]:
    """Recomputes every digest of a lane's trail from the records that are on the topics now.

    Ranges are contiguous from 0, each input record is in exactly one, each output record of the lane in exactly one
    turn. `outputs` are the topics this agent alone writes: all of the lane's records there must be accounted for. State
    digests are recomputed from the changelog, if it is given and still names the turn.
    """
    read = turns(topics, audit, agent, lane)
    at: dict[str, int] = {}
    written: dict[tuple[str, int], Sequence[Record]] = {}
    taken: dict[tuple[str, int], int] = {}
    for turn in read:
        inputs: list[Record] = []
        for part in turn.inputs:
            assert part.partition == lane
            assert part.from_ == at.get(part.topic, 0), f"{agent}/{lane} turn {turn.seq}: {part} leaves a gap"
            at[part.topic] = part.to
            here = _between(topics[part.topic][lane], part.from_, part.to)
            assert len(here) == part.count, f"{agent}/{lane} turn {turn.seq}: {part} has {len(here)} records"
            inputs += here
        assert digest(inputs, with_offset=True) == turn.input_digest, f"{agent}/{lane} turn {turn.seq}: inputs"
        sent: list[Record] = []
        for output in turn.outputs:
            place = output.topic, output.partition
            if place not in written:
                all_lanes = topics[output.topic][output.partition]
                wrote = _is_timer if output.topic == inbox_timers else lambda record: lane_of(record) == lane
                written[place] = list(filter(wrote, all_lanes))
            begin = taken.get(place, 0)
            sent += written[place][begin : begin + output.count]
            taken[place] = begin + output.count
        assert digest(sent, with_offset=False) == turn.output_digest, f"{agent}/{lane} turn {turn.seq}: {turn.outputs}"
    for place, all_of_it in written.items():
        assert taken[place] == len(all_of_it), f"{agent}/{lane}: {place} has records that no turn accounts for"
    for topic in outputs:
        for partition, records in topics[topic].items():
            mine = [r for r in records if lane_of(r) == lane]
            assert len(mine) == taken.get((topic, partition), 0), f"{agent}/{lane}: {topic}/{partition} has strays"
    if changelog is not None:
        verify_states(topics[changelog][lane], read)
    return read


def verify_states(changelog: Iterable[Record], read: Sequence[AuditRecord]) -> int:
    """Recomputes the state digests of turns that a lane's changelog still names; returns how many that were."""
    digests = {turn.seq: turn.state_digest for turn in read if turn.state_digest is not None}
    rows: dict[bytes, Record] = {}
    found = 0
    for record in changelog:
        if record.key is not None and record.key.startswith(b"row:"):
            rows.pop(record.key, None)
            if record.value is not None:
                rows[record.key] = record
        elif record.key == b"position":
            seq = json.loads(record.value or b"")["seq"]
            if seq in digests:
                assert state_digest(rows.values()) == digests[seq], f"the rows after turn {seq}"
                found += 1
    return found


def state_digest(rows: Iterable[Record]) -> str:
    """SHA-256 over the sum, modulo 2^4096, of what SHAKE-128 makes of each row's hash in 512 bytes."""
    total = 0
    for row in rows:
        hashed = hashlib.sha256(_fields(row)).digest()
        total += int.from_bytes(hashlib.shake_128(hashed).digest(512), "big")
    return hashlib.sha256((total % 2**4096).to_bytes(512, "big")).hexdigest()


def _is_timer(record: Record) -> bool:
    return any(name == "lane-timer" for name, _ in record.headers)


def _between(log: Sequence[Record], first: int, end: int) -> Sequence[Record]:
    return log[bisect_left(log, first, key=_offset) : bisect_left(log, end, key=_offset)]


def _offset(record: Record) -> int:
    return record.offset


def position_of(read: Sequence[AuditRecord]) -> dict[str, int]:
    """Where a lane stands after these turns."""
    return {part.topic: part.to for turn in read for part in turn.inputs}


def in_order(topics: Topics, read: Sequence[AuditRecord], lane: int) -> Iterator[Record]:
    """The records that these turns handled, in the order they handled them."""
    for turn in read:
        for part in turn.inputs:
            yield from _between(topics[part.topic][lane], part.from_, part.to)
