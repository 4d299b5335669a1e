"""Anchoring: does the log have exactly what checkpoints of it say that somebody keeps elsewhere?"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from handlers.signatures import is_signed
from schemas import topics
from schemas.checkpoint import Checkpoint, LaneHead, TreeHead, parse
from streams.audit.facts import InstalledTopics
from streams.audit.findings import Finding, Findings, Kind, Open, position
from streams.audit.log import Cursor, Log, Place
from streams.audit.report import LaneReport
from streams.engine.records import Record
from streams.engine.trail import trail_key
from streams.errors import StreamsError
from streams.notary.chain import Chain, ChainError, Fault
from streams.notary.checkpoint_file import Line, lines
from streams.notary.trees import Lane, TrailTrees, TurnSeen

_FILE = "checkpoints"
_LANES_NAMED = 5
_TWO_FACED = "it is not the same for everybody"


@dataclass(frozen=True, slots=True)
class After:
    """Turns of a lane that no checkpoint holds yet, and the input records of them."""

    turns: int
    records: int


@dataclass(slots=True)
class Anchor:
    """What came of it. `last` is the last checkpoint that the log keeps to, `checkpoints` how many do.

    `after` has, of each lane, what stands after `last`, `heads` its last turn in the log. `ends` are the hashes of the
    turns that were asked for, `astray` the lanes that have turns under another key than theirs. Where the trail has
    lost its first records it `was_read` not at all.
    """

    was_read: bool = False
    last: Checkpoint | None = None
    checkpoints: int = 0
    findings: Findings = field(default_factory=Findings)
    after: dict[Lane, After] = field(default_factory=dict[Lane, After])
    ends: dict[tuple[Lane, int], set[str]] = field(default_factory=dict[tuple[Lane, int], set[str]])
    heads: dict[Lane, LaneHead] = field(default_factory=dict[Lane, LaneHead])
    astray: set[Lane] = field(default_factory=set[Lane])


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Files of checkpoints, the later ones copies of the first, and the notary's public keys by id.

    `ends` are their sizes before the log's ends were taken: a notary may go on to write, and of what it signs later the
    log as of that moment knows nothing.
    """

    files: tuple[Path, ...]
    ends: tuple[int, ...]
    keys: Mapping[str, bytes]

    @classmethod
    def as_of_now(cls, files: Sequence[Path], keys: Mapping[str, bytes]) -> Self:
        """The files as they are.

        Raises:
            StreamsError: one cannot be read.
        """
        sizes = [_size(file) for file in reversed(files)]  # what a copy has, the first file has had before
        return cls(tuple(files), tuple(reversed(sizes)), keys)


async def anchor(
    log: Log, facts: InstalledTopics, reports: Sequence[LaneReport], given: Checkpoints, *, to_the_end: bool = True
) -> Anchor:
    """Holds the log to checkpoints, and what was verified of lanes to the same log.

    A broker that shows one trail to who verifies decisions and another one to who compares trees is found out: each
    lane must end with the same turn in both. Not `to_the_end` if the lanes were verified up to a time.

    Raises:
        StreamsError: a file cannot be read.
    """
    sound = [one for one in reports if not one.findings.differences()]
    ends = [((one.agent, one.lane), one.last_seq) for one in sound if one.head]
    with _opened(given.files[0]) as content:
        told = await Anchoring(log, facts, given.keys, ends).run(lines(content, given.ends[0]))
    for one in sound if told.was_read else ():
        words = _not_the_same(one, told, to_the_end=to_the_end)
        if words is not None:
            told.findings.add(
                Finding(Kind.HISTORY_REWRITTEN, one.agent, one.lane, one.last_seq or None, f"{words}: {_TWO_FACED}")
            )
    for number in range(1, len(given.files)):
        told.findings.take(compared(given, number))
    return told


def _not_the_same(one: LaneReport, told: Anchor, *, to_the_end: bool) -> str | None:
    """Why the lane that was verified is not the lane in the trees, in words."""
    if one.head and one.head not in told.ends[(one.agent, one.lane), one.last_seq]:
        return f"turn {one.last_seq} was another one when the log was read again"
    lane = one.agent, one.lane
    last = told.heads.get(lane) if to_the_end and lane not in told.astray else None
    if last is not None and (last.seq, last.sha256) != (one.last_seq, one.head):
        return f"the lane ended with turn {one.last_seq}, and with turn {last.seq} when the log was read again"
    return None


