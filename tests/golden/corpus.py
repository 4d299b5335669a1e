"""The golden corpus: what each agent of this release has read, and what it decided, turn by turn."""

import difflib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.engine.agent import Agent
from streams.engine.records import InputRecord
from streams.engine.rerun import Past, Range, Rerun
from streams.engine.state import Position
from streams.engine.turn import Bounds
from streams.metrics import Measures
from tests.golden.lines import Decisions, Texts, dumped, read_of, reads

FOLDER = Path(__file__).parent / "corpus"
REGENERATE = "python -m tests.golden"
RULES = {
    "gateway": "handlers/gateway.py",
    "triage": "handlers/impact.py",
    "orchestrator": "streams/agents/orchestrator.py",
    "deliberation": "handlers/deliberation/deciding.py",
    "recovery": "handlers/recovery/deciding.py",
    "chaos": "handlers/chaos/deciding.py",
}
"""Where the DECISION_VERSION of an agent stands, by the first word of its name."""
_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Taken:
    """A turn: what decided it, and the lines of what it decided."""

    read: list[InputRecord]
    draw: bytes
    fired: list[str]
    decided: list[str]


@dataclass(slots=True)
class Lane:
    """The turns of one lane from its first on. `partitions` is how many each topic has that it writes to."""

    scene: str
    prefix: str
    partitions: int
    turns: list[Taken] = field(default_factory=list[Taken])


@dataclass(slots=True)
class Corpus:
    """The lanes of one agent. `digests` is the SHA-256 of all its decisions, by the decision_version that made them."""

    agent: str
    decision_version: int
    lanes: list[Lane] = field(default_factory=list[Lane])
    texts: Texts = field(default_factory=Texts)
    digests: dict[str, str] = field(default_factory=dict[str, str])

    def digest(self) -> str:
        """The SHA-256 of the decisions as they are recorded."""
        return digest_of([line for lane in self.lanes for turn in lane.turns for line in turn.decided])


def digest_of(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def built(agent: str, prefix: str) -> Agent[Any, Any]:
    return build_agents([agent], Naming(prefix), Measures(CollectorRegistry()))[0]


def again(agent: str, lane: Lane, texts: Texts) -> Iterator[list[str]]:
    """What each turn decides now, from the same records, draws and timers."""
    made = built(agent, lane.prefix)
    rerun, decisions = Rerun(made, 0), Decisions(made, texts)
    rerun.stand_at(Position(dict.fromkeys(made.inputs, 0)))
    for taken in lane.turns:
        names = made.written_under(rerun.state.control)
        bounds = Bounds(dict.fromkeys(names, lane.partitions), dict.fromkeys(names, _MAX_BYTES))
        ranges = [Range(record.topic, [record], record.offset + 1) for record in taken.read]
        turn = rerun.attempt(Past(ranges=ranges, draw=taken.draw, bounds=bounds, timers=lambda _, t=taken: t.fired))
        rerun.keep(turn)
        yield decisions.of(turn, taken.read)


def difference(corpus: Corpus) -> str | None:
    """The first turn that is decided otherwise now, in words; None if there is none."""
    for lane in corpus.lanes:
        for number, (now, taken) in enumerate(zip(again(corpus.agent, lane, corpus.texts), lane.turns, strict=True)):
            if now != taken.decided:
                changed = difflib.unified_diff(taken.decided, now, "as recorded", "as it comes out now", "", "", 0, "")
                return f"{corpus.agent}, scene {lane.scene}, turn {number + 1}:\n" + "\n".join(changed)
    return None


def advice(agent: str) -> str:
    """What to do about decisions that come out otherwise."""
    return (
        f"If that is meant: raise DECISION_VERSION in {RULES[agent.partition('-')[0]]}, and write the corpus anew with "
        f"'{REGENERATE}'. If it is not, a past decision cannot be proven any more: undo it."
    )


def write(corpus: Corpus, folder: Path = FOLDER) -> None:
    body = [line for lane in corpus.lanes for line in _lane_lines(lane, corpus.texts)]
    digests = {**corpus.digests, str(corpus.decision_version): corpus.digest()}
    head = {"agent": corpus.agent, "decision_version": corpus.decision_version, "decisions": digests}
    text = "\n".join([dumped(head), *corpus.texts.lines(), *body])
    (folder / f"{corpus.agent}.jsonl").write_text(text + "\n", encoding="utf-8")


def _lane_lines(lane: Lane, texts: Texts) -> Iterator[str]:
    yield dumped({"scene": lane.scene, "prefix": lane.prefix, "partitions": lane.partitions})
    for taken in lane.turns:
        yield dumped({"turn": taken.draw.decode("ascii"), **({"timers": list(taken.fired)} if taken.fired else {})})
        yield from (reads(record, texts) for record in taken.read)
        yield from taken.decided


def read(agent: str, folder: Path = FOLDER) -> Corpus:
    """The corpus of an agent.

    Raises:
        FileNotFoundError: it has none.
    """
    head, *lines = (folder / f"{agent}.jsonl").read_text(encoding="utf-8").splitlines()
    said = orjson.loads(head)
    corpus = Corpus(said["agent"], said["decision_version"], digests=said["decisions"])
    turn: tuple[list[InputRecord], list[str]] = ([], [])
    for line in lines:
        parsed = orjson.loads(line)
        match parsed:
            case {"text": _}:
                corpus.texts.know(parsed)
            case {"scene": scene, "prefix": prefix, "partitions": partitions}:
                corpus.lanes.append(Lane(scene, prefix, partitions))
            case {"turn": draw}:
                turn = ([], [])
                corpus.lanes[-1].turns.append(Taken(turn[0], draw.encode(), parsed.get("timers", []), turn[1]))
            case {"read": _}:
                turn[0].append(read_of(parsed, corpus.texts))
            case _:
                turn[1].append(line)
    return corpus
