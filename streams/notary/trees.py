"""The trail as the notary sees it: one Merkle tree over each partition of `audit`, and the head of each lane. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson

from schemas.checkpoint import FIRST_PREVIOUS, LaneHead, TreeHead
from schemas.model import MAX_NAME_CHARACTERS
from streams.engine.trail import trail_key
from streams.notary.merkle import Tree, leaf_hash

_MAX_INTEGER = 2**53 - 1
_MOST_LANES = 256

Lane = tuple[str, int]
"""An agent and a partition of it."""


@dataclass(frozen=True, slots=True)
class TurnSeen:
    """What the notary reads in an audit record. `sha256` is that of the record's value, `records` those of its inputs.

    `continues` says whether it is the turn after the lane's last one, names its hash and stands under the lane's key.
    """

    lane: Lane
    seq: int
    sha256: str
    records: int
    continues: bool


class TrailTrees:
    """Trees and heads over all records so far. Needs memory for partitions and lanes, whatever the length of the trail.

    A tree has every committed record of its partition, in order, whatever it holds: its leaf is the value, of a record
    without one no bytes. A lane's head is the last record that names it, in the partition it writes to, that of its own
    number: whoever has the leaves comes to the same heads. Of a record no more is understood than that, so that a later
    release's is too. Lanes that come after the 256th of a partition have no head: there are some ten agents, and who
    may write to the topic must not choose how long a checkpoint is.
    """

    def __init__(self, partitions: int) -> None:
        self._trees = [Tree() for _ in range(partitions)]
        self._broken = [0] * partitions
        self._lanes = [0] * partitions
        self._heads: dict[Lane, tuple[int, str]] = {}

    def add(self, partition: int, key: bytes | None, value: bytes | None) -> TurnSeen | None:
        """Appends the next record of a partition; None if it is no turn of a lane that writes there."""
        leaf = value or b""
        self._trees[partition].add(leaf_hash(leaf))
        said = _said(leaf)
        if said is None or said["lane"] != partition or not self._knows((said["agent"], partition)):
            self._broken[partition] += 1
            return None
        lane, seq, sha256 = (said["agent"], partition), said["seq"], hashlib.sha256(leaf).hexdigest()
        last_seq, last_hash = self._heads.get(lane, (0, FIRST_PREVIOUS))
        self._heads[lane] = seq, sha256
        continues = seq == last_seq + 1 and said.get("previous") == last_hash and key == trail_key(*lane)
        self._broken[partition] += not continues
        return TurnSeen(lane, seq, sha256, _records(said), continues)

    def _knows(self, lane: Lane) -> bool:
        if lane not in self._heads:
            if self._lanes[lane[1]] == _MOST_LANES:
                return False
            self._lanes[lane[1]] += 1
        return True

    @property
    def partitions(self) -> int:
        """How many trees there are."""
        return len(self._trees)

    @property
    def size(self) -> int:
        """How many records all trees hold together."""
        return sum(tree.size for tree in self._trees)

    def size_of(self, partition: int) -> int:
        """How many records one tree holds."""
        return self._trees[partition].size

    def tree(self, partition: int) -> TreeHead:
        """One tree as it is now."""
        tree = self._trees[partition]
        root, broken = tree.root().hex(), self._broken[partition]
        return TreeHead(partition=partition, size=tree.size, root=root, broken=broken)

    def trees(self) -> tuple[TreeHead, ...]:
        """Every tree as it is now."""
        return tuple(self.tree(partition) for partition in range(len(self._trees)))

    def heads(self) -> tuple[LaneHead, ...]:
        """Every lane that has taken a turn, by agent and lane."""
        return tuple(
            LaneHead(agent=agent, lane=lane, seq=seq, sha256=sha256)
            for (agent, lane), (seq, sha256) in sorted(self._heads.items())
        )


def _said(value: bytes) -> dict[str, Any] | None:
    try:
        read = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(read, dict):
        return None
    said = cast("dict[str, Any]", read)
    agent, lane, seq = said.get("agent"), said.get("lane"), said.get("seq")
    if not isinstance(agent, str) or not 1 <= len(agent) <= MAX_NAME_CHARACTERS:
        return None
    if not _is_number(lane, 0) or not _is_number(seq, 1):
        return None
    return said


def _is_number(found: object, least: int) -> bool:
    return type(found) is int and least <= found <= _MAX_INTEGER


def _records(said: Mapping[str, Any]) -> int:
    """How many records the turn has handled; 0 where it does not say so in a way that is understood."""
    inputs: Any = said.get("inputs")
    try:
        return sum(int(one["count"]) for one in inputs)
    except (TypeError, KeyError, ValueError, OverflowError):
        return 0
