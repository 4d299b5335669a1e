"""This release decides as is recorded, on every Python, under every hash seed, and from nothing but its input."""

import gc
import locale
import os
import random
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas import topics
from schemas.reasons import Reason
from tests.golden import __main__ as command
from tests.golden import corpus, purity
from tests.golden.corpus import Corpus

FACTORS = {
    "amount",
    "ceiling",
    "claim",
    "claimed_target",
    "command",
    "constraint",
    "count",
    "irreversible",
    "outside",
    "priority",
    "privileged",
    "repeated",
    "secret",
    "secret_sent",
    "target",
    "tenant",
    "tool",
    "type",
    "unscorable",
    "unverified",
    "verb",
    "written",
}
ROOT = purity.ROOT
CHECK = ("-m", "tests.golden", "check")


@pytest.mark.parametrize("agent", topics.LANE_AGENTS)
def test_every_decision_comes_out_as_recorded(agent: str) -> None:
    recorded = corpus.read(agent)
    words = corpus.difference(recorded)
    assert words is None, f"{words}\n{corpus.advice(agent)}"
    version = corpus.built(agent, "t.").decision_version
    assert recorded.decision_version == version, f"write the corpus anew with '{corpus.REGENERATE}'"
    assert recorded.digests[str(version)] == recorded.digest(), "the corpus was edited by hand"


@pytest.fixture(scope="module")
def played() -> dict[str, Corpus]:
    return command.played()


def test_the_corpus_is_what_its_scenes_make(played: dict[str, Corpus]) -> None:
    for agent, made in played.items():
        is_same = made.lanes == corpus.read(agent).lanes
        assert is_same, f"a scene of {agent} has changed: write the corpus anew with '{corpus.REGENERATE}'"


def test_the_corpus_shows_every_reason_and_every_factor() -> None:
    text = "".join((corpus.FOLDER / f"{agent}.jsonl").read_text() for agent in topics.LANE_AGENTS)
    assert {*re.findall(r'\["acgs-reason","(\w+)"', text)} == {reason.value for reason in Reason}
    assert {*re.findall(r'\{"name":"(\w+)","points"', text)} >= FACTORS


def test_a_changed_rule_is_not_written_down_under_the_same_version(tmp_path: Path, played: dict[str, Corpus]) -> None:
    shutil.copytree(corpus.FOLDER, tmp_path, dirs_exist_ok=True)
    file = tmp_path / f"{topics.TRIAGE}.jsonl"
    changed = re.sub(r'("acgs-card",\{"json":\{"score":)600', r"\g<1>601", file.read_text())
    file.write_text(changed)
    (told,) = command.regenerate(played, tmp_path)
    assert "raise DECISION_VERSION in handlers/impact.py" in told
    assert file.read_text() == changed
    head, _, rest = changed.partition("\n")
    file.write_text(head.replace('"decision_version":1', '"decision_version":0') + "\n" + rest)
    assert command.regenerate(played, tmp_path) == []
    assert corpus.read(topics.TRIAGE, tmp_path).lanes == corpus.read(topics.TRIAGE).lanes


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_the_order_of_hashes_decides_nothing(seed: str) -> None:
    check(sys.executable, seed)


def others() -> list[str]:
    """Other Pythons that can run the product: those of ACGS_PYTHONS, else those on the path."""
    named = os.environ.get("ACGS_PYTHONS", "").split(os.pathsep)
    ours = f"python3.{sys.version_info.minor}"
    found = [shutil.which(name) for name in (f"python3.{minor}" for minor in range(11, 16)) if name != ours]
    candidates = [one for one in named if one] or [one for one in found if one]
    tried = (
        subprocess.run([one, "-c", "import streams.agents"], cwd=ROOT, capture_output=True, check=False)
        for one in candidates
    )
    return [one for one, ran in zip(candidates, tried, strict=True) if ran.returncode == 0]


def test_another_python_decides_the_same() -> None:
    pythons = others()
    if not pythons:
        pytest.skip("no other Python here has what the product needs: name some in ACGS_PYTHONS")
    for python in pythons:
        check(python, "random")


