"""The audit record of a turn: what it read, in which order, what it wrote, and the draw it decided with."""

from dataclasses import dataclass

import orjson

from streams.engine.state import Accepted

_VERSION = 1

STATE_DIGEST_EVERY = 16
"""Turns from one state digest to the next. More often, the trail grows; more rarely, an audit that begins after what
retention has deleted has longer to go before it knows the lane's rows again."""


@dataclass(slots=True)
class InputRange:
    """Offsets `first` to `next` of one input partition, `count` records, handled in one go."""

    topic: str
    first: int
    next: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord:
    """The content of one audit record. Digests and hashes are SHA-256 in hexadecimal."""

    agent: str
    lane: int
    seq: int
    previous: str
    inputs: list[InputRange]
    input_digest: str
    outputs: list[tuple[str, int, int]]
    output_digest: str
    entropy: str
    state_digest: str | None
    decision_version: int
    epoch: int | None
    clock: int
    accepted: Accepted | None

    def encode(self) -> bytes:
        """The record's value on the audit topic."""
        document: dict[str, object] = {
            "v": _VERSION,
            "agent": self.agent,
            "lane": self.lane,
            "seq": self.seq,
            "previous": self.previous,
            "inputs": [
                {"topic": r.topic, "partition": self.lane, "from": r.first, "to": r.next, "count": r.count}
                for r in self.inputs
            ],
            "input_digest": self.input_digest,
            "outputs": [{"topic": t, "partition": p, "count": count} for t, p, count in self.outputs],
            "output_digest": self.output_digest,
            "entropy": self.entropy,
            **({} if self.state_digest is None else {"state_digest": self.state_digest}),
            "decision_version": self.decision_version,
            "epoch": self.epoch,
            "clock": self.clock,
        }
        if self.accepted is not None:
            accepted = self.accepted
            document["accepted"] = {
                "positions": accepted.offsets,
                "operator": accepted.operator,
                "reason": accepted.reason,
            }
        return orjson.dumps(document)


def trail_key(agent: str, lane: int) -> bytes:
    """The key of a lane's audit records."""
    return f"{agent}/{lane}".encode()
