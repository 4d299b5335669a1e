"""A graph of nodes as an indented tree: every node once, under the last of those it waits for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from compensation.graph import dependents


class Branch(NamedTuple):
    """One line: what is drawn before the node, its id, and what else it waits for than the node above it."""

    drawn: str
    id: str
    also_after: tuple[str, ...]


def branches(dependencies: Mapping[str, Sequence[str]]) -> Iterator[Branch]:
    """The lines of a graph without cycles, in the order of its nodes.

    A node is drawn under the dependency that comes last in the graph; the only one below another is not indented, so
    that a chain of any length is as wide as a line.
    """
    depths = _depths(dependencies)
    above = {id_: max(needed, key=depths.__getitem__) for id_, needed in dependencies.items() if needed}
    below: dict[str, list[str]] = {id_: [] for id_ in dependencies}
    for id_, one in above.items():
        below[one].append(id_)
    waiting = [("", "", id_) for id_ in reversed(list(dependencies)) if id_ not in above]
    while waiting:
        drawn, under, id_ = waiting.pop()
        yield Branch(drawn, id_, tuple(one for one in dependencies[id_] if one != above.get(id_)))
        children = below[id_]
        if len(children) == 1:
            waiting.append((under, under, children[0]))
        else:
            last = children[-1] if children else None
            waiting += [
                (f"{under}{'└─ ' if child == last else '├─ '}", f"{under}{'   ' if child == last else '│  '}", child)
                for child in reversed(children)
            ]


def _depths(dependencies: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many nodes are on the longest way to each."""
    after = dependents(dependencies)
    waits = {id_: len(needed) for id_, needed in dependencies.items()}
    depths = dict.fromkeys(dependencies, 0)
    free = [id_ for id_, count in waits.items() if not count]
    while free:
        done = free.pop()
        for one in after[done]:
            depths[one] = max(depths[one], depths[done] + 1)
            waits[one] -= 1
            if not waits[one]:
                free.append(one)
    return depths
