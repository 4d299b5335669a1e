"""The anchor of a receipt: its audit records in the trees of a checkpoint that the notary signed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

from handlers.signatures import is_signed
from schemas import topics
from schemas.audit import AuditRecord
from schemas.checkpoint import Checkpoint, parse
from schemas.receipt import HASH_BYTES, Inclusion, Receipt, ShownTurn
from streams.audit.facts import InstalledTopics
from streams.audit.log import Log
from streams.notary.chain import Chain, ChainError
from streams.notary.checkpoint_file import Line, lines
from streams.notary.cut_off import begins_file
from streams.notary.merkle import ProofInProgress, inclusion, leaf_hash, proves_inclusion
from streams.receipts.errors import CheckpointsUnreadableError, NoCheckpointsError, UnprovableError
from streams.receipts.findings import Findings, Kind, Open
from streams.receipts.retaking import OnRecords
from streams.receipts.turns import name_of

Place = tuple[int, int]
"""A partition of `audit`, and the number of a record there, counted from 0."""


class Anchor(StrEnum):
    """How far a receipt is out of the reach of who owns the broker."""

    NONE = "no checkpoint"
    UNSIGNED = "signature not checked"
    KNOWN = "in the file of checkpoints"
    SIGNED = "signed by the notary"


def read_lines(file: Path) -> Iterator[Line]:
    """The lines of a file of the notary, one after the other.

    Raises:
        CheckpointsUnreadableError: it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            yield from lines(opened)
    except OSError as error:
        raise CheckpointsUnreadableError(f"{file} cannot be read: {error.strerror}") from error


def read_checkpoints(file: Path) -> Iterator[Checkpoint]:
    """The checkpoints in a file of the notary, one after the other; an end that is just being written is left out.

    Raises:
        CheckpointsUnreadableError: it cannot be read, or a line is no checkpoint.
    """
    return (_checkpoint(line, file) for line in read_lines(file) if line.is_whole)


def require_checkpoints(file: Path) -> None:
    """That it is a notary's file, whatever may be wrong with it: a line is a checkpoint, or there is none yet.

    Reads no more than it takes to see that.

    Raises:
        NoCheckpointsError: it is not.
        CheckpointsUnreadableError: it cannot be read.
    """
    is_empty = True
    for line in read_lines(file):
        if _is_checkpoint(line.content) or (is_empty and not line.is_whole and begins_file(line.content)):
            return
        is_empty = False
    if not is_empty:
        raise NoCheckpointsError(f"{file} is no file of checkpoints: no line of it is one")


def _is_checkpoint(content: bytes) -> bool:
    try:
        parse(content)
    except ValueError:
        return False
    return True


def _checkpoint(line: Line, file: Path) -> Checkpoint:
    try:
        return parse(line.content)
    except ValueError as error:
        raise CheckpointsUnreadableError(f"{file}, line {line.number}, is no checkpoint: {error}") from error


# Making


async def anchored(
    receipt: Receipt,
    log: Log,
    facts: InstalledTopics,
    checkpoints: Iterable[Checkpoint],
    on_records: OnRecords = lambda _: None,
) -> Receipt:
    """The receipt with its proofs up to the first checkpoint that covers all its turns.

    Raises:
        UnprovableError: none does yet, or the audit records are not all there.
    """
    wanted = [turn.record for turn in receipt.turns]
    partitions = {turn.record: _partition(turn, facts.partitions[_audit(facts)]) for turn in receipt.turns}
    places: dict[bytes, Place] = {}
    for partition in sorted(set(partitions.values())):
        mine = {raw for raw in wanted if partitions[raw] == partition}
        places |= await _places(log, facts, partition, mine, on_records)
    chosen = _first_that_covers(checkpoints, list(places.values()))
    proofs = await _proofs(log, facts, chosen, set(places.values()), on_records)
    turns = tuple(
        turn.model_copy(
            update={"proof": Inclusion(index=places[turn.record][1], hashes=b"".join(proofs[places[turn.record]]))}
        )
        for turn in receipt.turns
    )
    return receipt.model_copy(update={"turns": turns, "checkpoint": chosen})


