"""The example agent: counts records per key and window of time, and says the count when the window has closed.

It uses all that the engine offers: rows, timers, entropy, a control input, several outputs, and failures of each kind.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import orjson

from streams.engine.agent import Agent, ControlInput, RowCodec, Topics, View
from streams.engine.errors import ControlRefusedError
from streams.engine.records import Delete, Effect, Emit, Put, Record
from streams.engine.turn import TIMER

NAME = "counter"
RULES = "rules"
SOURCE = "counter-source"
EPOCH = "counter-epoch"
POISON = b"poison"
HUGE = b"huge"
HUGE_BYTES = 5 * 1024 * 1024
WINDOW_MS = 400


@dataclass(frozen=True, slots=True)
class Window:
    """How often a key was seen from `opens_ms` until before `closes_ms`."""

    key: str
    opens_ms: int
    closes_ms: int
    count: int
    v: int = 1


@dataclass(frozen=True, slots=True)
class Rules:
    """The control document."""

    epoch: int


class PoisonedError(Exception):
    """What the handler raises on purpose."""


@dataclass(frozen=True, slots=True)
class Names:
    """The agent's topics under a prefix."""

    prefix: str

    @property
    def inbox(self) -> str:
        return f"{self.prefix}{NAME}.in"

    @property
    def counts(self) -> str:
        return f"{self.prefix}{NAME}.counts"

    @property
    def echoes(self) -> str:
        return f"{self.prefix}{NAME}.echoes"

    @property
    def rules(self) -> str:
        return f"{self.prefix}{RULES}"

    @property
    def own(self) -> Topics:
        return Topics(
            changelog=f"{self.prefix}{NAME}.changelog",
            dead_letters=f"{self.prefix}{NAME}.dead-letters",
            audit=f"{self.prefix}audit",
        )


def rules(epoch: int) -> bytes:
    """The control document of an epoch."""
    return orjson.dumps({"epoch": epoch})


def follow(document: bytes, current: Rules | None) -> Rules:
    epoch = orjson.loads(document)["epoch"]
    if current is not None and epoch != current.epoch + 1:
        raise ControlRefusedError(f"epoch {epoch} cannot follow {current.epoch}")
    return Rules(epoch)


def windowed_counter(prefix: str, window_ms: int = WINDOW_MS) -> Agent[Window, Rules]:
    """The agent with its topics under that prefix."""
    names = Names(prefix)

    def count(view: View[Window, Rules], record: Record) -> Sequence[Effect[Window]]:
        key = (record.key or b"").decode()
        opens = view.clock_ms - view.clock_ms % window_ms
        row_key = f"{key}@{opens}"
        before = view.row(row_key)
        row = Window(key, opens, opens + window_ms, 1 + (before.count if before else 0))
        if record.value == POISON:
            raise PoisonedError("asked to fail")
        source = f"{record.topic}/{record.partition}/{record.offset}".encode()
        headers = ((SOURCE, source), (EPOCH, str(view.control.epoch).encode()))
        echo: Emit = Emit(names.echoes, record.key, record.value, headers, measure=1)
        put = Put(row_key, row, row.closes_ms)
        if record.value == HUGE:
            return (put, echo, Emit(names.counts, record.key, b"x" * HUGE_BYTES))
        return (put, echo)

    def close(view: View[Window, Rules], key: str, row: Window) -> Sequence[Effect[Window]]:
        said = {"key": row.key, "opens_ms": row.opens_ms, "count": row.count, "token": view.entropy().hex()}
        return (Emit(names.counts, row.key.encode(), orjson.dumps(said)), Delete(key))

    return Agent(
        name=NAME,
        inbox=(names.inbox,),
        outputs=(names.counts, names.echoes),
        topics=names.own,
        handler=count,
        decision_version=1,
        control=ControlInput(names.rules, follow, lambda current: current.epoch),
        rows=RowCodec(lambda row: orjson.dumps(asdict(row)), lambda value: Window(**orjson.loads(value))),
        on_timer=close,
    )


@dataclass(frozen=True, slots=True)
class Folded:
    """What the records of one inbox partition come to, computed without the engine."""

    counts: Counter[tuple[str, int]]
    echoed: tuple[int, ...]
    failed: dict[int, str]


def fold(records: Iterable[Record], window_ms: int = WINDOW_MS) -> Folded:
    """Counts by key and window, offsets echoed in order, and offsets that failed with the kind of their dead letter.

    Knows neither rows nor timers: a window is what the clock says when a record comes, and every record counts. Control
    documents, in their place among the records, move the clock too.
    """
    clock, counts, failed = 0, Counter[tuple[str, int]](), dict[int, str]()
    echoed: list[int] = []
    for record in records:
        clock = max(clock, record.timestamp)
        if record.topic.endswith(RULES) or any(name == TIMER for name, _ in record.headers):
            continue
        if record.value in {POISON, HUGE}:
            failed[record.offset] = "handler-failed" if record.value == POISON else "output-too-large"
            continue
        counts[(record.key or b"").decode(), clock - clock % window_ms] += 1
        echoed.append(record.offset)
    return Folded(counts, tuple(echoed), failed)


def said_counts(records: Iterable[Record]) -> list[tuple[tuple[str, int], int]]:
    """What the agent said of each closed window, in log order."""
    said = [orjson.loads(record.value or b"") for record in records]
    return [((one["key"], one["opens_ms"]), one["count"]) for one in said]
