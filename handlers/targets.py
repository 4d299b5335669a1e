"""What is dangerous to touch: names and paths against the policy's sensitive targets and workspaces."""

from schemas.weights import SensitiveTarget, Weights

_MAX_NAME = 4_096
"""A longer name is no path on any system; what exceeds it is not looked at."""

SEPARATORS = str.maketrans(dict.fromkeys("/\\.:@-_=,;()[]{}<>\"'$?&%#!+*|~ \t\r\n", " "))
"""What stands between the words of a name."""


def sensitive(name: str, weights: Weights) -> list[SensitiveTarget]:
    """The sensitive targets that a name or path is, or lies in."""
    examined = name[:_MAX_NAME].lower()
    index = weights.target_index
    found = [target for word in examined.translate(SEPARATORS).split() for target in index.by_word.get(word, ())]
    if "/" in examined or "." in examined or "~" in examined or examined in {"credentials", "kubeconfig"}:
        found.extend(
            target
            for pattern, target in index.by_path
            if matches(examined, pattern) and not any(matches(examined, public) for public in target.except_paths)
        )
    return found


def matches(path: str, pattern: str) -> bool:
    """Whether a path is, or lies in, what the pattern says.

    `/etc/` and `~/.ssh/` are folders at that place, `secrets/` a folder of that name anywhere, `.env`, `*.pem` and `id_*`
    file names; `*` may stand once.
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