def _audit(facts: InstalledTopics) -> str:
    return facts.naming.topic(topics.AUDIT)


def _partition(turn: ShownTurn, count: int) -> int:
    return AuditRecord.model_validate_json(turn.record).lane % count


def _first_that_covers(checkpoints: Iterable[Checkpoint], places: Sequence[Place]) -> Checkpoint:
    last = "it has none"
    for one in checkpoints:
        if all(_covers(one, place) for place in places):
            return one
        last = f"its last is number {one.number} of {one.signed_at}"
    raise UnprovableError(
        f"no checkpoint of the file covers all turns of the story yet, {last}: try again after the notary's next one, "
        "or make the receipt without --checkpoint"
    )


def _covers(checkpoint: Checkpoint, place: Place) -> bool:
    partition, index = place
    return partition < len(checkpoint.trees) and index < checkpoint.trees[partition].size


async def _places(
    log: Log, facts: InstalledTopics, partition: int, wanted: set[bytes], on_records: OnRecords
) -> dict[bytes, Place]:
    place, found, index = (_audit(facts), partition), dict[bytes, Place](), 0
    if log.begin(place) > 0:
        raise UnprovableError(f"the first audit records of {place[0]}/{partition} are deleted: nothing can be proven")
    async with aclosing(log.read(place, 0)) as read:
        async for records in read:
            on_records(len(records))
            for record in records:
                if record.value in wanted:
                    found[record.value or b""] = partition, index
                index += 1
            if len(found) == len(wanted):
                break
    return found


async def _proofs(
    log: Log, facts: InstalledTopics, checkpoint: Checkpoint, places: set[Place], on_records: OnRecords
) -> dict[Place, tuple[bytes, ...]]:
    proofs: dict[Place, ProofInProgress] = {
        place: inclusion(place[1], checkpoint.trees[place[0]].size) for place in places
    }
    for partition in sorted({partition for partition, _ in places}):
        mine = [proof for place, proof in proofs.items() if place[0] == partition]
        left = checkpoint.trees[partition].size
        async with aclosing(log.read((_audit(facts), partition), 0)) as read:
            async for records in read:
                on_records(len(records))
                for record in records[:left]:
                    leaf = leaf_hash(record.value or b"")
                    for proof in mine:
                        proof.add(leaf)
                left -= min(left, len(records))
                if not left:
                    break
        if left:
            raise UnprovableError(
                f"the checkpoint counts {left} audit records of partition {partition} more than there are: "
                "'acgs audit verify --checkpoint' says more"
            )
    return {place: proof.hashes() for place, proof in proofs.items()}


# Checking


def check_anchor(
    receipt: Receipt, keys: Mapping[str, bytes], checkpoints: Iterable[Line] | None, findings: Findings
) -> Anchor:
    """Whether every audit record is in the checkpoint's trees, and whether the notary has signed that.

    `keys` are the notary's public keys by id, `checkpoints` the lines of its file where whoever verifies has one. The
    file is held to itself, all of it, and to the keys if there are any; no more than a line of it is in memory.
    """
    is_known = checkpoints is not None and _check_file(receipt.checkpoint, checkpoints, keys, findings)
    checkpoint = receipt.checkpoint
    if checkpoint is None:
        for turn in receipt.turns:
            if turn.proof is not None:
                findings.say(Kind.DAMAGED, None, "there are proofs, and no checkpoint that they lead to")
        if keys or checkpoints is not None:
            words = "it has no checkpoint: have it made again with --checkpoint"
            findings.say(Open.NOT_ANCHORED, None, words)
        return Anchor.NONE
    if checkpoint.prefix != receipt.prefix:
        words = f"it is of prefix {checkpoint.prefix!a}, the receipt of {receipt.prefix!a}"
        findings.say(Kind.CHECKPOINT_INVALID, None, words)
    for turn in receipt.turns:
        _check_inclusion(turn, checkpoint, findings)
    _check_chains(receipt, checkpoint, findings)
    if keys:
        _check_signature(checkpoint, keys, findings)
        return Anchor.SIGNED
    return Anchor.KNOWN if is_known else Anchor.UNSIGNED


