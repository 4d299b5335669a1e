"""What the notary does: holds the trail to what it has signed before, and signs what is new. Pure but for the clock."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from schemas.checkpoint import FIRST_PREVIOUS, Checkpoint, signed_bytes
from streams.keys import SigningKey
from streams.notary.errors import HistoryRefusedError
from streams.notary.trees import TrailTrees, TurnSeen

_ADVICE = (
    "Nothing more is signed. 'acgs audit verify --checkpoint' with this file says what is different; keep file and log "
    "as they are (docs/audit.md)"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose trail it is."""

    prefix: str
    cluster_id: str


class Notary:
    """Reads records in the order of each partition, from the first on, and makes checkpoints of them.

    `last` is the last one made. Until the trail has reached its sizes with its roots, none is made.
    """

    def __init__(
        self,
        key: SigningKey,
        origin: Origin,
        partitions: int,
        last: Checkpoint | None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Begins with no record read.

        Raises:
            HistoryRefusedError: the last checkpoint is of another installation.
        """
        self._key, self._origin, self._now = key, origin, now
        self.last = last
        self.trees = TrailTrees(partitions)
        self._behind = set[int]()
        if last is not None:
            _require_same(last, origin, partitions)
            self._behind = {tree.partition for tree in last.trees if tree.size}

    def read(self, partition: int, key: bytes | None, value: bytes | None) -> TurnSeen | None:
        """Takes the next record of a partition.

        Raises:
            HistoryRefusedError: what was read by now is not what was signed.
        """
        seen = self.trees.add(partition, key, value)
        if partition in self._behind and self.last is not None:
            signed = self.last.trees[partition]
            if self.trees.size_of(partition) == signed.size:
                if self.trees.tree(partition).root != signed.root:
                    raise HistoryRefusedError(
                        f"the first {signed.size} records of audit/{partition} are not those that checkpoint "
                        f"{self.last.number} of {self.last.signed_at} was signed for: history was rewritten. {_ADVICE}"
                    )
                self._behind.remove(partition)
        return seen

    def require_all(self) -> None:
        """Call it once everything that the topic had at the start has been read.

        Raises:
            HistoryRefusedError: that is less than what was signed.
        """
        for partition in sorted(self._behind):
            if self.last is not None:
                signed, here = self.last.trees[partition].size, self.trees.size_of(partition)
                raise HistoryRefusedError(
                    f"audit/{partition} has {here} records, and checkpoint {self.last.number} of "
                    f"{self.last.signed_at} was signed for {signed}: the trail was cut. {_ADVICE}"
                )

    @property
    def unsigned(self) -> int:
        """How many records have been read that no checkpoint holds; 0 until the signed ones have been."""
        return 0 if self._behind else self.trees.size - (self.last.size if self.last else 0)

    def next(self) -> Checkpoint | None:
        """The next checkpoint, None where nothing is new. It counts once it is passed to keep()."""
        if not self.unsigned:
            return None
        document = {
            "v": 1,
            "number": self.last.number + 1 if self.last else 1,
            "signed_at": self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "prefix": self._origin.prefix,
            "cluster_id": self._origin.cluster_id,
            "previous": self.last.digest if self.last else FIRST_PREVIOUS,
            "trees": [tree.model_dump() for tree in self.trees.trees()],
            "heads": [head.model_dump() for head in self.trees.heads()],
            "key_id": self._key.id,
        }
        signed = {**document, "signature": self._key.sign(signed_bytes(document))}
        return Checkpoint.model_validate_json(orjson.dumps(signed))

    def keep(self, made: Checkpoint) -> None:
        """The checkpoint is on disk."""
        self.last = made


def _require_same(last: Checkpoint, origin: Origin, partitions: int) -> None:
    if (last.prefix, last.cluster_id) != (origin.prefix, origin.cluster_id):
        raise HistoryRefusedError(
            f"the file has checkpoints of prefix '{last.prefix}' at cluster {last.cluster_id}, and this is prefix "
            f"'{origin.prefix}' at cluster {origin.cluster_id}: if this is another installation, give it a file of its "
            "own (ACGS_NOTARY_FILE)"
        )
    if len(last.trees) != partitions:
        raise HistoryRefusedError(
            f"audit has {partitions} partitions, it had {len(last.trees)} when checkpoint {last.number} was signed. "
            f"{_ADVICE}"
        )
