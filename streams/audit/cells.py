"""Which records of a partition no turn accounts for, in memory that does not grow with the log."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from streams.engine.records import Record

_CELLS = 1024

IsCounted = Callable[[Record], bool]
"""Whether a record must be some turn's."""


class Cells:
    """Counts and sums of offsets, apart by offset modulo 1024: what is present adds, what a turn claims takes away.

    A record without a claim is left over alone in its cell, and the sum is its offset. Cells of several processes add
    up, in any order.
    """

    __slots__ = ("counts", "sums")

    def __init__(self) -> None:
        self.counts, self.sums = [0] * _CELLS, [0] * _CELLS

    def add(self, offsets: Iterable[int]) -> None:
        """Records are there."""
        counts, sums = self.counts, self.sums
        for offset in offsets:
            cell = offset % _CELLS
            counts[cell] += 1
            sums[cell] += offset

    def remove(self, offset: int) -> None:
        """A turn has written the record there."""
        self.counts[offset % _CELLS] -= 1
        self.sums[offset % _CELLS] -= offset

    def take(self, others: "Cells") -> None:
        """Adds other cells to these."""
        self.counts = [mine + other for mine, other in zip(self.counts, others.counts, strict=True)]
        self.sums = [mine + other for mine, other in zip(self.sums, others.sums, strict=True)]

    @property
    def left(self) -> int:
        """How many records nobody claims."""
        return sum(self.counts)

    def alone(self) -> list[int]:
        """The offsets that are certain: those alone in their cell."""
        return sorted(self._alone())

    def _alone(self) -> Iterator[int]:
        for cell, (count, total) in enumerate(zip(self.counts, self.sums, strict=True)):
            if count == 1 and total % _CELLS == cell and total >= 0:
                yield total


@dataclass(slots=True)
class Present:
    """The records of a partition up to the offset `next`: their cells and how many they are.

    With `is_counted`, only those that it is true of.
    """

    next: int
    is_counted: IsCounted | None = None
    cells: Cells = field(default_factory=Cells)
    count: int = 0

    def add(self, records: Sequence[Record], until: int) -> None:
        """Counts the records that follow, if they stand before an offset."""
        if not records:
            return
        counted = records if self.is_counted is None else filter(self.is_counted, records)
        offsets = [record.offset for record in counted if record.offset < until]
        self.cells.add(offsets)
        self.count += len(offsets)
        self.next = records[-1].offset + 1