def check(python: str, seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    ran = subprocess.run(
        [python, *CHECK], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert ran.returncode == 0, f"under {python} with PYTHONHASHSEED={seed}:\n{ran.stdout}{ran.stderr}"


@pytest.mark.parametrize("agent", topics.LANE_AGENTS)
def test_no_decision_asks_for_anything_but_its_input(agent: str) -> None:
    recorded = corpus.read(agent)
    corpus.difference(recorded)  # what is imported late is imported now
    with purity.watched() as told:
        corpus.difference(recorded)
    assert told == []


ASKED: list[Callable[[], object]] = [
    time.time,
    lambda: datetime.now(UTC),
    random.random,
    lambda: os.environ.get("HOME"),
    lambda: os.urandom(1),
    uuid.uuid4,
    uuid.uuid1,
    lambda: os.getenv("HOME"),
    time.monotonic,
    lambda: datetime.utcnow(),  # noqa: DTZ003, PLW0108  # what is to be found
    lambda: locale.setlocale(locale.LC_ALL, None),
    lambda: Path(__file__).read_bytes(),
]


@pytest.mark.parametrize("number", range(len(ASKED)))
def test_the_watch_tells_of_each_such_call(number: int) -> None:
    with purity.watched() as told:
        ASKED[number]()
    assert told
    assert "tests/unit/test_golden.py" in told[0]


def test_the_watch_does_not_tell_of_who_is_told_of_garbage() -> None:
    def told_of_garbage(*_: object) -> None:
        time.perf_counter()

    gc.callbacks.append(told_of_garbage)
    try:
        with purity.watched() as told:
            kept = [[number] for number in range(100_000)]
        assert told == []
        assert gc.isenabled()
        assert len(kept) == 100_000
    finally:
        gc.callbacks.remove(told_of_garbage)


def test_no_decision_names_what_it_may_not_know() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): words
        for path in purity.decision_code()
        if (words := list(purity.impure(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from random import choice",
        "from os import environ",
        "import uuid\nuuid.uuid4()",
        "from uuid import uuid4",
        "datetime.now(UTC)",
        "Field(default_factory=datetime.now)",
        "import uuid as ids",
        "from decimal import getcontext",
        "import locale",
        "from os import getenv",
        "import sys",
        "from zoneinfo import ZoneInfo",
        "from importlib import import_module",
        "__import__('time')",
        "eval('1')",
        "from streams.broker import reading",
        "from streams.cli import output",
        "from compensation import DAGExecutor",
        "from . import clock",
        "datetime.utcnow()",
        "date.today()",
        "datetime.fromtimestamp(seconds)",
        "at.astimezone()",
        "at.strftime('%c')",
        "hash(name)",
        "name.__hash__()",
        "sorted(names, key=hash)",
        "list(map(id, names))",
        "global known",
        "for one in {1, 2}: pass",
        "[one for one in set(names)]",
        "list({*names} - known)",
        "for one in old.keys() - new.keys(): pass",
        "[*known.union(names)]",
        "', '.join({*names})",
        "dict.fromkeys(set(names))",
        "f'{set(names)}'",
        "open(path)",
    ],
)
def test_the_look_at_the_code_finds(source: str) -> None:
    assert list(purity.impure(source))


@pytest.mark.parametrize(
    "source",
    [
        "from handlers import impact",
        "from schemas.score import ScoreCard",
        "from streams.engine.agent import Agent",
        "datetime.fromtimestamp(seconds, UTC)",
        "at.astimezone(UTC)",
        "for one in sorted({*names}): pass",
        "found = old.keys() - new.keys()",
    ],
)
def test_the_look_at_the_code_leaves_alone_what_answers_from_its_input(source: str) -> None:
    assert list(purity.impure(source)) == []


def test_what_is_left_out_is_there() -> None:
    left_out = {**purity.NO_DECISIONS, **purity.HANDED_THROUGH}
    assert [name for name in left_out if not (ROOT / name).exists()] == []