def compared(given: Checkpoints, number: int) -> Findings:
    """Whether the first file has every checkpoint that a copy has; what comes after those is not looked at.

    Raises:
        StreamsError: one of them cannot be read.
    """
    found, file, copy = Findings(), given.files[0], given.files[number]
    with _opened(file) as one, _opened(copy) as other:
        chain, mine = Chain(given.keys), lines(one, given.ends[0])
        for its in lines(other, given.ends[number]):
            try:
                read = chain.take(its.content)
            except ChainError as error:
                if its.is_whole:
                    found.add(_of_line(_kind(error), its.number, f"{copy}: {error}"))
                break
            here = next(mine, None)
            if here is None or (not here.is_whole and here.content != its.content):
                words = f"{file} has lost its end: {copy} goes on with checkpoint {read.number}"
                found.add(_of_line(Kind.CHECKPOINT_BROKEN, its.number, words))
                break
            if here.content != its.content:
                if _is_signed(here.content, given.keys):
                    words = (
                        f"{file} and {copy} have two checkpoints {read.number}, and the notary's key has signed both"
                    )
                    found.add(_of_line(Kind.CHECKPOINT_FORKED, its.number, words))
                break
    return found


def _is_signed(line: bytes, keys: Mapping[str, bytes]) -> bool:
    try:
        read = parse(line)
    except ValueError:
        return False
    raw = keys.get(read.key_id)
    return raw is not None and is_signed(raw, read.signature, read.signed_bytes)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise StreamsError(f"{file} cannot be read: {error.strerror}") from error


@contextmanager
def _opened(file: Path) -> Generator[IO[bytes], None, None]:
    try:
        with file.open("rb") as content:
            yield content
    except OSError as error:
        raise StreamsError(f"{file} cannot be read: {error.strerror}") from error


