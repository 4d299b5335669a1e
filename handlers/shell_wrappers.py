"""Programs that run other commands: which words, or which texts, of theirs are commands again."""

import re
from collections.abc import Iterator

from handlers.words import word_set

SHELLS = word_set("sh bash zsh dash ksh ash fish")
"""Programs that run the command lines given to them."""

SUPERUSER = word_set("sudo doas su runuser pkexec")
"""Programs that run a command with another user's rights."""

_WRAPPERS: dict[str, tuple[frozenset[str], int]] = {
    # its flags that take a value of their own, and how many words of its own come before the command
    "sudo": (word_set("-u -g -h -p -C -D -R -T -U --user --group --chdir"), 0),
    "doas": (word_set("-u -C"), 0),
    "pkexec": (word_set("--user"), 0),
    "env": (word_set("-u -C --unset --chdir"), 0),
    "busybox": (frozenset(), 0),
    "nohup": (frozenset(), 0),
    "setsid": (frozenset(), 0),
    "time": (word_set("-f -o"), 0),
    "timeout": (word_set("-k -s --kill-after --signal"), 1),
    "nice": (word_set("-n --adjustment"), 0),
    "ionice": (word_set("-c -n"), 0),
    "stdbuf": (word_set("-i -o -e"), 0),
    "chroot": (word_set("--userspec"), 1),
    "flock": (word_set("-w -E"), 1),
    "strace": (word_set("-e -o -p"), 0),
    "unbuffer": (frozenset(), 0),
    "command": (frozenset(), 0),
    "builtin": (frozenset(), 0),
    "exec": (word_set("-a"), 0),
    "xargs": (word_set("-I -n -P -L -d -a -E -s --max-args --max-procs --arg-file"), 0),
    "parallel": (word_set("-j --jobs -a"), 0),
    "watch": (word_set("-n --interval"), 0),
}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_SSH_VALUES = word_set("-b -c -D -E -e -F -I -i -J -L -l -m -O -o -p -Q -R -S -W -w")
_CONTAINER_VALUES = word_set("-e -u -w --env --user --workdir")
_CONTAINERS = word_set("docker podman nerdctl kubectl oc")
_EXECUTES = word_set("-exec -execdir -ok -okdir")


def wrapped(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words of the command that a wrapper runs; none where it is no wrapper, or runs none."""
    if words[0] not in _WRAPPERS or (words[0] == "env" and "-S" in words):
        return ()
    valued, own = _WRAPPERS[words[0]]
    return words[_after_flags(words, 1, valued) + own :]


def leading_assignments(words: tuple[str, ...]) -> int:
    """How many words of `A=1 B=2 command` set a variable."""
    at = 0
    while at < len(words) and _ASSIGNMENT.match(words[at]):
        at += 1
    return at


def lines_in(words: tuple[str, ...], text: str | None) -> Iterator[tuple[str, str]]:
    """The texts that a command hands to a shell, each with the machine it goes to."""
    program = words[0] if words else ""
    if program in SHELLS | {"su", "runuser"}:
        if line := after_short_flag(words, "c"):
            yield line, ""
        elif text is not None and program in SHELLS:
            yield text, ""
    elif program == "eval":
        yield " ".join(words[1:]), ""
    elif program == "trap":
        yield "".join(words[1:2]), ""
    elif program == "env" and (line := after_short_flag(words, "S")):
        yield line, ""
    elif program == "ssh" and (line := remote_line(words)):
        yield line, " ".join(words[1:-1])


def commands_in(words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The commands whose words stand among a command's own, each with the container it goes to."""
    if words[:1] == ("find",):
        for inner in _found(words):
            yield inner, ""
    elif inner := in_container(words):
        yield inner, " ".join(words[1 : len(words) - len(inner)])


def after_short_flag(words: tuple[str, ...], letter: str) -> str:
    """The word after the first short flag that holds the letter (`-c`, `-lc`)."""
    for at, word in enumerate(words[1:-1], start=1):
        if word.startswith("-") and not word.startswith("--") and letter in word:
            return words[at + 1]
    return ""


def remote_line(words: tuple[str, ...]) -> str:
    """What `ssh` runs on the other machine."""
    return " ".join(words[_after_flags(words, 1, _SSH_VALUES) + 1 :])


def in_container(words: tuple[str, ...]) -> tuple[str, ...]:
    """The command that `docker exec` or `kubectl exec` runs inside."""
    if not words or words[0] not in _CONTAINERS or "exec" not in words:
        return ()
    if "--" in words:
        return words[words.index("--") + 1 :]
    if words[0] in {"kubectl", "oc"}:
        return ()
    return words[_after_flags(words, words.index("exec") + 1, _CONTAINER_VALUES) + 1 :]


def _after_flags(words: tuple[str, ...], at: int, valued: frozenset[str]) -> int:
    """Where the first word that is no flag, and no flag's value, stands."""
    while at < len(words) and len(words[at]) > 1 and words[at].startswith("-"):
        if words[at] == "--":
            return at + 1
        at += 2 if words[at] in valued else 1
    return at


def _found(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The commands that `find` runs on what it finds."""
    at = 0
    while at < len(words):
        if words[at] in _EXECUTES:
            end = next((i for i in range(at + 1, len(words)) if words[i] in {";", "+"}), len(words))
            yield words[at + 1 : end]
            at = end
        at += 1
