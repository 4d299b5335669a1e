"""Sagas for a storm: graphs, timeouts and misfortunes, the same for the same seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compensation.definition import Compensation, Kind, Node, Retry, RunIf, Timeouts, WorkflowDefinition
from schemas.workflow import WorkflowState
from tests.support.saga import definition, node
from tests.support.storm_activities import DO, UNDO, Play

_FORGIVING = Retry(attempts=1_000, first_ms=50, cap_ms=500)
_IMPATIENT = Retry(attempts=2, first_ms=50)
_SOON = Timeouts(schedule_to_start_ms=500, start_to_close_ms=500)
_LATE = Timeouts(schedule_to_start_ms=20_000, start_to_close_ms=800)
_SOON_OR_NOT = Timeouts(schedule_to_start_ms=1_000, start_to_close_ms=15_000)
"""Read again after its worker was killed, it comes too late, and before it is given up."""
_UNDO = Timeouts(schedule_to_start_ms=20_000, start_to_close_ms=2_000)
_MISFORTUNES = (
    Play.FAILS_BEFORE,
    Play.FAILS_WITHIN,
    Play.FAILS_AFTER,
    Play.HANGS_BEFORE,
    Play.HANGS_WITHIN,
    Play.HANGS_AFTER,
    Play.DEAF_BEFORE,
    Play.DEAF_AFTER,
)
_HANGS = frozenset({Play.HANGS_BEFORE, Play.HANGS_WITHIN, Play.HANGS_AFTER})
_UNDO_MISFORTUNES = (Play.FAILS_BEFORE, Play.FAILS_WITHIN, Play.FAILS_AFTER)

Graph = Sequence[tuple[str, tuple[str, ...]]]
_DIAMOND: Graph = (("a", ()), ("b", ("a",)), ("c", ("a",)), ("z", ("b", "c")))
_FAN: Graph = (("a", ()), ("b", ("a",)), ("c", ("a",)), ("d", ("a",)), ("z", ("b", "c", "d")))
_TWO_CHAINS: Graph = (("a", ()), ("b", ("a",)), ("c", ()), ("d", ("c",)), ("z", ("b", "d")))


@dataclass(frozen=True, slots=True)
class Saga:
    """One to start. Its last node is `z`, which fails where the saga is to fail."""

    workflow_id: str
    number: int
    definition: WorkflowDefinition
    input: dict[str, Any]
    ends: WorkflowState


def sagas(failing: int, succeeding: int, seed: int) -> list[Saga]:
    """So many of each, mixed."""
    chance = random.Random(seed)  # noqa: S311  # chooses shapes
    fails = [True] * failing + [False] * succeeding
    chance.shuffle(fails)
    return [_saga(number, chance, fails=one) for number, one in enumerate(fails)]


def _saga(number: int, chance: random.Random, *, fails: bool) -> Saga:
    graph = chance.choice([_chain(chance), _DIAMOND, _FAN, _TWO_CHAINS])
    middle = [id_ for id_, _ in graph[:-1]]
    optional = chance.choice(middle) if chance.random() < 0.25 else None
    plays = {id_: _plays(id_, chance, optional=optional) for id_, _ in graph}
    nodes = [
        _node(id_, needs, chance, optional=optional, fails=fails, hangs=not _HANGS.isdisjoint(plays[id_]["do"]))
        for id_, needs in graph
    ]
    if chance.random() < 0.25:
        nap = node("nap", middle[0], kind=Kind.SLEEP, sleep_ms=chance.randint(100, 2_500), run_if=RunIf.ALL_SETTLED)
        nodes[-1] = nodes[-1].model_copy(update={"dependencies": (*nodes[-1].dependencies, "nap")})
        nodes.insert(-1, nap)
    if fails:
        plays["z"]["do"] = [chance.choice([Play.REFUSES, Play.FAILS_FOR_GOOD]).value]
    made = definition(*nodes, parallel_undo=chance.random() < 0.4, drain_timeout_ms=chance.choice([1_000, 5_000]))
    ends = WorkflowState.COMPENSATED if fails else WorkflowState.COMPLETED
    return Saga(f"saga-{number}", number, made, {"plays": plays}, ends)


def _chain(chance: random.Random) -> Graph:
    ids = [*"abcd"[: chance.randint(1, 4)], "z"]
    return [(id_, tuple(ids[at - 1 : at])) for at, id_ in enumerate(ids)]


def _node(
    id_: str, needs: tuple[str, ...], chance: random.Random, *, optional: str | None, fails: bool, hangs: bool
) -> Node:
    undo = Compensation(name=f"undo_{id_}", activity=UNDO, max_retries=8, timeouts=_UNDO)
    gives_up = id_ == optional or (fails and chance.random() < 0.3)
    return node(
        id_,
        *needs,
        activity=DO,
        compensation=undo,
        optional=id_ == optional,
        run_if=RunIf.ALL_SETTLED if optional in needs else RunIf.ALL_COMPLETED,
        retry=_IMPATIENT if gives_up else _FORGIVING,
        timeouts=chance.choice([_SOON, _LATE] if hangs else [_SOON, _LATE, _SOON_OR_NOT]),
    )


def _plays(id_: str, chance: random.Random, *, optional: str | None) -> dict[str, list[str]]:
    forward = [chance.choice(_MISFORTUNES) for _ in range(chance.choice([0, 0, 0, 0, 1, 1, 2]))]
    if id_ == optional and chance.random() < 0.5:
        forward.append(chance.choice([Play.REFUSES, Play.FAILS_FOR_GOOD]))
    forward.append(Play.WELL)
    backward = [chance.choice(_UNDO_MISFORTUNES) for _ in range(chance.choice([0, 0, 0, 0, 0, 1, 2]))]
    backward.append(Play.WELL)
    return {"do": [one.value for one in forward], "undo": [one.value for one in backward]}
