"""Graphs of nodes: what is wrong with one."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

_SHOWN = 8


def problems(dependencies: Mapping[str, Sequence[str]], ids: Sequence[str]) -> Iterator[str]:
    """Everything that is wrong: two nodes of one id, dependencies that are no nodes or stand twice, cycles."""
    yield from (f"two nodes have the id {id_!a}" for id_ in sorted(_repeated(ids)))
    for id_, needed in dependencies.items():
        yield from (f"node {id_!a}: dependency {one!a} is no node" for one in needed if one not in dependencies)
        yield from (f"node {id_!a}: dependency {one!a} stands twice" for one in sorted(_repeated(needed)))
    cycle = find_cycle(dependencies)
    if cycle:
        shown = " -> ".join([*cycle[:_SHOWN], "..."] if len(cycle) > _SHOWN else cycle)
        yield f"a cycle: {shown} (each waits for the one before it)"


def dependents(dependencies: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """For each node those that depend on it, in the order of the graph."""
    found: dict[str, list[str]] = {id_: [] for id_ in dependencies}
    for id_, needed in dependencies.items():
        for one in needed:
            if one in found:
                found[one].append(id_)
    return found


def find_cycle(dependencies: Mapping[str, Sequence[str]]) -> list[str]:
    """A cycle, its first node again at its end; empty if there is none. Takes time proportional to the graph."""
    waits = {id_: sum(one in dependencies for one in needed) for id_, needed in dependencies.items()}
    free = [id_ for id_, count in waits.items() if not count]
    after = dependents(dependencies)
    while free:
        done = free.pop()
        del waits[done]
        for one in after[done]:
            waits[one] -= 1
            if not waits[one]:
                free.append(one)
    if not waits:
        return []
    path: dict[str, None] = {}
    at = next(iter(waits))
    while at not in path:
        path[at] = None
        at = next(one for one in dependencies[at] if one in waits)
    cycle = list(path)[list(path).index(at) :]
    return [*reversed(cycle), cycle[-1]]


def _repeated(names: Sequence[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}
