"""One turn of a receipt: its records held to their hashes, the hashes to its audit record, that to the one before."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from schemas.audit import AuditRecord, InputRange
from schemas.receipt import HASH_BYTES, ShownInput, ShownOutput, ShownTurn
from streams.engine import digest
from streams.engine.digest import NO_HASH
from streams.engine.records import Headers, InputRecord
from streams.receipts.findings import Findings, Kind

Contents = Mapping[str, bytes]
"""The values of records by their SHA-256."""


class Read(NamedTuple):
    """A record that the turn read, and the lane's time when it decided on it."""

    record: InputRecord
    clock_ms: int


class Wrote(NamedTuple):
    """A record that the turn wrote."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenTurn:
    """A turn of which everything shown is what its audit record is of. `before` is None for a lane's first."""

    record: AuditRecord
    raw: bytes
    before: AuditRecord | None
    inputs: tuple[Read, ...]
    outputs: tuple[Wrote, ...]

    @property
    def name(self) -> str:
        """How people call it."""
        return name_of(self.record)


def name_of(record: AuditRecord) -> str:
    """How people call a turn."""
    return f"{record.agent}/{record.lane} turn {record.seq}"


def prove(shown: ShownTurn, contents: Contents, findings: Findings) -> ProvenTurn | None:
    """The turn, or None where something differs, which is said."""
    record = _audit_record(shown.record)
    if record is None:
        findings.say(Kind.DAMAGED, None, "what is given as an audit record is none")
        return None
    proving, said = _Proving(record, shown, contents, findings), len(findings.every)
    before = proving.chain()
    proving.digests()
    inputs = tuple(proving.input(one, before) for one in shown.inputs)
    outputs = tuple(map(proving.output, shown.outputs))
    if len(findings.every) > said:
        return None
    return ProvenTurn(record=record, raw=shown.record, before=before, inputs=inputs, outputs=outputs)


def _audit_record(raw: bytes) -> AuditRecord | None:
    try:
        return AuditRecord.model_validate_json(raw)
    except ValidationError:
        return None


@dataclass(frozen=True, slots=True)
class _Proving:
    record: AuditRecord
    shown: ShownTurn
    contents: Contents
    findings: Findings

    def chain(self) -> AuditRecord | None:
        """The audit record before this one."""
        record, raw = self.record, self.shown.previous
        before = None if raw is None else _audit_record(raw)
        if record.seq == 1:
            if raw is not None or record.previous != NO_HASH:
                self._say(Kind.CHAIN_BROKEN, "the first turn of a lane has none before it, and one is named")
        elif raw is None or before is None:
            self._say(Kind.CHAIN_BROKEN, "the audit record before it is not shown, or is none")
        elif digest.of_bytes(raw) != record.previous:
            self._say(Kind.CHAIN_BROKEN, "it names the hash of another audit record than the one shown before it")
        elif (before.agent, before.lane, before.seq) != (record.agent, record.lane, record.seq - 1):
            self._say(Kind.CHAIN_BROKEN, f"the audit record shown before it is that of {name_of(before)}")
        return before

    def digests(self) -> None:
        """The hashes of all records come to the digests."""
        read, wrote = (sum(part.count for part in parts) for parts in (self.record.inputs, self.record.outputs))
        self._digest("inputs", self.shown.input_hashes, read, self.record.input_digest)
        if self.shown.output_hashes is not None:
            self._digest("outputs", self.shown.output_hashes, wrote, self.record.output_digest)
        for every in (self.shown.inputs, self.shown.outputs):
            indexes = [one.index for one in every]
            if indexes != sorted(set(indexes)):
                self._say(Kind.DAMAGED, "records are shown twice or out of order")

    def _digest(self, what: str, hashes: bytes, count: int, expected: str) -> None:
        if len(hashes) != count * HASH_BYTES:
            words = f"{len(hashes) // HASH_BYTES} hashes of {what} are given, the audit record counts {count}"
            self._say(Kind.TURN_CHANGED, words)
        elif digest.of_bytes(hashes) != expected:
            self._say(Kind.TURN_CHANGED, f"the hashes of its {what} do not come to the digest in its audit record")

    def input(self, one: ShownInput, before: AuditRecord | None) -> Read:
        """A record that the turn read."""
        place = f"{one.topic}/{one.partition}/{one.offset}"
        made = InputRecord(
            one.topic, one.partition, one.offset, one.time, one.key, self._content(one.value), one.headers
        )
        part = next((part for part, index in _ranges(self.record) if index <= one.index < index + part.count), None)
        is_there = part is not None and (part.topic, part.partition) == (one.topic, one.partition)
        if part is None or not is_there or not part.from_ <= one.offset < part.to:
            self._say(Kind.RECORD_CHANGED, f"the turn did not read {place} as its record {one.index}")
        elif _hash_at(self.shown.input_hashes, one.index) != _input_hash(made):
            self._say(Kind.RECORD_CHANGED, f"{place} is not the record that was read: its hash is another")
        least = max(one.time, before.clock if before else 0)
        if not least <= one.clock <= self.record.clock:
            words = f"{place} was decided on at {one.clock}; the audit records allow {least} to {self.record.clock}"
            self._say(Kind.TIME_IMPOSSIBLE, words)
        return Read(made, one.clock)

    def output(self, one: ShownOutput) -> Wrote:
        """A record that the turn wrote."""
        place, value = f"{one.topic}/{one.partition}", self._content(one.value)
        image = digest.output_image(digest.partition_prefix(one.topic, one.partition), one.key, one.headers, value)
        hashes = self.shown.output_hashes
        if hashes is None or _hash_at(hashes, one.index) != digest.sha256(image):
            words = f"the record shown on {place} is not record {one.index} that the turn wrote: its hash is another"
            self._say(Kind.RECORD_CHANGED, words)
        return Wrote(one.topic, one.partition, one.key, value, one.headers)

    def _content(self, name: str | None) -> bytes | None:
        return None if name is None else self.contents.get(name, b"")

    def _say(self, kind: Kind, words: str) -> None:
        self.findings.say(kind, name_of(self.record), words)


def _ranges(record: AuditRecord) -> Iterator[tuple[InputRange, int]]:
    """Each range of inputs, and the place of its first record among the turn's hashes."""
    index = 0
    for part in record.inputs:
        yield part, index
        index += part.count


def _hash_at(hashes: bytes, index: int) -> bytes:
    return hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]


def _input_hash(record: InputRecord) -> bytes:
    return digest.input_hash(digest.partition_prefix(record.topic, record.partition), record)


def content_id(value: bytes) -> str:
    """What a content is called in a receipt."""
    return hashlib.sha256(value).hexdigest()
