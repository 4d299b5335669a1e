"""`acgs bench dag`: DAGExecutor on nodes that do nothing, in layers of ten, after one or all of the layer before."""

import time
from collections.abc import Callable
from statistics import median

from compensation import CONSTITUTIONAL_HASH, DAGExecutor, DAGNode, WorkflowContext
from streams.bench.result import Result

_LAYER = 10
_RUNS = 7
_SMALL, _LARGE = 1_000, 4_000
_CHAIN = 20_000


async def run(say: Callable[[str], None]) -> list[Result]:
    """Medians of seven runs in milliseconds, the ratio of the large to the small, and a long chain."""
    results: list[Result] = []
    for name, dense in (("dag", False), ("dag-dense", True)):
        say(f"{name}: {_SMALL} and {_LARGE} nodes, each after {_LAYER if dense else 1} of the layer before")
        small, large = [await _time(_layers(count, dense=dense)) for count in (_SMALL, _LARGE)]
        results.append(Result(f"{name}-{_SMALL}", small, "ms"))
        results.append(Result(f"{name}-{_LARGE}", large, "ms", f"({large / small:.2f} of {_SMALL})"))
    say(f"a chain of {_CHAIN}")
    chain = DAGExecutor("chain")
    for at in range(_CHAIN):
        chain.add_node(DAGNode(f"n{at}", "n", _nothing, [f"n{at - 1}"] if at else []))
    return [*results, Result(f"dag-chain-{_CHAIN}", await _time(chain, runs=1), "ms")]


async def _nothing(_: WorkflowContext) -> None:
    return None


def _layers(count: int, *, dense: bool) -> DAGExecutor:
    made = DAGExecutor("layers")
    for at in range(count):
        before = range(at // _LAYER * _LAYER - _LAYER, at // _LAYER * _LAYER) if dense else [at - _LAYER]
        made.add_node(DAGNode(f"n{at}", "n", _nothing, [f"n{one}" for one in before if one >= 0]))
    return made


async def _time(made: DAGExecutor, runs: int = _RUNS) -> float:
    context = WorkflowContext(constitutional_hash=CONSTITUTIONAL_HASH)
    took: list[float] = []
    for _ in range(runs):
        began = time.perf_counter()
        if not (await made.execute(context)).success:
            raise RuntimeError("a graph of nodes that do nothing did not complete")
        took.append(1000 * (time.perf_counter() - began))
    return median(took)
