"""What is dangerous to touch: names and paths against the policy's sensitive targets and workspaces."""

from collections.abc import Iterator
from functools import lru_cache

from schemas.weights import SensitiveTarget, TargetIndex, Weights

_MAX_NAME = 4_096
"""A longer name is no path on any system; what exceeds it is not looked at."""

_MAX_CACHED = 256
"""Agents name the same things again and again; what is longer is no such name."""

SEPARATORS = str.maketrans(dict.fromkeys("/\\.:@-_=,;()[]{}<>\"'$?&%#!+*|~ \t\r\n", " "))
"""What stands between the words of a name."""


def sensitive(name: str, weights: Weights) -> tuple[SensitiveTarget, ...]:
    """The sensitive targets that a name or path is, or lies in."""
    return _cached(name, weights.target_index) if len(name) <= _MAX_CACHED else _look_up(name, weights.target_index)


def _look_up(name: str, index: TargetIndex) -> tuple[SensitiveTarget, ...]:
    examined = name[:_MAX_NAME].lower()
    named = (target for word in examined.translate(SEPARATORS).split() for target in index.words.get(word, ()))
    lying_in = (target for target in _by_path(examined, index) if not _is_public(examined, target))
    return (*named, *lying_in)


_cached = lru_cache(maxsize=8192)(_look_up)


def _by_path(path: str, index: TargetIndex) -> Iterator[SensitiveTarget]:
    if path.startswith(index.roots):
        yield from (target for place, target in index.places if matches(path, place))
    if "/" in path:
        framed = f"/{path}/"
        yield from (target for folder, target in index.folders if folder in framed)
    name = _file_name(path)
    yield from index.names.get(name, ())
    if "." in name or "_" in name:
        yield from (target for first, last, target in index.starred if name.startswith(first) and name.endswith(last))


def _is_public(path: str, target: SensitiveTarget) -> bool:
    return any(matches(path, public) for public in target.except_paths)


def matches(path: str, pattern: str) -> bool:
    """Whether a path is, or lies in, what the pattern says.

    `/etc/` and `~/.ssh/` are folders at that place, `secrets/` a folder of that name anywhere, `.env`, `*.pem` and
    `id_*` file names; `*` may stand once.
    """
    if pattern.endswith("/"):
        if pattern[0] in "/~$":
            return path.startswith(pattern) or path == pattern[:-1]
        return "/" in path and f"/{pattern}" in f"/{path}/"
    if pattern[0] in "/~$":
        return path == pattern
    name = _file_name(path)
    if "*" not in pattern:
        return name == pattern
    first, _, last = pattern.partition("*")
    return len(name) >= len(first) + len(last) and name.startswith(first) and name.endswith(last)


def _file_name(path: str) -> str:
    """The last part of a path, in `--file=PATH`, `@PATH` and `REVISION:PATH` too."""
    return path.rstrip("/").rpartition("/")[2].rpartition("=")[2].rpartition(":")[2].lstrip("@")


def is_outside(path: str, weights: Weights) -> bool:
    """Whether a path leads out of the workspaces."""
    if path.startswith("/"):
        return not any(path.startswith(place) or f"{path}/" == place for place in weights.workspaces)
    return path.startswith(("~", "..", "$HOME"))
