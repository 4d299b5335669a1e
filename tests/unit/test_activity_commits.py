"""What a commit says of a partition's commands, and what it makes of it after a crash."""

import random
from base64 import b64encode

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.activities.commits import MAX_METADATA, Bitmap, Commit, Ledger, decode, encode


@given(st.binary(max_size=2_000))
def test_a_bitmap_comes_back_as_it_was_but_for_the_zeros_at_its_end(bits: bytes) -> None:
    assert decode(encode(bits)) == bits.rstrip(b"\0")


@given(st.integers(), st.integers(3_000, 40_000))
@settings(max_examples=20)
def test_a_bitmap_that_does_not_fit_is_cut_to_its_beginning(seed: int, length: int) -> None:
    bits = random.Random(seed).randbytes(length)  # noqa: S311  # any bytes will do
    text = encode(bits)
    kept = decode(text)
    assert len(text) <= MAX_METADATA
    assert bits.startswith(kept)
    assert len(kept) > 1_000


@given(st.text(max_size=200))
def test_metadata_of_another_program_says_nothing(text: str) -> None:
    assert decode(text) == b""
    assert decode(f"1:{text}") == b""


def test_metadata_that_is_cut_off_says_nothing() -> None:
    text = encode(bytes(range(1, 200)))
    assert decode(text[:-8]) == b""
    assert decode("1:" + b64encode(b"no zlib").decode()) == b""


@given(st.sets(st.integers(0, 500)), st.integers(0, 10_000))
def test_a_bitmap_holds_the_offsets_of_its_bits(held: set[int], base: int) -> None:
    bits = sum(1 << one for one in held).to_bytes(64, "little")
    bitmap = Bitmap(base, bits)
    assert {offset for offset in range(base - 8, base + 600) if offset in bitmap} == {base + one for one in held}


def test_one_slow_command_holds_up_no_other_however_many_there_are() -> None:
    ledger = Ledger()
    ledger.adopt(Commit(7, ""))
    for offset in range(7, 1_000_007):
        assert ledger.take(offset)
        if offset != 8:
            ledger.finish(offset)
    commit = ledger.commit()
    assert commit.offset == 8
    assert len(commit.metadata) <= MAX_METADATA
    after_a_crash = Ledger()
    assert after_a_crash.adopt(commit) == 8
    assert [offset for offset in range(8, 1_000_008) if after_a_crash.take(offset)] == [8, 1_000_007]


def test_gaps_that_the_log_leaves_count_as_finished() -> None:
    ledger = Ledger()
    ledger.adopt(Commit(0, ""))
    for offset in (0, 3, 9):
        ledger.take(offset)
    ledger.finish(0)
    assert ledger.commit().offset == 3
    ledger.finish(3)
    ledger.finish(9)
    ledger.reach(11)
    assert ledger.commit() == Commit(11, "")


def test_a_command_that_was_released_is_run_by_whoever_reads_next() -> None:
    ledger = Ledger()
    ledger.adopt(Commit(0, ""))
    assert [ledger.take(offset) for offset in range(3)] == [True] * 3
    ledger.finish(0)
    ledger.finish(2)
    ledger.release(1)
    commit = ledger.commit()
    assert commit.offset == 1
    ledger.adopt(commit)
    assert [ledger.take(offset) for offset in (1, 2)] == [True, False]


def test_what_runs_while_its_partition_goes_and_comes_back_is_not_run_again() -> None:
    ledger = Ledger()
    ledger.adopt(Commit(0, ""))
    for offset in range(3):
        ledger.take(offset)
    ledger.finish(2)
    assert ledger.adopt(Commit(0, "")) == 0, "the commit failed at the revocation"
    ledger.finish(1)
    assert [ledger.take(offset) for offset in range(4)] == [False, False, False, True]
    assert ledger.commit().offset == 0
    ledger.finish(0)
    assert ledger.commit().offset == 3


def test_what_ended_while_its_partition_was_away_is_finished_for_whoever_reads_the_next_commit() -> None:
    ledger = Ledger()
    ledger.adopt(Commit(0, ""))
    for offset in range(3):
        ledger.take(offset)
    ledger.adopt(Commit(0, ""))
    ledger.finish(1)
    after_a_crash = Ledger()
    after_a_crash.adopt(ledger.commit())
    assert [after_a_crash.take(offset) for offset in range(3)] == [True, False, True]


def test_what_others_did_meanwhile_stays_done() -> None:
    ledger = Ledger()
    ledger.adopt(Commit(0, ""))
    ledger.take(0)
    assert ledger.adopt(Commit(10, encode(b"\x02"))) == 10
    ledger.finish(0)
    assert [ledger.take(offset) for offset in (10, 11, 12)] == [True, False, True]
    assert ledger.commit().offset == 10


def test_what_stood_there_when_reading_began_others_may_have_begun() -> None:
    ledger = Ledger()
    ledger.adopt(Commit(3, ""), read_before=5)
    assert [ledger.may_have_begun(offset) for offset in (3, 4, 5)] == [True, True, False]


class Crashes(RuleBasedStateMachine):
    """Commands are read, finished and committed in any order; the process crashes, or its partition goes and comes."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.position = self.ledger.adopt(Commit(0, ""))
        self.committed = Commit(0, "")
        self.running: set[int] = set()
        self.answered: set[int] = set()
        self.known: set[int] = set()
        self.known_at_commit: set[int] = set()
        self.markers: set[int] = set()

    @rule(gap=st.integers(0, 2))
    def read(self, gap: int) -> None:
        for _ in range(gap):  # a transaction's marker: never read, whoever reads
            if self.position not in self.running | self.answered:
                self.markers.add(self.position)
                self.position += 1
        while self.position in self.markers:
            self.position += 1
        offset, self.position = self.position, self.position + 1
        if self.ledger.take(offset):
            assert offset not in self.running, "run twice at once"
            assert offset not in self.known, "run again although it is known to be finished"
            self.running.add(offset)
        else:
            assert offset in self.running | self.answered, "lost"

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(offset)
        self.answered.add(offset)
        self.known.add(offset)
        self.ledger.finish(offset)

    @rule()
    def commit(self) -> None:
        self.ledger.reach(self.position)
        self.committed = self.ledger.commit()
        self.known_at_commit = set(self.known)

    @rule()
    def crash(self) -> None:
        self.running.clear()
        self.known = set(self.known_at_commit)
        self.ledger = Ledger()
        self.position = self.ledger.adopt(self.committed)

    @rule()
    def come_back(self) -> None:
        self.position = self.ledger.adopt(self.committed)

    @invariant()
    def commits_nothing_that_is_not_finished(self) -> None:
        commit = self.ledger.commit()
        finished = Bitmap(commit.offset, decode(commit.metadata))
        assert not any(one < commit.offset or one in finished for one in self.running)


TestCrashes = Crashes.TestCase