def _check_inclusion(turn: ShownTurn, checkpoint: Checkpoint, findings: Findings) -> None:
    record = _record(turn)
    if record is None:
        return  # said already
    if record.lane >= len(checkpoint.trees):
        findings.say(Kind.NOT_IN_TREE, name_of(record), f"the checkpoint has {len(checkpoint.trees)} partitions")
        return
    tree = checkpoint.trees[record.lane]
    if turn.proof is None:
        findings.say(Kind.NOT_IN_TREE, name_of(record), "it has no proof that leads to the checkpoint")
        return
    joined = turn.proof.hashes
    hashes = [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]
    if not proves_inclusion(leaf_hash(turn.record), turn.proof.index, tree.size, hashes, bytes.fromhex(tree.root)):
        words = f"its proof does not lead to the tree of partition {tree.partition} in checkpoint {checkpoint.number}"
        findings.say(Kind.NOT_IN_TREE, name_of(record), words)


def _record(turn: ShownTurn) -> AuditRecord | None:
    try:
        return AuditRecord.model_validate_json(turn.record)
    except ValidationError:
        return None


def _check_chains(receipt: Receipt, checkpoint: Checkpoint, findings: Findings) -> None:
    """A tree proves that a record is there, and not that the lane has written it: that no other is there does."""
    lanes = {record.lane for record in map(_record, receipt.turns) if record is not None}
    broken = [(tree.partition, tree.broken) for tree in checkpoint.trees if tree.broken and tree.partition in lanes]
    if broken:
        told = ", ".join(f"{count} in partition {partition}" for partition, count in broken)
        words = f"{told} continue no lane's chain at checkpoint {checkpoint.number}: a turn that is shown may be one"
        findings.say(Open.NOT_ONE_CHAIN, None, f"{words}. 'acgs audit verify' tells which they are")


def _check_file(
    checkpoint: Checkpoint | None, known: Iterable[Line], keys: Mapping[str, bytes], findings: Findings
) -> bool:
    """Whether the file has the receipt's checkpoint. A line that stands unfinished at its end does not count."""
    chain, same = Chain(keys or None), None
    for line in known:
        try:
            read = chain.take(line.content)
        except ChainError as error:
            if line.is_whole:
                findings.say(Kind.CHECKPOINT_BROKEN, None, f"line {line.number}: {error}")
                return False
            break
        if checkpoint is not None and read.number == checkpoint.number:
            same = read
    if checkpoint is None:
        return False
    if same is None:
        words = f"the file does not have checkpoint {checkpoint.number}, which the receipt is anchored at"
        findings.say(Open.NOT_ANCHORED, None, words)
        return False
    if same.digest != checkpoint.digest:
        words = f"checkpoint {checkpoint.number} of the file is another than the receipt's"
        findings.say(Kind.CHECKPOINT_INVALID, None, words)
    return same.digest == checkpoint.digest


def _check_signature(checkpoint: Checkpoint, keys: Mapping[str, bytes], findings: Findings) -> None:
    raw = keys.get(checkpoint.key_id)
    if raw is None:
        words = f"checkpoint {checkpoint.number} names key {checkpoint.key_id}, which is not the notary's as given"
        findings.say(Kind.CHECKPOINT_INVALID, None, words)
    elif not is_signed(raw, checkpoint.signature, checkpoint.signed_bytes):
        words = f"key {checkpoint.key_id} has not signed checkpoint {checkpoint.number} as it stands"
        findings.say(Kind.CHECKPOINT_INVALID, None, words)
