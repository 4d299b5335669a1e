"""What every way of running an agent must do: one suite, run against the LaneDriver and against lanes on a broker."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import orjson

from streams.engine import dead_letters
from streams.engine.dead_letters import DeadLetter, Kind
from streams.engine.records import Headers, Record
from tests.support.kafka import header
from tests.support.windowed_counter import (
    EPOCH,
    HUGE,
    POISON,
    SOURCE,
    Names,
    Window,
    fold,
    rules,
    said_counts,
)


class Sent(NamedTuple):
    key: bytes
    value: bytes | None
    headers: Headers = ()


class Harness(AbstractAsyncContextManager["Harness"]):
    """Runs the windowed counter and shows what came of it."""

    names: Names

    async def __aexit__(self, *about: object) -> None:
        """Nothing to end."""

    @abstractmethod
    async def control(self, document: bytes) -> None:
        """Puts a document on the control topic."""

    @abstractmethod
    async def send(self, *records: Sent) -> None:
        """Appends records to the inbox."""

    @abstractmethod
    async def settle(self) -> None:
        """Returns when all that was sent has been handled."""

    @abstractmethod
    async def wait_for_windows(self) -> None:
        """Returns when every window that was open has closed."""

    @abstractmethod
    async def records(self, topic: str) -> list[Record]:
        """What stands on a topic, in log order."""

    @abstractmethod
    async def rows(self) -> dict[str, Window]:
        """The stored rows."""

    async def letters(self) -> list[DeadLetter]:
        return [dead_letters.read(record) for record in await self.records(self.names.own.dead_letters)]


class AgentSuite:
    """The tests. A subclass gives the fixture `harness`."""

    async def test_every_record_is_counted_in_the_window_of_the_lanes_time(self, harness: Harness) -> None:
        await harness.control(rules(1))
        await harness.send(*[Sent(key, b"1") for key in (b"a", b"b", b"a", b"a", b"b")])
        await harness.settle()
        expected = fold(await harness.records(harness.names.inbox))
        assert sum(expected.counts.values()) == 5
        await harness.wait_for_windows()
        assert dict(said_counts(await harness.records(harness.names.counts))) == expected.counts

    async def test_a_window_closes_exactly_once_and_leaves_no_row(self, harness: Harness) -> None:
        await harness.control(rules(1))
        for _ in range(3):
            await harness.send(*[Sent(f"k{n}".encode(), b"1") for n in range(20)])
            await harness.wait_for_windows()
        said = said_counts(await harness.records(harness.names.counts))
        assert max(Counter(window for window, _ in said).values()) == 1
        assert sum(count for _, count in said) == 60
        assert await harness.rows() == {}

    async def test_outputs_keep_the_order_of_the_inputs_of_a_key(self, harness: Harness) -> None:
        await harness.control(rules(1))
        await harness.send(*[Sent(f"k{n % 3}".encode(), str(n).encode()) for n in range(90)])
        await harness.settle()
        by_key: dict[bytes | None, list[int]] = {}
        for record in await harness.records(harness.names.echoes):
            by_key.setdefault(record.key, []).append(int(record.value or b""))
        assert by_key == {f"k{k}".encode(): list(range(k, 90, 3)) for k in range(3)}

    async def test_tokens_of_windows_are_drawn_anew(self, harness: Harness) -> None:
        await harness.control(rules(1))
        await harness.send(*[Sent(f"k{n}".encode(), b"1") for n in range(10)])
        await harness.wait_for_windows()
        tokens = {orjson.loads(r.value or b"")["token"] for r in await harness.records(harness.names.counts)}
        assert len(tokens) == 10

    async def test_what_a_handler_fails_on_becomes_a_dead_letter_with_its_bytes(self, harness: Harness) -> None:
        await harness.control(rules(1))
        forged: Headers = (("lane-source", b"nowhere/0/0"), ("lane-resolution", b"no"))
        hostile = (("x", b"\xff\x00"), ("x", None), *forged)
        await harness.send(Sent(b"a", b"1"), Sent(b"a", POISON, hostile), Sent(b"a", b"2"))
        await harness.settle()
        (record,) = await harness.records(harness.names.own.dead_letters)
        (letter,) = await harness.letters()
        inbox = {r.offset: r for r in await harness.records(harness.names.inbox)}
        failed = inbox[letter.offset]
        assert (letter.kind, letter.error) == (Kind.HANDLER_FAILED, "PoisonedError: asked to fail")
        assert (letter.topic, letter.partition) == (failed.topic, failed.partition)
        assert (letter.key, letter.value, tuple(letter.headers)) == (b"a", POISON, hostile)
        assert dead_letters.resolution_of(record.headers) is None
        assert [r.value for r in await harness.records(harness.names.echoes)] == [b"1", b"2"]

    async def test_a_null_value_is_counted_like_any_other(self, harness: Harness) -> None:
        await harness.control(rules(1))
        await harness.send(Sent(b"a", None))
        await harness.settle()
        (echo,) = await harness.records(harness.names.echoes)
        assert echo.value is None

    async def test_a_record_whose_output_does_not_fit_leaves_only_its_dead_letter(self, harness: Harness) -> None:
        await harness.control(rules(1))
        await harness.send(Sent(b"a", HUGE), Sent(b"b", b"1"))
        await harness.settle()
        (letter,) = await harness.letters()
        assert (letter.kind, letter.value) == (Kind.OUTPUT_TOO_LARGE, HUGE)
        assert [r.value for r in await harness.records(harness.names.echoes)] == [b"1"]
        await harness.wait_for_windows()
        assert [window[0] for window, _ in said_counts(await harness.records(harness.names.counts))] == ["b"]

    async def test_a_control_document_that_does_not_follow_is_a_dead_letter_and_changes_nothing(
        self, harness: Harness
    ) -> None:
        await harness.control(rules(1))
        for refused in (rules(3), b"not JSON", rules(1)):
            await harness.control(refused)
        await harness.send(Sent(b"a", b"1"))
        await harness.settle()
        kinds = [(letter.kind, letter.topic) for letter in await harness.letters()]
        assert kinds == [
            (Kind.CONTROL_REFUSED, harness.names.rules),
            (Kind.HANDLER_FAILED, harness.names.rules),
            (Kind.CONTROL_REFUSED, harness.names.rules),
        ]
        assert await self._epochs(harness) == [b"1"]

    async def test_the_next_control_document_counts_from_its_place_on(self, harness: Harness) -> None:
        await harness.control(rules(1))
        await harness.send(Sent(b"a", b"1"))
        await harness.settle()
        await harness.control(rules(2))
        await harness.send(Sent(b"a", b"2"))
        await harness.settle()
        assert await self._epochs(harness) == [b"1", b"2"]

    async def test_every_input_is_an_echo_or_a_dead_letter_exactly_once(self, harness: Harness) -> None:
        await harness.control(rules(1))
        values = [POISON if n % 7 == 0 else HUGE if n % 31 == 0 else str(n).encode() for n in range(1, 200)]
        await harness.send(*[Sent(f"k{n % 5}".encode(), value) for n, value in enumerate(values)])
        await harness.settle()
        echoed = [header(r, SOURCE) for r in await harness.records(harness.names.echoes)]
        buried = [r.key for r in await harness.records(harness.names.own.dead_letters)]
        inbox = [r for r in await harness.records(harness.names.inbox) if not r.headers]
        sources = [f"{r.topic}/{r.partition}/{r.offset}".encode() for r in inbox]
        assert Counter(echoed + buried) == Counter(sources)

    async def _epochs(self, harness: Harness) -> Sequence[bytes | None]:
        return [header(record, EPOCH) for record in await harness.records(harness.names.echoes)]