class Anchoring:
    """Reads checkpoints and the partitions of `audit` beside each other, once; neither is held in memory.

    `keys` are the notary's public keys by id. Of the turns in `ends`, the hashes are told that stand in the log now: an
    audit of lanes that came to other ones was shown another log.
    """

    def __init__(
        self, log: Log, facts: InstalledTopics, keys: Mapping[str, bytes], ends: Iterable[tuple[Lane, int]] = ()
    ) -> None:
        topic = facts.naming.topic(topics.AUDIT)
        self._log = log
        self._places: list[Place] = [(topic, number) for number in range(facts.partitions[topic])]
        self._cursors = [Cursor(log, place) for place in self._places]
        self._trees = TrailTrees(len(self._places))
        self._chain = Chain(keys)
        self._after: dict[Lane, After] = {}
        self._offsets = [0] * len(self._places)
        self._anchor = Anchor(ends={end: set() for end in ends})

    async def run(self, checkpoints: Iterable[Line]) -> Anchor:
        """Holds the log to the checkpoints, and reads what comes after them. Call it once."""
        try:
            self._anchor.was_read = self._is_whole()
            if self._anchor.was_read:
                await self._hold_to(checkpoints)
                await self._read_on()
        finally:
            for cursor in self._cursors:
                await cursor.close()
        return self._anchor

    def _is_whole(self) -> bool:
        """Whether the trail still has its first records; what is deleted cannot be held to anything."""
        for place in self._places:
            begin = self._log.begin(place)
            if begin:
                words = f"it begins at offset {begin}: what a checkpoint was signed for is not there any more"
                self._anchor.findings.add(Finding(Open.TRAIL_DELETED, *place, None, words, position(place, begin)))
                return False
        return True

    async def _hold_to(self, checkpoints: Iterable[Line]) -> None:
        for line in checkpoints:
            try:
                read = self._chain.take(line.content)
            except ChainError as error:
                if line.is_whole:
                    self._anchor.findings.add(_of_line(_kind(error), line.number, str(error)))
                break
            if not await self._holds(read):
                break
            self._anchor.last, self._after = read, {}
            self._anchor.checkpoints += 1
        if self._anchor.last is None and not self._anchor.findings.first:
            self._anchor.findings.add(_of_line(Open.NO_CHECKPOINT, 1, "the file holds none"))

    async def _holds(self, read: Checkpoint) -> bool:
        """Whether the log has what a checkpoint says."""
        if len(read.trees) != len(self._places):
            words = f"checkpoint {read.number} has {len(read.trees)} partitions, the topic has {len(self._places)}"
            self._anchor.findings.add(_of_line(Kind.HISTORY_REWRITTEN, read.number, words))
            return False
        same = [await self._tree_holds(read, tree) for tree in read.trees]
        if not all(same):
            return False
        if self._trees.heads() != read.heads:
            words = f"checkpoint {read.number} names heads of lanes that are not those in its own trees"
            self._anchor.findings.add(_of_line(Kind.CHECKPOINT_BROKEN, read.number, words))
            return False
        return True

    async def _tree_holds(self, read: Checkpoint, signed: TreeHead) -> bool:
        place, last = self._places[signed.partition], self._anchor.last
        before, since = self._trees.size_of(signed.partition), self._offsets[signed.partition]
        found = await self._read(signed.partition, signed.size)
        held = f"its first {before} are those of checkpoint {last.number}" if last else "nothing before it is held"
        if found.size < signed.size:
            words = (
                f"{_name(read)} was signed for {signed.size} audit records of {'/'.join(map(str, place))}, the log has "
                f"{found.size}: {signed.size - found.size} are missing at its end; {held}"
            )
            at = position(place, self._offsets[signed.partition])
            self._anchor.findings.add(Finding(Kind.TRAIL_CUT, *place, None, words, at))
            return False
        if found.root != signed.root:
            words = (
                f"the first {signed.size} audit records of {'/'.join(map(str, place))} are not those that "
                f"{_name(read)} was signed for; {held}{self._differing(read, signed.partition)}"
            )
        elif found.broken != signed.broken:
            words = (
                f"of the first {signed.size} audit records of {'/'.join(map(str, place))} {found.broken} continue no "
                f"lane's chain, and {signed.broken} did when {_name(read)} was signed: their keys were changed; {held}"
            )
        else:
            return True
        self._anchor.findings.add(Finding(Kind.HISTORY_REWRITTEN, *place, None, words, position(place, since)))
        return False

    async def _read(self, partition: int, size: int) -> TreeHead:
        """Reads on until a partition's tree has that size, or the log ends."""
        cursor, held = self._cursors[partition], self._trees.size_of(partition)
        while held < size and (cursor.ahead or await cursor.more()):
            record = cursor.ahead.popleft()
            self._offsets[partition] = record.offset + 1
            seen, held = self._trees.add(partition, record.key, record.value), held + 1
            if seen is not None:
                self._note(seen)
                self._require_key(record, seen)
        return self._trees.tree(partition)

    async def _read_on(self) -> None:
        """To the end of the log: what no checkpoint holds."""
        for partition in range(len(self._places)):
            await self._read(partition, 2**62)
        self._anchor.after = self._after
        self._anchor.heads = {(head.agent, head.lane): head for head in self._trees.heads()}

    def _note(self, seen: TurnSeen) -> None:
        before = self._after.get(seen.lane, After(0, 0))
        self._after[seen.lane] = After(before.turns + 1, before.records + seen.records)
        if (seen.lane, seen.seq) in self._anchor.ends:
            self._anchor.ends[seen.lane, seen.seq].add(seen.sha256)

    def _require_key(self, record: Record, seen: TurnSeen) -> None:
        """No tree holds the keys of records, and who verifies a lane reads what stands under its key."""
        if record.key != trail_key(*seen.lane):
            words = f"turn {seen.seq} stands under another key than its lane's, where nobody looks for it"
            at = position((record.topic, record.partition), record.offset)
            self._anchor.findings.add(Finding(Kind.CHAIN_BROKEN, *seen.lane, seen.seq, words, at))
            self._anchor.astray.add(seen.lane)

    def _differing(self, read: Checkpoint, partition: int) -> str:
        """The lanes of a partition whose last turn is another one, in words."""
        here = {(head.agent, head.lane): head for head in self._trees.heads()}
        lanes = [
            f"{head.agent}/{head.lane} at turn {head.seq}"
            for head in read.heads
            if head.lane % len(self._places) == partition and here.get((head.agent, head.lane)) != head
        ]
        if not lanes:
            return ""
        more = f" and {len(lanes) - _LANES_NAMED} more" if len(lanes) > _LANES_NAMED else ""
        return f"; lanes that end otherwise: {', '.join(lanes[:_LANES_NAMED])}{more}"


def _of_line(kind: Kind | Open, line: int, words: str) -> Finding:
    """What is found in the file; where a lane would be named, the line is."""
    return Finding(kind, _FILE, line, None, words, f"line {line}")


def _kind(error: ChainError) -> Kind:
    return Kind.CHECKPOINT_FORKED if error.fault is Fault.FORKED else Kind.CHECKPOINT_BROKEN


def _name(read: Checkpoint) -> str:
    return f"checkpoint {read.number} of {read.signed_at}"
