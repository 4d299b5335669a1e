"""An index of records in memory, and stories told from them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from streams.audit.log import Place
from streams.engine.records import Record
from streams.search.building import Installed, mark
from streams.search.entries import Entry, Reader, TurnEntry
from streams.search.explaining import Story, lookup, tell
from streams.search.file import Batch, IndexFile, Reached
from streams.search.reading import At, Found
from tests.support.recorded import NAMING, PARTITIONS, Topics

CLUSTER = "the-cluster"


class MemoryPlaces:
    """Records by their places; what was deleted, `begins` says."""

    def __init__(self, topics: Topics, begins: Mapping[Place, int] | None = None) -> None:
        self._begins = begins or {}
        every = (record for parts in topics.values() for log in parts.values() for record in log)
        self._records: dict[At, Record] = {(one.topic, one.partition, one.offset): one for one in every}

    async def read(self, wanted: Iterable[At]) -> Mapping[At, Found]:
        return {where: self._at(where) for where in wanted}

    def _at(self, where: At) -> Found:
        if where[2] < self._begins.get(where[:2], 0):
            return Found(None, "deleted by retention")
        record = self._records.get(where)
        return Found(None, "nothing is at this offset any more") if record is None else Found(record)


def opened(path: Path) -> IndexFile:
    return IndexFile.open(path / "index.sqlite", cluster=CLUSTER, prefix=NAMING.prefix)


def batch(topics: Topics) -> Batch:
    """All that is in these topics, as a builder adds it."""
    reader = Reader(NAMING.prefix)
    entries: list[tuple[Place, int, Entry]] = []
    turns: list[TurnEntry] = []
    reached: dict[Place, Reached] = {}
    for topic, parts in topics.items():
        for partition, log in parts.items():
            for record in log if reader.wants(topic) else ():
                found = reader.turns(record) if topic == NAMING.topic("audit") else reader.entry(record)
                if isinstance(found, Entry):
                    entries.append(((topic, partition), record.offset, found))
                else:
                    turns += found
                reached[topic, partition] = Reached(record.offset + 1, record.offset, mark(record))
    return Batch(entries, turns, reached)


def indexed(path: Path, topics: Topics) -> IndexFile:
    path.mkdir(exist_ok=True)
    file = opened(path)
    file.add(batch(topics))
    file.finish(0)
    return file


async def told(file: IndexFile, topics: Topics, given: str, begins: Mapping[Place, int] | None = None) -> Story:
    installed = Installed(CLUSTER, NAMING.prefix, dict.fromkeys(topics, PARTITIONS))
    return await tell(MemoryPlaces(topics, begins), installed, file, lookup(file, given))
