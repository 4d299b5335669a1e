"""Writes the corpus anew: `python -m tests.golden`. Or, with `check`, says whether this release decides as recorded.

What is recorded is taken again first: while an agent's decision_version stands, its decisions may not change.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from schemas import topics
from tests.golden import corpus, scenes
from tests.golden.corpus import Corpus
from tests.golden.recording import Recorder


def played() -> dict[str, Corpus]:
    """Every scene, recorded: the corpus of each agent."""
    recorder = Recorder()
    for scene in scenes.ALL:
        recorder.play(scene)
    return recorder.corpora


def changed() -> list[str]:
    """What is not decided as recorded, for each agent."""
    return [words for agent in topics.LANE_AGENTS if (words := corpus.difference(corpus.read(agent))) is not None]


def regenerate(made: Mapping[str, Corpus], folder: Path = corpus.FOLDER) -> list[str]:
    """Writes the corpus, unless that would hide a change of rules: then it says which."""
    refused: list[str] = []
    for agent in topics.LANE_AGENTS:
        try:
            before = corpus.read(agent, folder)
        except FileNotFoundError:
            continue
        made[agent].digests = before.digests
        words = corpus.difference(before)
        if words is not None and before.decision_version >= made[agent].decision_version:
            refused.append(f"{words}\n{corpus.advice(agent)}")
    if not refused:
        for one in made.values():
            corpus.write(one, folder)
    return refused


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    words = changed() if arguments == ["check"] else regenerate(played())
    for one in words:
        sys.stdout.write(f"{one}\n")
    return 1 if words else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
