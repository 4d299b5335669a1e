"""Checkpoints of recorded turns, as a notary beside them would have made them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from schemas import topics
from schemas.checkpoint import Checkpoint, signed_bytes
from streams.audit.anchoring import Checkpoints
from streams.engine.records import Record
from streams.keys import SigningKey
from streams.notary.chain import by_id
from streams.notary.signing import Notary, Origin
from tests.support.recorded import NAMING, PARTITIONS, Recorder

KEY = SigningKey.generate()
KEYS = by_id([KEY.public_key])
ORIGIN = Origin("t.", "cluster")
AUDIT = NAMING.topic(topics.AUDIT)
BEGAN = datetime(2026, 5, 3, 14, tzinfo=UTC)


def notary(last: Checkpoint | None = None, key: SigningKey = KEY) -> Notary:
    since = last.number if last else 0
    times = (BEGAN + timedelta(seconds=10 * number) for number in range(since, 1_000_000))
    return Notary(key, ORIGIN, PARTITIONS, last, lambda: next(times))


def trail(lanes: Recorder) -> list[Record]:
    """The audit records of all partitions, in the order of their times."""
    return sorted(
        (record for log in lanes.topics[AUDIT].values() for record in log), key=lambda r: (r.timestamp, r.partition)
    )


def read(one: Notary, records: Iterable[Record]) -> None:
    for record in records:
        one.read(record.partition, record.key, record.value)


def signed(one: Notary) -> Checkpoint:
    made = one.next()
    assert made is not None
    one.keep(made)
    return made


def checkpoints_of(records: Sequence[Record], every: int = 5, key: SigningKey = KEY) -> list[Checkpoint]:
    """A checkpoint after each few records; what is left over is in none."""
    one, made = notary(key=key), list[Checkpoint]()
    for begin in range(0, len(records) - every + 1, every):
        read(one, records[begin : begin + every])
        made.append(signed(one))
    return made


def written(file: Path, made: Iterable[Checkpoint], keys: Mapping[str, bytes] = KEYS) -> Checkpoints:
    file.write_bytes(b"".join(one.line() + b"\n" for one in made))
    return Checkpoints.as_of_now((file,), keys)


def resigned(document: dict[str, Any]) -> Checkpoint:
    """A checkpoint of these fields, signed by the notary's key whatever they say."""
    unsigned = {name: value for name, value in document.items() if name != "signature"}
    return Checkpoint.model_validate_json(orjson.dumps({**unsigned, "signature": KEY.sign(signed_bytes(unsigned))}))
