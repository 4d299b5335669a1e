"""What an auditor and a release that takes turns again for it say to each other: JSON, a line each way.

The auditor asks for what `do` names, and the release answers with one object, `{"error": words}` if it cannot do it:

- `versions`: answers `protocol`, and `versions`, the decision_version of each agent.
- `open` with `agent`, `lane`, `prefix`: the lane whose turns are to be taken.
- `stand` with `position`, `accepted`, and `control` and `rows` if they are not as they were: the state before the turn.
- `attempt` with `ranges`, `draw`, `partitions`, `max_bytes`, `timers`, `recorded`: answers `batches` and `records`.
- `keep` with `attempt`: the attempt of that number since the last `stand` is the lane's past.

Bytes are base64. Once released a form stays: a later one has another number of protocol.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streams.engine.records import Headers, InputRecord, Record
from streams.engine.rerun import Range
from streams.engine.turn import Output

PROTOCOL = 1

Batches = Mapping[tuple[str, int], Sequence[Output]]


def text(content: bytes | None) -> str | None:
    """Bytes, or their absence, for JSON."""
    return None if content is None else b64encode(content).decode()


def content(given: str | None) -> bytes | None:
    """The bytes again."""
    return None if given is None else b64decode(given)


def of_ranges(ranges: Iterable[Range]) -> list[dict[str, Any]]:
    """What a turn reads."""
    return [
        {"topic": one.topic, "next": one.next_offset, "records": [_of_record(record) for record in one.records]}
        for one in ranges
    ]


def ranges_of(given: Iterable[Mapping[str, Any]], partition: int) -> list[Range]:
    """What a turn reads, again."""
    return [
        Range(one["topic"], [_record(one["topic"], partition, *record) for record in one["records"]], one["next"])
        for one in given
    ]


def of_batches(batches: Batches) -> list[list[Any]]:
    """What a turn writes."""
    return [
        [
            topic,
            partition,
            [[text(key), text(value), _of_headers(headers), size] for key, value, headers, size in outputs],
        ]
        for (topic, partition), outputs in batches.items()
    ]


def batches_of(given: Iterable[Sequence[Any]]) -> dict[tuple[str, int], list[Output]]:
    """What a turn writes, again."""
    return {
        (topic, partition): [(content(k), content(v), _headers(headers), size) for k, v, headers, size in outputs]
        for topic, partition, outputs in given
    }


def _of_record(record: Record) -> list[Any]:
    return [record.offset, record.timestamp, text(record.key), text(record.value), _of_headers(record.headers)]


def _record(topic: str, partition: int, *fields: Any) -> InputRecord:  # noqa: ANN401  # as JSON has them
    offset, timestamp, key, value, headers = fields
    return InputRecord(topic, partition, offset, timestamp, content(key), content(value), _headers(headers))


def _of_headers(headers: Headers) -> list[list[str | None]]:
    return [[text(name.encode("utf-8", "surrogateescape")), text(value)] for name, value in headers]


def _headers(given: Iterable[Sequence[str | None]]) -> Headers:
    return tuple(((content(name) or b"").decode("utf-8", "surrogateescape"), content(value)) for name, value in given)
